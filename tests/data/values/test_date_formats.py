"""Dates in text: ISO 8601 with zones, dates as people write them, declared formats."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.data.values.time_format import TimeFormat, UnclearTimesError
from twotower.data.values.times import recognise, to_times
from twotower.errors import DataError


def at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[arg-type,misc]


def message(values: list[Any], **keys: Any) -> str:
    with pytest.raises(DataError) as caught:
        to_times(pl.Series("at", values), file="log.csv", **keys)
    assert len(str(caught.value)) <= 400
    return str(caught.value)


# --- ISO 8601 and zones -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-05-01 12:00:00 UTC", at(2024, 5, 1, 12)),
        ("2024-05-01T12:00:00 GMT", at(2024, 5, 1, 12)),
        ("2024-05-01 12:00:00.250 UTC", at(2024, 5, 1, 12)),
        ("2024-05-01 12:00:00 Europe/Berlin", at(2024, 5, 1, 10)),
        ("2024-01-01T12:00:00[Europe/Berlin]", at(2024, 1, 1, 11)),
        ("2024-05-01T12:00:00+02:00[Europe/Berlin]", at(2024, 5, 1, 10)),
        ("2024-10-27 02:30:00 Europe/Berlin", at(2024, 10, 27, 0, 30)),
        ("2024-05-01T12", at(2024, 5, 1, 12)),
        ("20240501T120000Z", at(2024, 5, 1, 12)),
        ("20240501T120000.5", at(2024, 5, 1, 12)),
        ("2024-05", at(2024, 5, 1)),
        ("2024-5-1", at(2024, 5, 1)),
    ],
)
def test_iso_and_zones(text: str, moment: int) -> None:
    times = to_times(pl.Series(["1999-12-31", None, text]))
    assert times.seconds.to_list() == [at(1999, 12, 31), None, moment]
    assert times.written == TimeFormat("iso")


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-01 12:00:00 PST",
        "2024-05-01 12:00:00 Mars/Crater",
        "2024-03-31 02:30:00 Europe/Berlin",
        "24-05-01",
        "2024-05-01 24:30:00",
    ],
)
def test_what_is_not_a_time_of_a_zone(text: str) -> None:
    assert message(["2024-05-01", text]) == (
        f"log.csv, column 'at': 1 of 2 timestamps cannot be read; row 2: {text!r}. Fix: write "
        "times as ISO 8601 (2024-05-01T12:30:00) or as unix seconds."
    )


# --- dates as people write them ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "written", "moments"),
    [
        (["2017/8/18", "2017/12/3"], "%Y/%m/%d", [at(2017, 8, 18), at(2017, 12, 3)]),
        (["8/18/2017", "8/1/2017"], "%m/%d/%Y", [at(2017, 8, 18), at(2017, 8, 1)]),
        (["1/8/2017", "18/8/2017"], "%d/%m/%Y", [at(2017, 8, 1), at(2017, 8, 18)]),
        (["18.08.2017", "01.08.2017"], "%d.%m.%Y", [at(2017, 8, 18), at(2017, 8, 1)]),
        (["18-08-2017"], "%d-%m-%Y", [at(2017, 8, 18)]),
        (
            ["12/1/2010 8:26", "12/13/2010 18:26"],
            "%m/%d/%Y %H:%M",
            [at(2010, 12, 1, 8, 26), at(2010, 12, 13, 18, 26)],
        ),
        (
            ["11/15/2019 8:55:22 AM", "11/15/2019 12:55:22 pm"],
            "%m/%d/%Y %I:%M:%S %p",
            [at(2019, 11, 15, 8, 55, 22), at(2019, 11, 15, 12, 55, 22)],
        ),
        (["8/18/17", "8/1/17"], "%m/%d/%y", [at(2017, 8, 18), at(2017, 8, 1)]),
        (["18/8/17", "19/8/17"], "%d/%m/%y", [at(2017, 8, 18), at(2017, 8, 19)]),
        (["17/8/18", "17/8/19"], "%y/%m/%d", [at(2017, 8, 18), at(2017, 8, 19)]),
        (["April 21, 2011", "May 1, 2011"], "%B %d, %Y", [at(2011, 4, 21), at(2011, 5, 1)]),
        (["Apr 21, 2011"], "%B %d, %Y", [at(2011, 4, 21)]),
        (["21 Apr 2011", "1 May 2011"], "%d %B %Y", [at(2011, 4, 21), at(2011, 5, 1)]),
        (["21-APR-11"], "%d-%B-%y", [at(2011, 4, 21)]),
        (["09 13, 2009", "05 1, 2018"], "%m %d, %Y", [at(2009, 9, 13), at(2018, 5, 1)]),
        (
            ["Sat Jul 16 00:00:00 +0000 2005", "Sun Jul 30 07:44:10 -0700 2017"],
            "%a %B %d %H:%M:%S %z %Y",
            [at(2005, 7, 16), at(2017, 7, 30, 14, 44, 10)],
        ),
        (
            ["Tue, 1 Jul 2003 10:52:37 +0200"],
            "%A, %d %B %Y %H:%M:%S %z",
            [at(2003, 7, 1, 8, 52, 37)],
        ),
        (["Saturday, July 16, 2005"], "%A, %B %d, %Y", [at(2005, 7, 16)]),
        (
            ["18/08/2017 10:00:00.5", "18/08/2017 10:00:01"],
            "%d/%m/%Y %H:%M:%S.%f",
            [at(2017, 8, 18, 10), at(2017, 8, 18, 10, 0, 1)],
        ),
    ],
)
def test_a_format_that_reads_the_whole_column(
    values: list[str], written: str, moments: list[int]
) -> None:
    column = pl.Series([*values, None, " "])
    times = to_times(column)
    assert times.written == TimeFormat("date", format=written)
    assert times.seconds.to_list() == [*moments, None, None]
    assert recognise(column) == [times.written]
    for value, moment in zip(values, moments, strict=True):
        assert to_times(pl.Series([value]), format=written).seconds.to_list() == [moment]


def test_fractions_of_other_dates() -> None:
    column = pl.Series(["18/08/2017 10:00:00.5", "18/08/2017 10:00:01"])
    for times in (to_times(column), to_times(column, format="%d/%m/%Y %H:%M:%S.%f")):
        assert times.nanoseconds is not None
        assert times.nanoseconds.to_list() == [500_000_000, 0]


@pytest.mark.parametrize(
    ("values", "found", "keys"),
    [
        (["5/1/2024", "6/1/2024"], "'5/1/2024'", ("%m/%d/%Y", "%d/%m/%Y")),
        ([None, "05-01-2024 8:00"], "'05-01-2024 8:00'", ("%m-%d-%Y %H:%M", "%d-%m-%Y %H:%M")),
        (["5/5/2024"], "'5/5/2024'", ("%m/%d/%Y", "%d/%m/%Y")),
    ],
)
def test_day_and_month_either_way_round(
    values: list[Any], found: str, keys: tuple[str, str]
) -> None:
    row = 1 if values[0] else 2
    assert message(values) == (
        f"log.csv, row {row}, column 'at': day and month are ambiguous in every row "
        f'(found {found}). Fix: set data.time_format = "{keys[0]}" or data.time_format = '
        f'"{keys[1]}".'
    )
    assert message(values, keys="features.user.born.").endswith(
        f'Fix: set features.user.born.format = "{keys[0]}" or features.user.born.format = '
        f'"{keys[1]}".'
    )
    assert recognise(pl.Series(values)) == [TimeFormat("date", format=key) for key in keys]


def test_a_year_of_two_digits_that_may_be_a_day() -> None:
    with pytest.raises(UnclearTimesError) as caught:
        to_times(pl.Series("at", ["10/11/12"]))
    assert str(caught.value) == (
        "row 1, column 'at': the order of day, month and year is ambiguous in every row (found "
        '\'10/11/12\'). Fix: set data.time_format = "%m/%d/%y" or data.time_format = "%d/%m/%y" '
        'or data.time_format = "%y/%m/%d".'
    )


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            ["8/18/2017", "8/19/2017", "soon", "8/20/2017"],
            "1 of 4 timestamps are not written like the others, '%m/%d/%Y'; row 3: 'soon'",
        ),
        (
            ["8/18/2017", "8/19/2017", "19/8/2017"],
            "1 of 3 timestamps are not written like the others, '%m/%d/%Y'; row 3: '19/8/2017'",
        ),
    ],
)
def test_one_value_written_otherwise(values: list[str], problem: str) -> None:
    assert message(values) == (
        f"log.csv, column 'at': {problem}. Fix: write them the same way, or as ISO 8601 "
        "(2024-05-01T12:30:00)."
    )
    assert recognise(pl.Series(values)) == []


@pytest.mark.parametrize("values", [["a", "b"], ["Pan 12", "Pot 13"], ["1.2.3"], ["x" * 1000]])
def test_text_that_is_not_a_time(values: list[str]) -> None:
    assert recognise(pl.Series(values)) == []


# --- declared formats -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "written", "moment"),
    [
        ("5/1/2024", "%d/%m/%Y", at(2024, 1, 5)),
        ("5/1/2024", "%m/%d/%Y", at(2024, 5, 1)),
        ("01May2024", "%d%b%Y", at(2024, 5, 1)),
        ("2024-05-01 12", "%Y-%m-%d %H", at(2024, 5, 1, 12)),
        ("2024-05-01 12:00:00 +0200", "%Y-%m-%d %H:%M:%S %z", at(2024, 5, 1, 10)),
        ("2024-05-01T12:00:00Z", "%Y-%m-%dT%H:%M:%S%z", at(2024, 5, 1, 12)),
    ],
)
def test_declared_formats(value: str, written: str, moment: int) -> None:
    times = to_times(pl.Series([value, None]), format=written)
    assert times.seconds.to_list() == [moment, None]
    assert times.written == TimeFormat("date", format=written)


@pytest.mark.parametrize(
    ("values", "written", "problem"),
    [
        (
            ["18/8/2017", "8/18/2017", None, "x"],
            "%d/%m/%Y",
            "2 of 4 timestamps do not fit data.time_format = '%d/%m/%Y'; row 2: '8/18/2017', "
            "row 4: 'x'. Fix: correct the format, or the values.",
        ),
        (
            ["8/18/17"],
            "%m/%d/%Y",
            "1 of 1 timestamps do not fit data.time_format = '%m/%d/%Y'; row 1: '8/18/17'. Fix: "
            "correct the format, or the values.",
        ),
        (
            ["2024-05-01 12:00 CET"],
            "%Y-%m-%d %H:%M %Z",
            "data.time_format = '%Y-%m-%d %H:%M %Z' is not a date format. Fix: write such as "
            '"%d/%m/%Y %H:%M", and %z for an offset such as +02:00.',
        ),
        (
            ["12:00 PM 2024-05-01"],
            "%H:%M %p %Y-%m-%d",
            "data.time_format = '%H:%M %p %Y-%m-%d' is not a date format. Fix: write such as "
            '"%d/%m/%Y %H:%M", and %z for an offset such as +02:00.',
        ),
    ],
)
def test_what_a_declared_format_does_not_fit(values: list[Any], written: str, problem: str) -> None:
    assert message(values, format=written) == f"log.csv, column 'at': {problem}"


@given(
    st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31)), min_size=1),
    st.sampled_from(
        ["%d/%m/%Y", "%m/%d/%Y %H:%M", "%d.%m.%y", "%B %d, %Y", "%Y-%m-%d %H:%M:%S", "%d %b %Y"]
    ),
)
def test_a_value_alone_is_read_as_in_its_column(moments: list[datetime], written: str) -> None:
    column = pl.Series([moment.strftime(written) for moment in moments])
    try:
        times = to_times(column)
    except UnclearTimesError:  # no day above 12
        times = to_times(column, format=written)
    for row, moment in enumerate(moments):
        alone = to_times(column[row : row + 1], format=times.written.format)
        assert alone.seconds.to_list() == [times.seconds[row]]
        expected = datetime.strptime(moment.strftime(written), written).replace(tzinfo=UTC)
        assert times.seconds[row] == int(expected.timestamp())
