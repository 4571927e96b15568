"""Types of the columns of users and items: inferred from text once, declared, then kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.config import FeatureConfig, TimeUnit
from twotower.data.features.cells import categorical
from twotower.data.values.row_errors import refuse_rows
from twotower.data.values.spelling import spelled, to_integers
from twotower.data.values.times import to_times

NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"
"""Text that is a number, rather than a code such as 007."""
Declared = Mapping[str, list[FeatureConfig]]
"""Column -> the features that read it, by precedence."""


def declared(features: Mapping[str, FeatureConfig]) -> Declared:
    """The columns that the features of a side read.

    Args:
        features: name -> config of each feature that is read from a column.
    """
    found: dict[str, list[FeatureConfig]] = {}
    for name, config in sorted(features.items(), key=lambda entry: entry[1].precedence):
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


def _as_declared(column: pl.Series, configs: list[FeatureConfig], file: str | None) -> pl.Series:
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    if column.dtype.is_nested():
        return column
    for config in configs:
        kept = config.kept(column, file=file)
        if kept is not None:
            return kept
    return truth_values(column) if not configs and column.dtype == pl.String else column


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
        if name in rows.columns and columns.get(name):
            found.append(_as_kept(rows[name], dtype, columns[name], file))
        elif name in rows.columns:
            found.append(_fit(rows[name], dtype, file))
    return pl.DataFrame(found)


def _as_kept(
    column: pl.Series, dtype: pl.DataType, configs: list[FeatureConfig], file: str | None
) -> pl.Series:
    """A column that features read, as it is kept."""
    for config in configs:
        kept = config.kept_as(column, dtype, file=file)
        if kept is not None:
            return kept
    return _as_declared(column, configs, file)


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
        return moments(column, dtype, file)
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


def moments(
    column: pl.Series,
    dtype: pl.DataType,
    file: str | None,
    unit: TimeUnit | None = None,
    written: str | None = None,
) -> pl.Series:
    """Times as dates or as dates with times, which are UTC where they have a zone.

    Args:
        column: the times.
        dtype: of the result.
        file: where they are from, for errors.
        unit: of times that are numbers.
        written: the format of times that are text.
    """
    times = to_times(column, file=file, unit=unit, format=written)
    rest = 0 if times.nanoseconds is None else times.nanoseconds.fill_null(0).cast(pl.Int64) // 1000
    found = pl.from_epoch(times.seconds * 1_000_000 + rest, time_unit="us")
    zone = getattr(dtype, "time_zone", None)
    found = found if zone is None else found.dt.replace_time_zone("UTC")
    return found.alias(column.name).cast(dtype)


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
