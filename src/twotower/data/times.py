"""Timestamps of any spelling to whole seconds since 1970-01-01 UTC."""

from __future__ import annotations

from typing import Final

import polars as pl

from twotower.errors import DataError, explain

SECONDS_PER_DAY: Final = 86_400

_LATEST_SECONDS: Final = 100_000_000_000
"""Integers beyond it (the year 5138 in seconds) are milliseconds, beyond 1000 times it micro-, and
so on."""


def to_seconds(column: pl.Series, *, file: str | None = None) -> pl.Series:
    """A column of datetimes, dates, unix times (s, ms, us, ns) or ISO 8601 text to int64 seconds.

    Nulls stay null. Text without a zone is taken as UTC.

    Raises:
        DataError: values that are not times, the first three rows named.
    """
    if column.dtype == pl.Null:
        return column.cast(pl.Int64)
    if isinstance(column.dtype, pl.Datetime | pl.Date):
        return column.cast(pl.Datetime("us")).dt.epoch("s")
    if column.dtype.is_numeric():
        _refuse(~column.cast(pl.Float64).is_finite(), column, file)
        return _unix(column)
    text = column.cast(pl.String).str.strip_chars()
    text = text.set(text == "", None)
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count() == text.null_count():
        _refuse(~numbers.is_finite(), column, file)
        return _unix(numbers)
    times = text.str.to_datetime(
        strict=False, time_unit="us", time_zone="UTC", ambiguous="earliest"
    )
    _refuse(times.is_null() & text.is_not_null(), column, file)
    return times.dt.epoch("s")


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


def _unix(column: pl.Series) -> pl.Series:
    name = column.name or "timestamp"
    value = pl.col(name)
    largest = column.drop_nulls().abs().max()
    scale = 1
    while isinstance(largest, int | float) and largest / scale > _LATEST_SECONDS:
        scale *= 1000
    frame = column.alias(name).to_frame().select((value / scale).floor().cast(pl.Int64))
    return frame.to_series().alias(column.name)
