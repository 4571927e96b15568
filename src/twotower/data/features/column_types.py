"""Types of the columns of users and items: inferred from text once, declared, then kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.config import (
    CategoriesConfig,
    CategoryConfig,
    ColumnFeatureConfig,
    NumberConfig,
    TextConfig,
    TimestampConfig,
    TimeUnit,
)
from twotower.data.features.cells import categorical
from twotower.data.values.numbers import to_numbers
from twotower.data.values.row_errors import refuse_rows
from twotower.data.values.spelling import spelled, to_integers
from twotower.data.values.times import to_times
from twotower.data.values.unix_times import EXCEL_EPOCH, PER_SECOND

NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"
"""Text that is a number, rather than a code such as 007."""
Declared = Mapping[str, list[ColumnFeatureConfig]]
"""Column -> the features that read it."""


def declared(features: Mapping[str, object]) -> Declared:
    """The columns that the features of a side read.

    Args:
        features: name -> config of each feature.
    """
    found: dict[str, list[ColumnFeatureConfig]] = {}
    for name, config in features.items():
        if isinstance(config, ColumnFeatureConfig):
            found.setdefault(config.column or name, []).append(config)
    return found


def inferred(text: pl.Series) -> pl.Series:
    """Text as integers, numbers or truth values where all of its cells are, else as it is.

    "007", "+7" and "1e5" may be codes and are not numbers here. Empty cells are missing.
    """
    text = text.set(text == "", None)
    if text.null_count() == len(text):
        return text
    numbers = to_integers(text)
    if numbers.null_count() == text.null_count():
        return numbers
    # Digits without a fraction are too long for an integer.
    if text.str.contains(NUMBER).all() and text.str.contains(".", literal=True).any():
        return text.cast(pl.Float64)
    return truth_values(text)


def truth_values(column: pl.Series) -> pl.Series:
    """Text as truth values where all of its cells are, else as it is."""
    if column.null_count() == len(column) or not column.str.contains("^(?i:true|false)$").all():
        return column
    return column.str.to_lowercase() == "true"


def infer_undeclared(frame: pl.DataFrame, stay: Collection[str]) -> pl.DataFrame:
    """A table of text, the columns that no feature reads as what they hold."""
    return frame.select(
        column if column.name in stay or column.dtype != pl.String else inferred(column)
        for column in frame
    )


def as_declared(frame: pl.DataFrame, columns: Declared, *, file: str | None = None) -> pl.DataFrame:
    """A table as it is kept: what is declared a number as numbers, categories and text as text;
    columns that hold nothing but `true` and `false` and are not declared, as truth values.

    Raises:
        DataError: a value is not a number, in a column that is declared one.
    """
    return frame.select(
        _as_declared(column, columns.get(column.name, []), file) for column in frame
    )


def _as_declared(
    column: pl.Series, configs: list[ColumnFeatureConfig], file: str | None
) -> pl.Series:
    kinds = {type(config) for config in configs}
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    if column.dtype.is_nested():
        return column
    if CategoryConfig in kinds:
        return categorical(column)
    if kinds & {CategoriesConfig, TextConfig}:
        return spelled(column)
    for config in configs:
        if isinstance(config, NumberConfig):
            return _numbers(column, config, file)
    return truth_values(column) if not configs and column.dtype == pl.String else column


def _numbers(column: pl.Series, config: NumberConfig, file: str | None) -> pl.Series:
    """A column that is declared a number, its nulls kept; integers where all are written so."""
    if column.dtype.is_integer():
        return column
    plain = config.model_copy(update={"log": False})
    numbers = pl.Series(column.name, to_numbers(column, plain, file=file)).fill_nan(None)
    integers = to_integers(column) if column.dtype == pl.String else numbers.cast(pl.Int64)
    whole = column.dtype in (pl.String, pl.Boolean) and (
        integers.null_count() == numbers.null_count()
    )
    return integers if whole else numbers


# --- later rows -----------------------------------------------------------------------------------


def as_kept(
    rows: pl.DataFrame, kept: pl.Schema, columns: Declared, *, file: str | None = None
) -> pl.DataFrame:
    """Later rows of a table with the types of its kept columns, which no cell of a later file can
    change; integers may become numbers with a fraction.

    Args:
        rows: checked against the features that read them; columns that are not kept are left out.
        kept: the types of the kept columns.
        columns: the columns that features read.
        file: where the rows are from, for errors.

    Raises:
        DataError: names file, row, column, the first value that does not fit, and the fix.
    """
    found = []
    for name, dtype in kept.items():
        times = [c for c in columns.get(name, []) if isinstance(c, TimestampConfig)]
        if name in rows.columns and times:
            found.append(_times_as_kept(rows[name], dtype, times[0], file))
        elif name in rows.columns and columns.get(name):
            found.append(_as_declared(rows[name], columns[name], file))
        elif name in rows.columns:
            found.append(_fit(rows[name], dtype, file))
    return pl.DataFrame(found)


def _fit(column: pl.Series, dtype: pl.DataType, file: str | None) -> pl.Series:
    """A column that no feature reads, in the type that is kept."""
    flat = not (column.dtype.is_nested() or dtype.is_nested())
    if dtype in (column.dtype, pl.Null):
        return column
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum) and flat:
        return spelled(column)
    if dtype.is_numeric() and flat:
        fitted, what = _as_numbers(column), "numbers"
    elif dtype == pl.Boolean and flat:
        text = categorical(column)
        fitted = (text == "true").set(~text.is_in(["true", "false"]), None)
        what = "true or false"
    elif isinstance(dtype, pl.Date | pl.Datetime) and column.dtype == pl.String:
        return _moments(column, dtype, file)
    else:
        fitted, what = _cast(column, dtype), f"values of type {dtype}"
    refuse_rows(
        _lost(fitted, column),
        column,
        file,
        True,
        f"this column of the bundle's table holds {what}, and this value does not fit",
        "correct the value, or declare the column a category and train again",
    )
    return fitted


def _as_numbers(column: pl.Series) -> pl.Series:
    """Integers, or else floats; null where a value is neither."""
    if column.dtype == pl.Boolean:
        return pl.Series(column.name, [None] * len(column), dtype=pl.Int64)
    if column.dtype.is_numeric():
        return column
    text = spelled(column)
    text = text.set(text == "", None)
    integers = to_integers(text)
    if integers.null_count() == text.null_count():
        return integers
    return text.set(~text.str.contains(NUMBER), None).cast(pl.Float64)


def _times_as_kept(
    column: pl.Series, dtype: pl.DataType, config: TimestampConfig, file: str | None
) -> pl.Series:
    """Times of a later file, as those of the kept column are written: a date beside milliseconds
    would not be read as what it is."""
    if isinstance(dtype, pl.Date | pl.Datetime):
        return _moments(column, dtype, file, config)
    is_moment = isinstance(column.dtype, pl.Date | pl.Datetime)
    if not is_moment and dtype in (column.dtype, pl.String):
        return spelled(column) if dtype == pl.String else column
    known = config.format is not None or config.unit is not None
    if not (dtype == pl.String or (dtype.is_numeric() and known)):
        return column
    moments = _moments(column, pl.Datetime("us"), file, config)
    if config.format is not None:
        text = moments.dt.strftime(config.format)
    elif config.unit == "excel":
        text = (moments.dt.epoch("ms") / 86_400_000 + EXCEL_EPOCH).cast(pl.String)
    elif config.unit is not None:
        text = _since_1970(moments, config.unit).cast(pl.String)
    else:
        text = moments.dt.strftime("%Y-%m-%dT%H:%M:%S%.f")
    return text if dtype == pl.String else text.cast(dtype)


def _since_1970(moments: pl.Series, unit: TimeUnit) -> pl.Series:
    """Datetimes as whole numbers of a unit."""
    microseconds, per_second = moments.dt.epoch("us"), PER_SECOND[unit]
    if per_second >= 10**6:
        return microseconds * (per_second // 10**6)
    return microseconds // (10**6 // per_second)


def _moments(
    column: pl.Series,
    dtype: pl.DataType,
    file: str | None,
    config: TimestampConfig | None = None,
) -> pl.Series:
    """Times as dates or as dates with times, which are UTC where they have a zone."""
    unit, written = (None, None) if config is None else (config.unit, config.format)
    times = to_times(column, file=file, unit=unit, format=written)
    rest = 0 if times.nanoseconds is None else times.nanoseconds.fill_null(0).cast(pl.Int64) // 1000
    moments = pl.from_epoch(times.seconds * 1_000_000 + rest, time_unit="us")
    zone = getattr(dtype, "time_zone", None)
    moments = moments if zone is None else moments.dt.replace_time_zone("UTC")
    return moments.alias(column.name).cast(dtype)


def _cast(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    """In a type, all null where Polars knows no such cast; numbers are not days since 1970."""
    if not (dtype.is_temporal() and column.dtype.is_numeric()):
        try:
            return column.cast(dtype, strict=False)
        except pl.exceptions.PolarsError:
            pass
    return pl.Series(column.name, [None] * len(column), dtype=dtype)


def _lost(fitted: pl.Series, column: pl.Series) -> NDArray[np.bool_]:
    """(R,) which values did not fit."""
    there = column.is_not_null()
    if column.dtype == pl.String:
        there &= column != ""
    return (fitted.is_null() & there).to_numpy()
