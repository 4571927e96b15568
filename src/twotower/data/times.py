"""Timestamps of any spelling to seconds and nanoseconds since 1970-01-01 UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

from twotower.errors import DataError, explain

TimeUnit = Literal["s", "ms", "us", "ns"]

SECONDS_PER_DAY: Final = 86_400
NANOSECONDS_PER_SECOND: Final = 1_000_000_000

_LATEST_SECONDS: Final = 100_000_000_000
"""Numbers beyond it (the year 5138 in seconds) are milliseconds, beyond 1000 times it micro-, and
beyond 1000 times that nanoseconds."""

_FORMATS: Final = (
    "%Y-%m-%d %H:%M:%S%#z",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M%#z",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
)
"""ISO 8601 with a blank for the T; each value may be in another of these."""


@dataclass(frozen=True)
class Times:
    """Points in time at full precision.

    Attributes:
        seconds: (R,) Int64 since 1970-01-01 UTC, rounded down; null where there is no time.
        nanoseconds: (R,) Int32, the rest of each, 0 to 999,999,999; None where all are 0.
        unit: of the numbers that were read; None of text and datetimes.
    """

    seconds: pl.Series
    nanoseconds: pl.Series | None = None
    unit: TimeUnit | None = None


def to_seconds(column: pl.Series, *, file: str | None = None) -> pl.Series:
    """The whole seconds of `to_times`."""
    return to_times(column, file=file).seconds


def to_times(
    column: pl.Series,
    *,
    file: str | None = None,
    unit: TimeUnit | None = None,
    format: str | None = None,  # noqa: A002
) -> Times:
    """A column of datetimes, dates, unix times (s, ms, us, ns) or ISO 8601 text as seconds.

    Nulls and empty text stay null. Text and datetimes without a zone are taken as UTC.

    Args:
        column: the values.
        file: where they are from, for the message.
        unit: of numbers. Default: recognised from the whole column.
        format: how text is written, in strptime's codes. Default: ISO 8601.

    Raises:
        DataError: values that are not times, the first three rows named.
    """
    if column.dtype == pl.Null:
        return Times(column.cast(pl.Int64))
    if isinstance(column.dtype, pl.Date):
        return Times(column.dt.epoch("s"))
    if isinstance(column.dtype, pl.Datetime):
        return _split(column.to_physical(), _PER_SECOND[column.dtype.time_unit])
    if column.dtype.is_nested() or column.dtype in (pl.Duration, pl.Object, pl.Binary):
        problem = f"holds values of type {column.dtype}, which are no points in time"
        raise DataError(explain(problem, file=file, column=column.name))
    if column.dtype.is_numeric():
        return _unix(column, column, file, unit)
    text = column.cast(pl.String, strict=False).str.strip_chars()
    text = text.set(text == "", None)
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count() == text.null_count():
        integers = text.cast(pl.Int64, strict=False)
        exact = integers.null_count() == text.null_count()
        return _unix(integers if exact else numbers, column, file, unit)
    times = _from_text(text)
    wrong = times.seconds.is_null() & column.is_not_null() & (text != "").fill_null(False)
    _refuse(wrong, column, file)
    return times


def _split(numbers: pl.Series, per_second: int) -> Times:
    """Whole numbers of a unit to seconds and nanoseconds."""
    if per_second == 1:
        return Times(numbers.cast(pl.Int64))
    seconds = numbers // per_second
    rest = numbers - seconds * per_second
    if not rest.max():
        return Times(seconds.cast(pl.Int64))
    nanoseconds = (rest * (NANOSECONDS_PER_SECOND // per_second)).cast(pl.Int32)
    return Times(seconds.cast(pl.Int64), nanoseconds)


def _from_text(text: pl.Series) -> Times:
    """ISO 8601 text, null where it is none."""
    plain = text.str.replace(r"^(\S{8,10})[Tt]", "${1} ")
    digits = plain.str.extract(_FRACTION, 2).str.slice(0, 9).str.pad_end(9, "0")
    nanoseconds = digits.cast(pl.Int32).fill_null(0).set(text.is_null(), None)
    plain = plain.str.replace(_FRACTION, "${1}").alias("text")
    read = [
        pl.col("text").str.to_datetime(spelling, strict=False, time_unit="us", time_zone="UTC")
        for spelling in _FORMATS
    ]
    times = plain.to_frame().select(pl.coalesce(read).dt.epoch("s"))
    seconds = times.to_series().alias(text.name)
    return Times(seconds, nanoseconds if nanoseconds.max() else None)


_FRACTION = r"^(\S+ \d+:\d+:\d+)[.,](\d+)"


def _refuse(wrong: pl.Series, column: pl.Series, file: str | None) -> None:
    rows = wrong.arg_true().to_list()
    if rows:
        examples = ", ".join(f"row {row + 1}: {column[row]!r}" for row in rows[:3])
        raise DataError(
            explain(
                f"{len(rows):,} of {len(column):,} timestamps cannot be read; {examples}",
                file=file,
                column=column.name,
                fix="write times as ISO 8601 (2024-05-01T12:30:00) or as unix seconds",
            )
        )


def _unix(numbers: pl.Series, column: pl.Series, file: str | None, unit: TimeUnit | None) -> Times:
    """Unix times of any unit; `column` holds them as they were written."""
    exact = numbers.dtype.is_integer()
    values = numbers if exact else numbers.cast(pl.Float64)
    if not exact:
        wrong = (values.abs() > _LATEST_SECONDS * 1e9) | ~values.is_finite()
        _refuse(wrong.fill_null(False), column, file)
    extremes = [value for value in (values.min(), values.max()) if isinstance(value, int | float)]
    largest = max(map(abs, extremes), default=0)  # in Python: -2^63 has no abs in int64
    for found, per_second in _PER_SECOND.items():
        if found == unit or (unit is None and largest / per_second <= _LATEST_SECONDS):
            break
    if exact:
        times = _split(values, per_second)
    else:
        seconds = values if per_second == 1 else values // per_second
        seconds = seconds.floor()
        rest = ((values - seconds * per_second) * (NANOSECONDS_PER_SECOND // per_second)).round()
        rest = rest.clip(0, NANOSECONDS_PER_SECOND - 1).cast(pl.Int32)
        times = Times(seconds.cast(pl.Int64), rest if rest.max() else None)
    name = column.name
    nanoseconds = None if times.nanoseconds is None else times.nanoseconds.alias(name)
    return Times(times.seconds.alias(name), nanoseconds, found)


_PER_SECOND: Final[dict[TimeUnit, int]] = {
    "s": 1,
    "ms": 1000,
    "us": 10**6,
    "ns": 10**9,
}
