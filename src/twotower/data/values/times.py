"""Timestamps in any format to seconds and nanoseconds since 1970-01-01 UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from twotower.config import TimeUnit
from twotower.data.values.date_formats import put_times, read_dates, read_format, read_iso
from twotower.data.values.spelling import exact_limit
from twotower.data.values.time_format import TimeFormat, UnclearTimesError, name_rows
from twotower.data.values.unix_times import DAY_FIRST, are_recent, recognise_numbers, split_numbers
from twotower.errors import DataError, explain

SECONDS_PER_DAY: Final = 86_400


@dataclass(frozen=True)
class Times:
    """Points in time at full precision.

    Attributes:
        seconds: (R,) Int64 since 1970-01-01 UTC, rounded down; null for a missing time.
        nanoseconds: (R,) Int32, from 0 to 999,999,999; None if all are 0.
        written: the format they were read from.
    """

    seconds: pl.Series
    nanoseconds: pl.Series | None
    written: TimeFormat

    @property
    def unit(self) -> TimeUnit | None:
        """The unit of the numbers that were read; None for text and datetimes."""
        return self.written.unit


def to_seconds(column: pl.Series, *, file: str | None = None) -> pl.Series:
    """The whole seconds of `to_times`."""
    return to_times(column, file=file).seconds


def to_times(
    column: pl.Series,
    *,
    file: str | None = None,
    unit: TimeUnit | None = None,
    format: str | None = None,  # noqa: A002
    keys: str = "data.time_",
) -> Times:
    """A column of datetimes, dates, unix times or text as seconds and nanoseconds.

    Nulls, NaN and empty text become null. Text and datetimes without a time zone are read as UTC.

    Args:
        column: the values.
        file: the source, for error messages.
        unit: of numbers; with a unit, the column may also hold ISO 8601 text. Default: recognised
            from the whole column.
        format: of dates in text or numbers, in strptime's codes; values that do not match it may
            be ISO 8601. Default: ISO 8601, which may vary from value to value, or another common
            format that reads all values.
        keys: prefix of the config keys for unit and format, for error messages.

    Raises:
        UnclearTimesError: ambiguous dates, and numbers that are years, months or Excel days.
        DataError: values that are not times; names the first three rows.
    """
    times = _read(column, file, unit, format, keys)
    nanoseconds = None if times.nanoseconds is None else times.nanoseconds.alias(column.name)
    return Times(times.seconds.alias(column.name), nanoseconds, times.written)


def recognise(column: pl.Series) -> list[TimeFormat]:
    """The formats in which a column can be read as times: none if it does not hold times, several
    if day and month are ambiguous."""
    try:
        return [to_times(column).written]
    except UnclearTimesError as error:
        return error.readings
    except DataError:
        return []


def _read(
    column: pl.Series, file: str | None, unit: TimeUnit | None, written: str | None, keys: str
) -> Times:
    """As `to_times`; the series may have any name."""
    if column.dtype in (pl.Null, pl.Date, pl.Datetime):
        return _read_datetimes(column)
    if column.dtype.is_nested() or column.dtype in (pl.Duration, pl.Object, pl.Binary):
        problem = f"holds values of type {column.dtype}, which are not points in time"
        raise DataError(explain(problem, file=file, column=column.name))
    numbers = _numbers(column, file)
    if written is not None:
        return _read_format(column, numbers, TimeFormat("date", format=written), file, keys)
    if numbers is None and unit is not None:
        return _read_mixed(column, file, unit)
    if numbers is None:
        return _read_text(column, file, keys)
    found = TimeFormat("unix", unit=unit)
    if unit is None:
        found = recognise_numbers(numbers, column, file=file, keys=keys)
    if found.format is not None:
        return _read_format(column, numbers, found, file, keys)
    return Times(*split_numbers(numbers, found.unit or "s"), found)


def _read_datetimes(column: pl.Series) -> Times:
    """Times of a column of datetimes or dates, or of one without a value."""
    found = TimeFormat("datetime")
    if isinstance(column.dtype, pl.Datetime):
        return Times(*split_numbers(column.to_physical(), column.dtype.time_unit), found)
    days = column.cast(pl.Int64)
    return Times(days * SECONDS_PER_DAY, None, found)


def _read_format(
    column: pl.Series, numbers: pl.Series | None, found: TimeFormat, file: str | None, keys: str
) -> Times:
    """Times in one format."""
    text = _text(column, numbers)
    if numbers is not None and found.format in DAY_FIRST:
        text = text.str.zfill(8)
    return Times(*read_format(text, found.format or "", column, file=file, keys=keys), found)


def _read_text(column: pl.Series, file: str | None, keys: str) -> Times:
    """ISO 8601, mixed with numbers if these can only be unix times, or another format if no value
    is ISO 8601."""
    text = _text(column, None)
    seconds, nanoseconds = read_iso(text)
    wrong = seconds.is_null() & text.is_not_null()
    if wrong.any() and int(wrong.sum()) == text.count():
        dates = read_dates(text, column, file=file, keys=keys)
        if dates is not None:
            return Times(*dates)
        numbers = text.cast(pl.Float64, strict=False).is_finite().fill_null(False)
        wrong = wrong & ~numbers
    elif wrong.any():
        others = _numbers(text.set(~wrong, None), file)
        mixed = None if others is None else _read_beside(others, column, file, keys)
        if mixed is not None:
            return mixed
    _refuse(wrong, column, file)
    return Times(seconds, nanoseconds, TimeFormat("iso"))


def _read_beside(
    numbers: pl.Series, column: pl.Series, file: str | None, keys: str
) -> Times | None:
    """ISO 8601 mixed with numbers; None if the numbers may be something other than times."""
    found = recognise_numbers(numbers, column, file=file, keys=keys)
    if found.kind == "calendar":
        return _read_format(column, None, found, file, keys)
    if found.kind == "unix" and are_recent(numbers, found.unit or "s"):
        return _read_mixed(column, file, found.unit or "s")
    return None


def _read_mixed(column: pl.Series, file: str | None, unit: TimeUnit) -> Times:
    """Text that is ISO 8601 or a number of a known unit, value by value."""
    text = _text(column, None)
    found = read_iso(text)
    rows = (found[0].is_null() & text.is_not_null()).arg_true()
    numbers = text.gather(rows).cast(pl.Float64, strict=False)
    _refuse(
        pl.Series([False] * len(text)).scatter(rows, ~numbers.is_finite().fill_null(False)),
        column,
        file,
    )
    whole = text.gather(rows).cast(pl.Int64, strict=False)
    numbers = numbers if whole.has_nulls() else whole
    return Times(
        *put_times(found, rows, split_numbers(numbers, unit)), TimeFormat("unix", unit=unit)
    )


def _numbers(column: pl.Series, file: str | None) -> pl.Series | None:
    """A column as integers or Float64, null for a missing value; None if not all values are
    numbers.

    Raises:
        DataError: infinity, and floats too large to hold a time exactly.
    """
    if column.dtype.is_integer():
        return column
    if column.dtype.is_numeric():
        values = column.cast(pl.Float64).fill_nan(None)
        limit = None if column.dtype == pl.Float64 else exact_limit(column.dtype)
        if limit is not None and ((values.abs() >= limit) & values.is_finite()).any():
            wrong = values.abs() >= limit
            problem = f"are {limit:,} or beyond, where {column.dtype} rounds whole numbers"
            fix = "write the column as int64 or float64"
            problem = name_rows(wrong, column, problem)
            raise DataError(explain(problem, file=file, column=column.name, fix=fix))
    else:
        text = _text(column, None)
        values = text.cast(pl.Int64, strict=False)
        if values.null_count() == text.null_count():
            return values
        values = text.cast(pl.Float64, strict=False)
        if values.null_count() > text.null_count() or values.is_nan().any():
            return None
    _refuse(values.is_infinite(), column, file)
    return values


def _text(column: pl.Series, numbers: pl.Series | None) -> pl.Series:
    """A column as text, null for empty text; whole numbers without a decimal point."""
    if numbers is not None:
        whole = numbers.cast(pl.Int64, strict=False)
        column = whole if not (whole != numbers).any() else numbers
    text = column.cast(pl.String, strict=False).str.strip_chars()
    return text.set(text == "", None)


def _refuse(wrong: pl.Series, column: pl.Series, file: str | None) -> None:
    """Raise an error that names the values that are not times."""
    if wrong.any():
        problem = name_rows(wrong, column, "cannot be read")
        fix = "write times as ISO 8601 (2024-05-01T12:30:00) or as unix seconds"
        raise DataError(explain(problem, file=file, column=column.name, fix=fix))
