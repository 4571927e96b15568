"""Timestamps of any spelling to whole seconds since 1970-01-01 UTC."""

from __future__ import annotations

from typing import Final

import polars as pl

from twotower.errors import DataError, explain

SECONDS_PER_DAY: Final = 86_400

_LATEST_SECONDS: Final = 100_000_000_000
"""Numbers beyond it (the year 5138 in seconds) are milliseconds, beyond 1000 times it micro-, and
beyond 1000 times that nanoseconds."""

_FORMATS: Final = (
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M%#z",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
)
"""ISO 8601 with a blank for the T; each value may be in another of these."""


def to_seconds(column: pl.Series, *, file: str | None = None) -> pl.Series:
    """A column of datetimes, dates, unix times (s, ms, us, ns) or ISO 8601 text to int64 seconds.

    Nulls and empty text stay null. Text and datetimes without a zone are taken as UTC. The unit of
    unix times is told from the largest of them; fractions of seconds are cut off.

    Raises:
        DataError: values that are not times, the first three rows named.
    """
    if column.dtype == pl.Null:
        return column.cast(pl.Int64)
    if isinstance(column.dtype, pl.Datetime | pl.Date):
        return column.dt.epoch("s")
    if column.dtype.is_nested() or column.dtype in (pl.Duration, pl.Object, pl.Binary):
        problem = f"holds values of type {column.dtype}, which are no points in time"
        raise DataError(explain(problem, file=file, column=column.name))
    if column.dtype.is_numeric():
        return _unix(column, column, file)
    text = column.cast(pl.String, strict=False).str.strip_chars()
    text = text.set(text == "", None)
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count() == text.null_count():
        integers = text.cast(pl.Int64, strict=False)
        exact = integers.null_count() == text.null_count()
        return _unix(integers if exact else numbers, column, file)
    seconds = _from_text(text)
    _refuse(seconds.is_null() & column.is_not_null() & (text != "").fill_null(False), column, file)
    return seconds


def _from_text(text: pl.Series) -> pl.Series:
    """ISO 8601 text to seconds, null where it is none."""
    plain = pl.col("text").str.replace(r"^(\S{8,10})[Tt]", "${1} ")
    read = [
        plain.str.to_datetime(spelling, strict=False, time_unit="us", time_zone="UTC")
        for spelling in _FORMATS
    ]
    times = text.alias("text").to_frame().select(pl.coalesce(read).dt.epoch("s"))
    return times.to_series().alias(text.name)


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


def _unix(numbers: pl.Series, column: pl.Series, file: str | None) -> pl.Series:
    """Unix times of any unit to seconds; `column` holds them as they were written."""
    exact = numbers.dtype.is_integer()
    values = numbers if exact else numbers.cast(pl.Float64)
    if not exact:
        wrong = (values.abs() > _LATEST_SECONDS * 1e9) | ~values.is_finite()
        _refuse(wrong.fill_null(False), column, file)
    extremes = [value for value in (values.min(), values.max()) if isinstance(value, int | float)]
    largest, scale = max(map(abs, extremes), default=0), 1  # in Python: -2^63 has no abs in int64
    while largest / scale > _LATEST_SECONDS:
        scale *= 1000
    seconds = values if scale == 1 else values // scale
    return (seconds if exact else seconds.floor()).cast(pl.Int64).alias(column.name)
