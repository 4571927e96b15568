"""Detection of the timestamp column of the interactions."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import polars as pl

from twotower.data.columns import TIMESTAMP
from twotower.data.values.time_format import TimeFormat
from twotower.data.values.times import SECONDS_PER_DAY, recognise, to_seconds
from twotower.errors import DataError
from twotower.workflow.setup.init.cell_types import as_numbers, as_text, is_flat
from twotower.workflow.setup.init.names import WEAK_TIMES, candidates, hints, is_key, plain, words

EARLIEST: Final = 315_532_800
"""1980-01-01: smaller integers in a column of dates are more likely 20240501 than unix times."""
LATEST: Final = 4_102_444_800
"""2100-01-01."""
DATE: Final = (
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"
    r"|^\d{4}[-/]\d{1,2}$|^\d{4}-?[WQ]\d{1,2}"
    r"|^\p{L}{3,10}\.? \d{1,2},? \d{4}|^\d{1,2}\.?[ -]\p{L}{3,10}\.?[ ,-]+\d{2,4}$"
)
"""2024-05-01 and the like; 2024-05; 2024-W18; May 1, 2024; 1. Mai 2024."""
PREFERENCES: Final = {"rank", "ranking", "preference", "priority", "choice"}
"""Words of names of columns that put the best item first, not the earliest."""
MIN_NUMBERED: Final = 3
"""Rows from which on a user's numbers are evidence of an order."""
CLOCK: Final = r"(?i)^\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[ap]m)?$"


@dataclass(frozen=True)
class TimeColumn:
    """The column of times.

    Attributes:
        name: its name.
        problem: why it cannot be read; None where it can.
        readings: how the values may be written.
        is_order: whether it numbers the rows of each user and has no times.
    """

    name: str
    problem: str | None = None
    readings: tuple[TimeFormat, ...] = ()
    is_order: bool = False


def is_time(column: pl.Series) -> bool:
    """Whether every value is a time, and none before 1980 or after 2100."""
    if column.has_nulls() or not len(column) or not is_flat(column):
        return False
    try:
        seconds = to_seconds(column)
    except DataError:
        return False
    low, high = seconds.min(), seconds.max()
    return isinstance(low, int) and isinstance(high, int) and EARLIEST <= low <= high <= LATEST


def days_only(column: pl.Series) -> tuple[bool, bool]:
    """Whether a column of times has none within a day, and whether it is text."""
    clocks = to_seconds(column) % SECONDS_PER_DAY != 0
    return not clocks.any(), as_numbers(column) is None


def has_dates(column: pl.Series) -> bool:
    """Whether most values look like dates, readable or not."""
    if isinstance(column.dtype, pl.Date | pl.Datetime):
        return True
    if column.dtype != pl.String:
        return False
    text = as_text(column).drop_nulls()
    return bool(len(text)) and int(text.str.contains(DATE).sum()) > 0.9 * len(text)


def is_clock(column: pl.Series) -> bool:
    """Whether all values are times of day without a date."""
    if column.dtype == pl.Time:
        return True
    text = as_text(column).drop_nulls() if column.dtype == pl.String else column.clear()
    return bool(len(text)) and bool(text.str.contains(CLOCK).all())


def clock_note(log: pl.DataFrame, time: TimeColumn) -> str | None:
    """Words on a time of day that stands in another column than the date; None where none does."""
    clock = next((name for name in log.columns if is_clock(log[name])), None)
    if clock is None or time.problem is not None or not days_only(log[time.name])[0]:
        return None
    return (
        f"{time.name} has no time of day; it is in {clock}. Combine both into one column, such as "
        "2024-05-01 12:30:00; otherwise the order within a day is unknown."
    )


def guess_time(log: pl.DataFrame, used: Collection[str]) -> TimeColumn | None:
    """The column of times; one that is named as such and cannot be read is named, too."""
    names = [name for name in candidates(log.columns, TIMESTAMP) if name not in used]
    if TIMESTAMP in names:
        return named_time(log[TIMESTAMP])
    readable = [name for name in names if is_time(log[name])]
    if readable:
        readable.sort(key=lambda name: days_only(log[name]))
        return TimeColumn(readable[0])
    others = [name for name in log.columns if name not in used and name not in names]
    unnamed = [name for name in others if has_dates(log[name]) and is_time(log[name])]
    unnamed = unnamed or [n for n in others if hints(n, "date") and is_time(log[n])]
    if len(unnamed) == 1:
        return TimeColumn(unnamed[0])
    unreadable = [
        name
        for name in [*names, *(name for name in others if has_dates(log[name]))]
        if has_dates(log[name]) or (plain(name) not in WEAK_TIMES and not is_key(name))
    ]
    unreadable = [name for name in unreadable if log[name].null_count() < len(log)]
    if not unreadable:
        days = [name for name in names if name not in used and counts_days(log[name])]
        return TimeColumn(days[0]) if days else None
    return named_time(log[unreadable[0]])


def guess_order(log: pl.DataFrame, user: str, used: Collection[str]) -> TimeColumn | None:
    """The column that numbers the rows of each user from 0 or 1 on, each number once; None where
    there is none, or where most users have too few rows for that to mean anything."""
    rows = log.group_by(user).len()["len"]
    if not len(rows) or int((rows >= MIN_NUMBERED).sum()) * 2 <= len(rows):
        return None
    for name in log.columns:
        numbers = None if name in used or log[name].has_nulls() else as_numbers(log[name])
        if numbers is None or len(numbers) < len(log) or words(name) & PREFERENCES:
            continue
        number = pl.col("number")
        of_users = log.select(user).with_columns(number=numbers).group_by(user)
        found = of_users.agg(
            low=number.min(), high=number.max(), distinct=number.n_unique(), rows=pl.len()
        )
        first = found["low"][0]
        last = first - 1 + pl.col("rows")
        every = (pl.col("low") == first) & (pl.col("high") == last)
        every &= pl.col("distinct") == pl.col("rows")
        if first in (0, 1) and bool(found.select(every.all()).item()):
            return TimeColumn(name, is_order=True)
    return None


def counts_days(column: pl.Series) -> bool:
    """Whether a column numbers the days of the log, and not those of a month."""
    numbers = as_numbers(column)
    if numbers is None or column.has_nulls() or "day" not in words(column.name):
        return False
    whole = bool((numbers == numbers.round()).all())
    return whole and numbers.n_unique() > 31 and bool(numbers.is_between(0, 50_000).all())


def named_time(column: pl.Series) -> TimeColumn:
    """A column that is named as times, with what keeps it from being read."""
    if column.has_nulls():
        missing = f"{column.null_count():,} of {len(column):,} rows have no timestamp"
        return TimeColumn(column.name, missing)
    problem = problem_of(column)
    return TimeColumn(column.name, problem, readings_of(column) if problem is not None else ())


def problem_of(column: pl.Series) -> str | None:
    """Why a column cannot be read as times, without file and fix; None where it can."""
    try:
        to_seconds(column)
    except DataError as error:
        text = str(error).partition(" Fix: ")[0].rstrip(".")
        return re.sub(rf"^(row [\d,]+, )?column {re.escape(repr(column.name))}: ", "", text)
    return None


def readings_of(column: pl.Series) -> tuple[TimeFormat, ...]:
    """The ways in which times that are not certain can be read."""
    return tuple(found for found in recognise(column) if found.format or found.unit)
