"""Times that are numbers: seconds to nanoseconds since 1970, dates such as 20240501, Excel days."""

from __future__ import annotations

from typing import Final

import polars as pl

from twotower.config import TimeUnit
from twotower.data.values.time_format import TimeFormat, UnclearTimesError, name_rows
from twotower.errors import DataError, explain

NANOSECONDS: Final = 1_000_000_000
"""Units per second."""
PER_SECOND: Final[dict[TimeUnit, int]] = {"s": 1, "ms": 1000, "us": 10**6, "ns": NANOSECONDS}

_LATEST: Final = 10_000_000_000
"""The year 2286 in seconds: larger numbers are in a finer unit."""
_RECENT: Final = (600_000_000, 4_102_444_800)
"""1989 to 2099 in seconds."""
_CALENDARS: Final = (
    ("%Y%m%d", 19_000_101, 21_001_231),
    ("%Y%m%d%H%M", 190_001_010_000, 210_012_312_359),
    ("%Y%m%d%H%M%S", 19_000_101_000_000, 21_001_231_235_959),
)
"""Numbers that spell a date, and the range of each format. As seconds or milliseconds they would
lie in 1970 or 1976, and hardly a column of such times holds nothing but calendar dates."""
_YEARS: Final = (1900, 2100)
_MONTHS: Final = (190_001, 210_012)
DAY_FIRST: Final = {"%d%m%Y": "DDMMYYYY", "%m%d%Y": "MMDDYYYY"}
"""Numbers of eight digits, or seven without the leading zero, that end with a year."""
_EXCEL_DAYS: Final = (32_874, 54_788)
"""1990 to 2049 as spreadsheets count days, from 1899-12-30 on."""
EXCEL_EPOCH: Final = 25_569
_NAMES: Final[dict[str, str]] = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}


def recognise_numbers(
    values: pl.Series, column: pl.Series, *, file: str | None, keys: str
) -> TimeFormat:
    """The meaning of numbers, integers or Float64, as times; one for the whole column.

    Raises:
        UnclearTimesError: years, months, Excel days, and dates such as 01052024.
        DataError: dates such as 20240501 mixed with other numbers, two units in one column, or
            numbers beyond the year 2286 in every unit.
    """
    low, high = values.min(), values.max()
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return TimeFormat("unix")
    for calendar, first, last in _CALENDARS:
        if first <= low and high <= last and _is_calendar(values, calendar):
            return TimeFormat("calendar", format=calendar)
    _refuse_spoilt(values, column, file)
    _refuse_unclear(values, low, high, column, file, keys)
    largest = max(abs(low), abs(high))
    unit = next(
        (u for u, per_second in PER_SECOND.items() if largest <= _LATEST * per_second), None
    )
    if unit is None:
        beyond = values.abs() > _LATEST * NANOSECONDS
        problem = name_rows(beyond, column, "lie beyond the year 2286 in every unit")
        fix = f"correct them, or set {keys}unit"
        raise DataError(explain(problem, file=file, column=column.name, fix=fix))
    _refuse_two_units(values, unit, float(low), column, file, keys)
    small = unit == "s" and largest < ORDER_BELOW
    return TimeFormat("order" if small else "unix", unit=unit)


ORDER_BELOW: Final = 1_000_000
"""Numbers below are an order, not seconds since 1970."""


def are_recent(values: pl.Series, unit: TimeUnit) -> bool:
    """Whether all numbers, read as times of a unit, are in the years 1989 to 2099."""
    seconds = values.cast(pl.Float64) / PER_SECOND[unit]
    return bool(seconds.is_between(*_RECENT).all())


def _is_calendar(values: pl.Series, calendar: str) -> bool:
    """Whether the digits of all numbers are dates."""
    return bool(_spell_dates(values.drop_nulls(), calendar).all())


def _spell_dates(values: pl.Series, calendar: str) -> pl.Series:
    """Whether the digits of each number are a date from 1900 to 2100; null for a missing number."""
    whole = values.cast(pl.Int64, strict=False)
    text = whole.cast(pl.String)
    text = text.str.zfill(8) if calendar in DAY_FIRST else text
    days = text.str.to_datetime(calendar, strict=False, time_unit="us")
    dated = days.dt.year().is_between(*_YEARS).fill_null(False)
    return dated & (whole == values)


def _refuse_spoilt(values: pl.Series, column: pl.Series, file: str | None) -> None:
    """Refuse numbers that are nearly all dates such as 20240501: because of the others, all would
    be read as seconds of 1970."""
    calendar, first, last = _CALENDARS[0]
    inside = values.cast(pl.Float64).is_between(first, last)
    if int(inside.sum()) * 2 <= values.count():
        return
    dates = _spell_dates(values, calendar)
    if int(dates.sum()) * 2 > values.count():
        wrong = name_rows(
            ~dates & values.is_not_null(), column, f"are not dates like the others ({calendar}) are"
        )
        fix = "correct these values, or remove the rows"
        raise DataError(explain(wrong, file=file, column=column.name, fix=fix))


