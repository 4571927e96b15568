"""Cells of a column to text, or to several texts."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.values.row_errors import refuse_rows
from twotower.data.values.spelling import exact_limit, spelled
from twotower.errors import DataError, explain


def refuse_nested(column: pl.Series, file: str | None, *, lists: bool = False) -> None:
    """Refuse a column that holds records, bytes or objects, and one that holds lists.

    Args:
        column: the values.
        file: where they are from, for the message.
        lists: whether lists are allowed.

    Raises:
        DataError: names file, column and the fix.
    """
    nested = isinstance(column.dtype, pl.List | pl.Array)
    if column.dtype in _UNREADABLE or (nested and not lists):
        fix = "declare it 'categories'" if nested else "write one plain value per cell"
        problem = f"holds values of type {column.dtype}, which the declared type cannot read"
        raise DataError(explain(problem, file=file, column=column.name, fix=fix))


_UNREADABLE = (pl.Struct, pl.Object, pl.Binary)


def refuse_inexact(column: pl.Series, file: str | None, rows: bool) -> None:
    """Refuse codes in floats of 32 or 16 bits that are too large to be distinct there.

    Raises:
        DataError: names the first such value.
    """
    limit = exact_limit(column.dtype)
    if limit is not None and column.dtype != pl.Float64:
        refuse_rows(
            (column.cast(pl.Float64).abs() >= limit).fill_null(False).to_numpy(),
            column,
            file,
            rows,
            f"is declared as a category, and {column.dtype} does not hold every number of "
            f"{limit:,} and more, so that several values may have become one",
            "write the values as text or as integers",
        )


def categorical(column: pl.Series) -> pl.Series:
    """A column as text without surrounding blanks; blank text is missing, and truth values are
    `true` and `false` however they are capitalised."""
    text = spelled(column).str.strip_chars()
    blank = text == ""
    if blank.any():
        text = text.set(blank, None)
    truth = text.str.contains("^(?i:true|false)$")
    if truth.any():
        named = text.to_frame("text").with_columns(truth.alias("truth"))
        lower = pl.when("truth").then(pl.col("text").str.to_lowercase()).otherwise("text")
        text = named.select(lower.alias(column.name)).to_series()
    return text


def to_texts(column: pl.Series, *, file: str | None = None) -> pl.Series:
    """A column as text without surrounding blanks, null where there is none; numbers as they are
    spelled.

    Raises:
        DataError: the column holds lists, bytes or records.
    """
    nested = isinstance(column.dtype, pl.List | pl.Array)
    if nested or column.dtype in (pl.Struct, pl.Object, pl.Binary):
        fix = "declare it 'categories', or join each list into one text"
        raise DataError(
            explain(
                f"is declared as text, but holds values of type {column.dtype}",
                file=file,
                column=column.name,
                fix=fix if nested else "write text",
            )
        )
    texts = spelled(column).str.strip_chars()
    return texts.set(texts == "", None)


def split_values(
    column: pl.Series, separator: str | None, *, hierarchical: bool = False
) -> tuple[NDArray[np.int64], pl.Series]:
    """The values of cells that hold several: row (T,) and value (T,) of each, in order.

    A cell is a list, or text that is split at `separator`. Missing values are dropped, and a value
    that a row holds twice counts once.

    Args:
        column: (R,) the cells.
        separator: between the values of a text.
        hierarchical: whether a text is a path rather than several values: `Home > Kitchen` holds
            `Home` and `Home > Kitchen`. So is each text of a list, or the list itself where there
            is no separator.
    """
    listed = isinstance(column.dtype, pl.List | pl.Array)
    if hierarchical:
        column, listed = _beginnings(column, separator), True
    elif separator and not listed:
        column, listed = spelled(column).str.split(separator), True
    flat = pl.DataFrame({"row": np.arange(len(column), dtype=np.int64), "value": column})
    if listed:
        flat = flat.explode("value")
    flat = flat.with_columns(categorical(flat["value"]).alias("value")).drop_nulls("value")
    flat = flat.unique(maintain_order=True)
    return flat["row"].to_numpy(), flat["value"].alias(column.name)


def _beginnings(column: pl.Series, separator: str | None) -> pl.Series:
    """Cells that are paths as the lists of their beginnings."""
    listed = isinstance(column.dtype, pl.List | pl.Array)
    joint = f" {(separator or '>').strip()} "

    def beginnings(parts: Iterable[str | None]) -> list[str]:
        steps = [step.strip() for step in parts if step is not None and step.strip()]
        return list(accumulate(steps, lambda path, step: path + joint + step))

    def paths(cell: str | list[str | None]) -> list[str]:
        if separator is None:
            return beginnings([cell] if isinstance(cell, str) else cell)
        texts = [cell] if isinstance(cell, str) else [text for text in cell if text is not None]
        return [path for text in texts for path in beginnings(text.split(separator))]

    cells = column.cast(pl.List(pl.String)) if listed else spelled(column)
    values = [None if cell is None else paths(cell) for cell in cells.to_list()]
    return pl.Series(column.name, values, dtype=pl.List(pl.String))
