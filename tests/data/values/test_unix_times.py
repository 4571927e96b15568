"""Times that are numbers: one unit a column, and numbers that are not times since 1970."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.data.values.time_format import TimeFormat, UnclearTimesError
from twotower.data.values.times import recognise, to_seconds, to_times
from twotower.errors import DataError

NOON = 1714564800
"""2024-05-01 12:00 UTC."""
DAY = 86_400


def message(values: list[Any], dtype: Any = None, **keys: Any) -> str:
    with pytest.raises(DataError) as caught:
        to_times(pl.Series("at", values, dtype=dtype), file="log.csv", **keys)
    assert len(str(caught.value)) <= 400
    return str(caught.value)


# --- numbers that spell a date ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "written", "expected"),
    [
        ([20240501, None, 19991231], "%Y%m%d", [NOON - DAY // 2, None, 946_598_400]),
        ([20240501120000, 20240501120001], "%Y%m%d%H%M%S", [NOON, NOON + 1]),
        ([202405011200, 202405011201], "%Y%m%d%H%M", [NOON, NOON + 60]),
    ],
)
def test_dates_in_digits(values: list[Any], written: str, expected: list[int | None]) -> None:
    for column in (
        pl.Series(values),
        pl.Series(values).cast(pl.Float64),
        pl.Series(values).cast(pl.String),
        pl.Series(values).cast(pl.Float64).map_elements(lambda v: f"{v:.1f}", pl.String),
    ):
        times = to_times(column)
        assert times.seconds.to_list() == expected
        assert times.written == TimeFormat("calendar", format=written)
        assert to_seconds(column).to_list() == expected


def test_numbers_of_eight_digits_that_are_not_all_dates_are_seconds() -> None:
    assert to_times(pl.Series([20240501, 20240532])).written == TimeFormat("unix", unit="s")


@pytest.mark.parametrize("wrong", ["20240532", "0", "-1", "1714564800", "1714564800000"])
def test_a_value_among_dates_in_digits_that_is_none_is_named(wrong: str) -> None:
    """It made all of them seconds of 1970."""
    assert message(["20240501", wrong, "20240503", None]) == (
        "log.csv, column 'at': 1 of 4 timestamps are not dates like the others (%Y%m%d) are; "
        f"row 2: '{wrong}'. Fix: correct these values, or remove the rows."
    )


@pytest.mark.parametrize(
    ("values", "fix"),
    [
        (["31052024", "01062024"], '"%d%m%Y"'),
        ([31052024, 1062024], '"%d%m%Y"'),
        (["05312024", "01062024"], '"%m%d%Y"'),
        (["05062024", "01062024"], '"%d%m%Y" or data.time_format = "%m%d%Y"'),
    ],
)
def test_dates_in_digits_that_end_with_the_year(values: list[Any], fix: str) -> None:
    kinds = {'"%d%m%Y"': "DDMMYYYY", '"%m%d%Y"': "MMDDYYYY"}.get(fix, "DDMMYYYY or MMDDYYYY")
    assert message(values) == (
        f"log.csv, row 1, column 'at': the timestamps look like dates ({kinds}), not like seconds "
        f"since 1970 (found {values[0]!r}). Fix: set data.time_format = {fix}."
    )
    written = fix[1:7]
    first, second = to_times(pl.Series(values), format=written).seconds
    assert second == to_times(pl.Series([f"{int(values[1]):08}"]), format=written).seconds[0]
    assert pl.from_epoch(pl.Series([first, second]), "s").dt.year().to_list() == [2024, 2024]


@pytest.mark.parametrize(
    ("values", "reading", "problem"),
    [
        (
            [None, 2021, 1999],
            TimeFormat("year", format="%Y"),
            "log.csv, row 2, column 'at': the timestamps look like years, not like seconds since "
            '1970 (found 2021). Fix: set data.time_format = "%Y" if they are; data.time_unit = "s" '
            "takes them as seconds or as an order.",
        ),
        (
            [202405, 202312],
            TimeFormat("month", format="%Y%m"),
            "log.csv, row 1, column 'at': the timestamps look like months (YYYYMM), not like "
            'seconds since 1970 (found 202405). Fix: set data.time_format = "%Y%m" if they are; '
            'data.time_unit = "s" takes them as seconds or as an order.',
        ),
        (
            [45413.52, 45414.0],
            TimeFormat("excel", unit="excel"),
            "log.csv, row 1, column 'at': the timestamps look like Excel days, not like seconds "
            'since 1970 (found 45413.52). Fix: set data.time_unit = "excel" if they are; '
            'data.time_unit = "s" takes them as seconds or as an order.',
        ),
    ],
)
def test_numbers_that_are_read_only_when_declared(
    values: list[Any], reading: TimeFormat, problem: str
) -> None:
    column = pl.Series("at", values)
    with pytest.raises(UnclearTimesError) as caught:
        to_times(column, file="log.csv")
    assert str(caught.value) == problem
    assert recognise(column) == [reading]
    assert to_times(column, unit="s").seconds.to_list() == [
        None if value is None else int(value) for value in values
    ]


def test_declared_years_months_and_excel_days() -> None:
    assert to_times(pl.Series([2021, None]), format="%Y").seconds.to_list() == [1609459200, None]
    assert to_times(pl.Series(["2021.0"]), format="%Y").seconds.to_list() == [1609459200]
    assert to_times(pl.Series([202405]), format="%Y%m").seconds.to_list() == [NOON - DAY // 2]
    excel = to_times(pl.Series([45413.5, 45413.0]), unit="excel")
    assert excel.seconds.to_list() == [NOON, NOON - DAY // 2]
    assert excel.nanoseconds is None


@pytest.mark.parametrize("values", [[1, 2, 3], list(range(50)), [-3, 0], [0.5, 3.0]])
def test_small_numbers_are_an_order(values: list[float]) -> None:
    times = to_times(pl.Series(values))
    assert times.written == TimeFormat("order", unit="s")
    assert times.seconds.to_list() == [int(value // 1) for value in values]


# --- one unit a column ------------------------------------------------------------------------


def test_birthdays_in_milliseconds() -> None:
    rows = [-631_152_000_000, -63_158_400_000, 63_072_000_000, 1_072_915_200_000]
    times = to_times(pl.Series(rows))
    assert times.unit == "ms"
    assert times.seconds.to_list() == [row // 1000 for row in rows]


def test_birthdays_around_1970_are_not_taken_for_seconds() -> None:
    """One day in four, 1968 to 1972: some of these milliseconds would be seconds of 2010."""
    rows = [day * DAY * 1000 for day in range(-700, 700, 4)]
    assert to_times(pl.Series(rows)).unit == "ms"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            [NOON * 1000, NOON * 1000 + 1, NOON],
            "1 of 3 timestamps look like seconds among milliseconds; row 3: 1714564800. Fix: write "
            'one unit, or set data.time_unit = "ms" where they are right.',
        ),
        (
            [NOON, None, NOON, NOON * 1000],
            "2 of 4 timestamps look like seconds among milliseconds; row 1: 1714564800, row 3: "
            '1714564800. Fix: write one unit, or set data.time_unit = "ms" where they are right.',
        ),
        (
            [NOON, NOON, NOON, NOON * 10**6],
            "1 of 4 timestamps look like microseconds among seconds; row 4: 1714564800000000. Fix: "
            'write one unit, or set data.time_unit = "us" where they are right.',
        ),
        (
            [2**64 - 1, NOON],
            "1 of 2 timestamps lie beyond the year 2286 in every unit; row 1: "
            "18446744073709551615. Fix: correct them, or set data.time_unit.",
        ),
        (
            ["1e21"],
            "1 of 1 timestamps lie beyond the year 2286 in every unit; row 1: '1e21'. Fix: correct "
            "them, or set data.time_unit.",
        ),
    ],
)
def test_two_units_in_one_column(values: list[Any], problem: str) -> None:
    assert message(values) == f"log.csv, column 'at': {problem}"


@given(st.sampled_from(["s", "ms", "us", "ns"]), st.lists(st.integers(631_152_000, 4_102_444_800)))
def test_a_value_alone_is_read_as_in_its_column(unit: Any, moments: list[int]) -> None:
    scale = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}[unit]
    column = pl.Series([moment * scale for moment in moments], dtype=pl.Int64)
    times = to_times(column)
    assert times.seconds.to_list() == moments
    for row, moment in enumerate(moments):
        assert to_times(column[row : row + 1], unit=times.unit).seconds.to_list() == [moment]


# --- floats -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "value", "limit"),
    [
        (pl.Float32, float(NOON), "16,777,216"),
        (pl.Float32, 16_777_216.0, "16,777,216"),  # may have been 16,777,217
        (pl.Float16, 4096.0, "2,048"),
    ],
)
def test_floats_that_round_their_times(dtype: Any, value: float, limit: str) -> None:
    shown = pl.Series([value], dtype=dtype)[0]
    assert message([1.0, value], dtype) == (
        f"log.csv, column 'at': 1 of 2 timestamps are {limit} or beyond, where {dtype()} "
        f"rounds whole numbers; row 2: {shown!r}. Fix: write the column as int64 or "
        "float64."
    )


def test_infinity() -> None:
    assert message([1.0, float("inf")]) == (
        "log.csv, column 'at': 1 of 2 timestamps cannot be read; row 2: inf. Fix: write times as "
        "ISO 8601 (2024-05-01T12:30:00) or as unix seconds."
    )