def _refuse_unclear(
    values: pl.Series,
    low: float,
    high: float,
    column: pl.Series,
    file: str | None,
    keys: str,
) -> None:
    """Refuse years, months and Excel days: they are not seconds since 1970, and may not be
    times."""
    whole = values.dtype.is_integer() or not (values.floor() != values).any()

    def within(bounds: tuple[int, int]) -> bool:
        return bounds[0] <= low and high <= bounds[1]

    if whole and within(_YEARS):
        found, what = TimeFormat("year", format="%Y"), "years"
    elif whole and within(_MONTHS) and (values % 100).is_between(1, 12).all():
        found, what = TimeFormat("month", format="%Y%m"), "months (YYYYMM)"
    elif within(_EXCEL_DAYS):
        found, what = TimeFormat("excel", unit="excel"), "Excel days"
    else:
        _refuse_day_first(values, column, file, keys)
        return
    key = f'{keys}format = "{found.format}"' if found.format else f'{keys}unit = "excel"'
    row = int(values.is_not_null().arg_true()[0])
    raise UnclearTimesError(
        explain(
            f"the timestamps look like {what}, not like seconds since 1970",
            file=file,
            row=row + 1,
            column=column.name,
            value=column[row],
            fix=f'set {key} if they are; {keys}unit = "s" takes them as seconds or as an order',
        ),
        [found],
    )


def _refuse_day_first(values: pl.Series, column: pl.Series, file: str | None, keys: str) -> None:
    """Refuse numbers such as 01052024, which would be read as seconds of 1970."""
    if not values.cast(pl.Float64).is_between(1_011_900, 31_122_100).all():
        return
    fitting = [written for written in DAY_FIRST if _is_calendar(values, written)]
    if fitting:
        row = int(values.is_not_null().arg_true()[0])
        raise UnclearTimesError(
            explain(
                f"the timestamps look like dates ({' or '.join(DAY_FIRST[w] for w in fitting)}), "
                "not like seconds since 1970",
                file=file,
                row=row + 1,
                column=column.name,
                value=column[row],
                fix="set " + " or ".join(f'{keys}format = "{written}"' for written in fitting),
            ),
            [TimeFormat("date", format=written) for written in fitting],
        )


def _refuse_two_units(
    values: pl.Series,
    unit: TimeUnit,
    low: float,
    column: pl.Series,
    file: str | None,
    keys: str,
) -> None:
    """Refuse a mix of two units, in which the numbers of the coarser one would be read as early
    1970.

    Dates of birth in milliseconds can be in early 1970, too: numbers are refused only if there are
    more of them there than in the years around, 1965 to 1974.
    """
    near = 157_766_400 * PER_SECOND[unit]  # five years
    for coarser, per_second in PER_SECOND.items():
        if coarser == unit:
            return
        if low > _RECENT[1] * per_second:
            continue
        inside = values.is_between(_RECENT[0] * per_second, _RECENT[1] * per_second).fill_null(
            False
        )
        count = int(inside.sum())
        if count and count * 2 > int((values.abs() <= near).sum()):
            rarer = inside if count * 2 <= len(values) else ~inside & values.is_not_null()
            names = (_NAMES[coarser], _NAMES[unit])
            one, other = names if count * 2 <= len(values) else names[::-1]
            problem = name_rows(rarer, column, f"look like {one} among {other}")
            fix = f'write one unit, or set {keys}unit = "{unit}" where they are right'
            raise DataError(explain(problem, file=file, column=column.name, fix=fix))


def split_numbers(values: pl.Series, unit: TimeUnit) -> tuple[pl.Series, pl.Series | None]:
    """Numbers of a unit, integers or Float64, as seconds (Int64) and nanoseconds (Int32)."""
    if unit == "excel":
        milliseconds = ((values.cast(pl.Float64) - EXCEL_EPOCH) * 86_400_000).round()
        return split_numbers(milliseconds.cast(pl.Int64), "ms")
    per_second = PER_SECOND[unit]
    if not values.dtype.is_integer():
        seconds = (values if per_second == 1 else values // per_second).floor()
        rest = ((values - seconds * per_second) * (NANOSECONDS // per_second)).round()
        rest = rest.clip(0, NANOSECONDS - 1).cast(pl.Int32)
        return seconds.cast(pl.Int64), rest if rest.max() else None
    if per_second == 1:
        return values.cast(pl.Int64), None
    seconds = values // per_second
    rest = values - seconds * per_second
    if not rest.max():
        return seconds.cast(pl.Int64), None
    return seconds.cast(pl.Int64), rest.cast(pl.Int32) * (NANOSECONDS // per_second)
