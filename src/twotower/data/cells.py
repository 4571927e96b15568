"""Cells of a column to plain values of the declared type: text, several texts, numbers."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.config import (
    CategoriesConfig,
    ColumnFeatureConfig,
    ImageConfig,
    NumberConfig,
    TextConfig,
    TimestampConfig,
    VectorConfig,
)
from twotower.data.pictures import image_sources
from twotower.data.refuse import refuse_rows
from twotower.data.text import to_texts
from twotower.data.times import to_seconds
from twotower.data.vectors import to_vectors
from twotower.data.vocabulary import plain
from twotower.errors import DataError, explain


def check_column(
    config: ColumnFeatureConfig, column: pl.Series, *, file: str | None = None, rows: bool = True
) -> None:
    """Whether all values of a column are of the declared type.

    Args:
        config: the declaration of any feature that reads a column.
        column: the values.
        file: where they are from, for the message.
        rows: whether the column's rows are the file's, so that the message may name them.

    Raises:
        DataError: names file, row, column, the first wrong value and the fix.
    """
    match config:
        case TextConfig():
            to_texts(column, file=file)
            return
        case ImageConfig():
            image_sources(column, file=file, rows=rows)
            return
        case VectorConfig():
            to_vectors(column, config, file=file, rows=rows)
            return
    nested = isinstance(column.dtype, pl.List | pl.Array)
    several = isinstance(config, CategoriesConfig)
    if column.dtype in _UNREADABLE or (nested and not several):
        fix = "declare it 'categories'" if nested else "write one plain value a cell"
        problem = f"holds values of type {column.dtype}, which the declared type cannot read"
        raise DataError(explain(problem, file=file, column=column.name, fix=fix))
    if isinstance(config, NumberConfig):
        to_numbers(column, config, file=file, rows=rows)
    elif isinstance(config, TimestampConfig):
        to_seconds(column, file=file)


_UNREADABLE = (pl.Struct, pl.Object, pl.Binary)


def categorical(column: pl.Series) -> pl.Series:
    """A column as strings or integers; text loses surrounding blanks, empty text is missing."""
    column = plain(column)
    if column.dtype in _BEYOND_INT64:
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        column = column.str.strip_chars()
        column = column.set(column == "", None)
    return column


_BEYOND_INT64 = (pl.UInt64, pl.Int128, pl.UInt128)


def split_values(column: pl.Series, separator: str | None) -> tuple[NDArray[np.int64], pl.Series]:
    """The values of cells that hold several: row (T,) and value (T,) of each, in order.

    A cell is a list, or text that is split at `separator`. Missing values are left out, and what a
    row holds twice counts once.
    """
    if separator and not isinstance(column.dtype, pl.List | pl.Array):
        column = column.cast(pl.String).str.split(separator)
    flat = pl.DataFrame({"row": np.arange(len(column), dtype=np.int64), "value": column})
    if isinstance(column.dtype, pl.List | pl.Array):
        flat = flat.explode("value")
    flat = flat.with_columns(categorical(flat["value"]).alias("value")).drop_nulls("value")
    flat = flat.unique(maintain_order=True)
    return flat["row"].to_numpy(), flat["value"].alias(column.name)


def to_numbers(
    column: pl.Series, config: NumberConfig, *, file: str | None, rows: bool = True
) -> NDArray[np.float64]:
    """A column as float64 with NaN for missing.

    Raises:
        DataError: text that is no number, NaN, infinity, a number that float32 cannot hold, or a
            negative value where log is taken.
    """
    name = column.name
    if column.dtype.is_numeric() or column.dtype in (pl.Null, pl.Boolean):
        values = column.cast(pl.Float64)
    else:
        text = categorical(column)
        values = text.cast(pl.Float64, strict=False)
        refuse_rows(
            (values.is_null() & text.is_not_null()).to_numpy(),
            column,
            file,
            rows,
            "is declared a number, but this value is not one",
            f"correct the value, leave the cell empty, or declare {name!r} a category",
        )
    finite = (values.abs() <= _LARGEST).fill_null(True) & values.is_not_nan().fill_null(True)
    refuse_rows(
        ~finite.to_numpy(),
        column,
        file,
        rows,
        "holds a value that is not finite",
        "leave the cell empty where the value is not known",
    )
    if config.log:
        negative = (values < 0).fill_null(False).to_numpy()
        refuse_rows(
            negative,
            column,
            file,
            rows,
            "is to be logged, but holds a negative value",
            "set log = false for it",
        )
        values = values.log1p()
    return values.fill_null(float("nan")).to_numpy().astype(np.float64)


_LARGEST = float(np.finfo(np.float32).max)
