"""Times of every spelling and unit, and what is said of those that cannot be read."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.data.values.time_format import TimeFormat
from twotower.data.values.times import SECONDS_PER_DAY, to_seconds, to_times
from twotower.errors import DataError

NOON = 1714564800
"""2024-05-01 12:00 UTC."""
FIX = "Fix: write times as ISO 8601 (2024-05-01T12:30:00) or as unix seconds."


def seconds(values: list[Any], dtype: Any = None) -> list[int | None]:
    column = pl.Series("at", values, dtype=dtype)
    found = to_seconds(column)
    assert found.dtype == pl.Int64
    assert (found.name, len(found)) == ("at", len(column))
    return found.to_list()


def message(values: list[Any], dtype: Any = None) -> str:
    with pytest.raises(DataError) as caught:
        to_seconds(pl.Series("at", values, dtype=dtype), file="log.csv")
    return str(caught.value)


# --- text -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-01T12:00:00",
        "2024-05-01T12:00:00Z",
        "2024-05-01 12:00:00",
        "2024-05-01t12:00:00",
        "2024-05-01 12:00",
        "2024-05-01T12:00Z",
        "  2024-05-01T12:00:00  ",
        "2024-05-01T12:00:00.999",
        "2024-05-01T12:00:00.999999999Z",
        "2024-05-01T14:00:00+02:00",
        "2024-05-01T14:00:00+0200",
        "2024-05-01T14:00:00+02",
        "2024-05-01 14:00:00 +02:00",
        "2024-05-01T14:00+02:00",
        "2024-05-01T06:30:00-05:30",
        "2024-05-02T02:00:00+14:00",
        str(NOON),
        f"{NOON}.9",
        f"{NOON}000",
        f"{NOON}999999",
        "1.7145648e9",
    ],
)
def test_noon_in_text(text: str) -> None:
    assert seconds([text]) == [NOON]


def test_a_date_is_its_midnight_in_utc() -> None:
    assert seconds(["2024-05-01"]) == seconds([date(2024, 5, 1)]) == [NOON - SECONDS_PER_DAY // 2]


def test_each_row_may_be_spelled_in_another_way() -> None:
    rows = ["2024-05-01", "2024-05-01T12:00:00Z", "2024-05-01 14:00+02:00", None, "", "  "]
    assert seconds(rows) == [NOON - 43_200, NOON, NOON, None, None, None]


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["2024-05-01T12:00:00"])])
def test_text_of_other_types(dtype: Any) -> None:
    assert seconds(["2024-05-01T12:00:00", None], dtype) == [NOON, None]


def test_times_far_away() -> None:
    rows = ["0001-01-01", "1969-12-31T23:59:59", "9999-12-31T23:59:59"]
    assert seconds(rows) == [-62_135_596_800, -1, 253_402_300_799]


@given(
    st.datetimes(datetime(1678, 1, 1), datetime(2261, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from("T t"),
)
def test_any_moment_in_any_zone(moment: datetime, minutes: int, letter: str) -> None:
    there = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    expected = (there - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    assert seconds([there.isoformat(sep=letter)]) == [expected]
    assert seconds([there.astimezone(UTC)]) == [expected]
    local = (moment - datetime(1970, 1, 1)) // timedelta(seconds=1)
    assert seconds([moment.isoformat(sep=letter)]) == seconds([moment]) == [local]


# --- datetimes --------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_datetimes_of_each_unit(unit: Any) -> None:
    moments = [datetime(2024, 5, 1, 12), None, datetime(1969, 12, 31, 23, 59, 59, 500_000)]
    assert seconds(moments, pl.Datetime(unit)) == [NOON, None, -1]


def test_a_datetime_with_a_zone_is_that_moment() -> None:
    moments = pl.Series("at", [datetime(2024, 5, 1, 12)]).dt.replace_time_zone("Asia/Tokyo")
    assert to_seconds(moments).to_list() == [NOON - 9 * 3600]


# --- unix times -------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 1000, 10**6, 10**9])
def test_units_of_unix_times(scale: int) -> None:
    rows = [NOON * scale, None, 0, -1, (NOON + 1) * scale - 1 if scale > 1 else NOON]
    assert seconds(rows) == [NOON, None, 0, -1, NOON]
    assert seconds([None if row is None else str(row) for row in rows]) == seconds(rows)


@pytest.mark.parametrize("scale", [1, 1000, 10**6, 10**9])
def test_units_of_floats(scale: int) -> None:
    assert seconds([NOON * float(scale), None, -0.5]) == [NOON, None, -1]


def test_the_largest_tells_the_unit_of_all() -> None:
    assert seconds([10**10]) == [10**10]
    assert seconds([10**10 + 1]) == [10**7]
    assert seconds([-(10**10) - 1]) == [-(10**7) - 1]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 127], pl.Int8, [0, 127]),
        ([NOON], pl.UInt32, [NOON]),
        ([NOON * 10**9], pl.UInt64, [NOON]),
        ([2**63 - 1, -(2**63)], pl.Int64, [9_223_372_036, -9_223_372_037]),
        ([-(2**63)], pl.Int64, [-9_223_372_037]),
        ([float(2**20)], pl.Float32, [2**20]),
        ([Decimal("1.9"), None], pl.Decimal(10, 1), [1, None]),
        ([None, None], pl.Null, [None, None]),
        ([None], pl.Int64, [None]),
        ([None], pl.Float64, [None]),
        ([1.0, float("nan")], pl.Float64, [1, None]),
        ([], pl.Int64, []),
        ([], pl.Float64, []),
        ([], pl.String, []),
        (["", None], pl.String, [None, None]),
    ],
)
def test_numbers_of_each_type(values: list[Any], dtype: Any, expected: list[int | None]) -> None:
    assert seconds(values, dtype) == expected


def test_long_unix_times_are_exact() -> None:
    """A float64 would round nanoseconds up into the next second."""
    rows = [NOON * 10**9 + 999_999_999, NOON * 10**9]
    assert seconds(rows) == seconds([str(row) for row in rows]) == [NOON, NOON]


# --- full precision ---------------------------------------------------------------------------


def parts(column: pl.Series, **keys: Any) -> tuple[list[Any], list[Any] | None, str | None]:
    times = to_times(column, **keys)
    rest = times.nanoseconds
    if rest is not None:
        assert rest.dtype == pl.Int32
        assert (rest.name, len(rest)) == ("at", len(column))
    return times.seconds.to_list(), None if rest is None else rest.to_list(), times.unit


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_the_rest_of_datetimes(unit: Any) -> None:
    moments = [datetime(2024, 5, 1, 12), None, datetime(1969, 12, 31, 23, 59, 59, 500_000)]
    column = pl.Series("at", moments, dtype=pl.Datetime(unit))
    assert parts(column) == ([NOON, None, -1], [0, None, 500_000_000], None)
    assert parts(column.head(2)) == ([NOON, None], None, None)


@pytest.mark.parametrize(("unit", "scale"), [("s", 1), ("ms", 1000), ("us", 10**6), ("ns", 10**9)])
def test_the_rest_of_numbers(unit: Any, scale: int) -> None:
    rows = [NOON * scale + 7, None, -1]
    rest = None if scale == 1 else [7 * 10**9 // scale, None, 10**9 - 10**9 // scale]
    expected = [NOON + 7 // scale, None, -1] if scale > 1 else [NOON + 7, None, -1]
    assert parts(pl.Series("at", rows)) == (expected, rest, unit)
    assert parts(pl.Series("at", rows), unit=unit) == (expected, rest, unit)


def test_a_declared_unit_stands() -> None:
    assert parts(pl.Series("at", [1500]), unit="ms") == ([1], [500_000_000], "ms")
    assert parts(pl.Series("at", ["1500"]), unit="ms") == ([1], [500_000_000], "ms")
    assert parts(pl.Series("at", [1500.5]), unit="ms") == ([1], [500_500_000], "ms")


def test_floats_of_seconds_keep_their_fraction() -> None:
    column = pl.Series("at", [NOON + 0.25, NOON + 0.125, None, -0.5])
    rest = [250_000_000, 125_000_000, None, 500_000_000]
    assert parts(column) == ([NOON, NOON, None, -1], rest, "s")


def test_text_keeps_nine_digits() -> None:
    rows = ["2024-05-01T12:00:00.123456789Z", "2024-05-01 12:00:00,5", None, "2024-05-01"]
    column = pl.Series("at", rows)
    midnight = NOON - SECONDS_PER_DAY // 2
    assert parts(column) == (
        [NOON, NOON, None, midnight],
        [123_456_789, 500_000_000, None, 0],
        None,
    )


# --- what cannot be read ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["2024-05-01", "soon"], "1 of 2 timestamps cannot be read; row 2: 'soon'"),
        (
            ["soon", "2024-05-01", "later", None, "", "never", "x"],
            "4 of 7 timestamps cannot be read; row 1: 'soon', row 3: 'later', row 6: 'never'",
        ),
        (["2024-02-30"], "1 of 1 timestamps cannot be read; row 1: '2024-02-30'"),
        (["2024-05-01T25:00"], "1 of 1 timestamps cannot be read; row 1: '2024-05-01T25:00'"),
        (["2024-05-01", "7"], "1 of 2 timestamps cannot be read; row 2: '7'"),
        (["7", "nan"], "1 of 2 timestamps cannot be read; row 2: 'nan'"),
        (["7", "inf"], "1 of 2 timestamps cannot be read; row 2: 'inf'"),
        ([True], "1 of 1 timestamps cannot be read; row 1: True"),
        ([time(12)], "1 of 1 timestamps cannot be read; row 1: datetime.time(12, 0)"),
    ],
)
def test_values_that_are_no_times(values: list[Any], found: str) -> None:
    assert message(values) == f"log.csv, column 'at': {found}. {FIX}"


def test_many_values_that_are_no_times() -> None:
    assert message(["?"] * 1234) == (
        "log.csv, column 'at': 1,234 of 1,234 timestamps cannot be read; row 1: '?', row 2: '?', "
        f"row 3: '?'. {FIX}"
    )


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([timedelta(days=1)], "Duration(time_unit='us')"),
        ([[1]], "List(Int64)"),
        ([{"a": 1}], "Struct({'a': Int64})"),
        ([b"\xff"], "Binary"),
    ],
)
def test_types_that_hold_no_times(values: list[Any], dtype: str) -> None:
    assert message(values) == (
        f"log.csv, column 'at': holds values of type {dtype}, which are not points in time."
    )


def test_without_a_file() -> None:
    with pytest.raises(DataError) as caught:
        to_seconds(pl.Series("at", ["soon"]))
    assert str(caught.value) == (
        f"column 'at': 1 of 1 timestamps cannot be read; row 1: 'soon'. {FIX}"
    )


@pytest.mark.parametrize(
    ("numbers", "written"),
    [
        (["1714564800", "1714564801"], TimeFormat("unix", unit="s")),
        (["1714564800000", "1714564801000"], TimeFormat("unix", unit="ms")),
        (["20240501", "20240502"], TimeFormat("calendar", format="%Y%m%d")),
    ],
)
def test_iso_and_numbers_in_one_column(numbers: list[str], written: TimeFormat) -> None:
    """As in a folder of CSV and Parquet."""
    times = to_times(pl.Series([numbers[0], "2024-05-03T12:00:00.5", None, numbers[1]]))
    alone = to_times(pl.Series(numbers)).seconds
    assert times.seconds.to_list() == [alone[0], 1714737600, None, alone[1]]
    assert times.nanoseconds is not None
    assert times.nanoseconds.to_list() == [0, 500_000_000, None, 0]
    assert times.written == written


@pytest.mark.parametrize("number", ["0", "-1", "12345678", "20240532", "1e5"])
def test_a_number_among_iso_that_is_no_time(number: str) -> None:
    with pytest.raises(DataError) as caught:
        to_times(pl.Series("at", ["2024-05-01", number, "2024-05-03"]), file="log.csv")
    assert str(caught.value) == (
        f"log.csv, column 'at': 1 of 3 timestamps cannot be read; row 2: '{number}'. Fix: write "
        "times as ISO 8601 (2024-05-01T12:30:00) or as unix seconds."
    )
