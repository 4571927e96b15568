"""Filters over the columns of the items: an expression to a mask.

An expression is what a request sends: `{"column": "price", "range": {"min": 1, "max": 20}}`, with
`equals`, `in` or `range`, or `{"and": [...]}`, `{"or": [...]}`, `{"not": {...}}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.config import CategoriesConfig
from twotower.data.columns import ITEM_ID
from twotower.data.schema import Schema
from twotower.errors import DataError, explain, unknown

Mask = NDArray[np.bool_]
Expression = Mapping[str, Any]


def mask_of(expression: Expression, frame: pl.DataFrame, schema: Schema) -> Mask:
    """(R,) which rows of the items' columns fulfil an expression; a missing value fulfils nothing
    but `equals: null`.

    Raises:
        DataError: an unknown column, or a value that cannot be compared with a column's.
    """
    match expression:
        case {"and": parts}:
            return reduce(np.logical_and, (mask_of(part, frame, schema) for part in parts))
        case {"or": parts}:
            return reduce(np.logical_or, (mask_of(part, frame, schema) for part in parts))
        case {"not": part}:
            return ~mask_of(part, frame, schema)
        case {"column": name, "equals": value}:
            return _one_of(_column(frame, name, schema), [value])
        case {"column": name, "in": values}:
            return _one_of(_column(frame, name, schema), values)
        case {"column": name, "range": bounds}:
            return _between(_column(frame, name, schema), bounds)
    raise DataError(
        explain("is no filter", value=dict(expression), fix="name a column and equals, in or range")
    )


def _column(frame: pl.DataFrame, name: str, schema: Schema) -> pl.Series:
    """A column of the items; text that is declared `categories` is cut into lists."""
    if name not in frame.columns:
        others = [column for column in frame.columns if column != ITEM_ID]
        raise DataError(unknown(f"there is no item column {name!r}", name, [*others, ITEM_ID]))
    column = frame[name]
    for feature in schema.features["item"].values():
        config = feature.config
        if feature.column == name and isinstance(config, CategoriesConfig):
            if config.separator and column.dtype == pl.String:
                cut = pl.element().str.strip_chars()
                return column.str.split(config.separator).list.eval(cut)
            break
    return column


def _one_of(column: pl.Series, values: Sequence[Any]) -> Mask:
    listed = isinstance(column.dtype, pl.List | pl.Array)
    inner = column.dtype.inner if isinstance(column.dtype, pl.List | pl.Array) else column.dtype
    assert inner is not None
    known = [_as(value, inner, column.name) for value in values if value is not None]
    wanted = pl.Series(known, dtype=inner if inner != pl.Null else None)
    if listed:
        column = column.cast(pl.List(inner))
        flat = pl.DataFrame({"row": np.arange(len(column)), "value": column}).explode("value")
        rows = flat.filter(flat["value"].is_in(wanted))["row"].to_numpy()
        mask = np.zeros(len(column), dtype=np.bool_)
        mask[rows] = True
    else:
        mask = column.is_in(wanted).fill_null(False).to_numpy().copy()
    if len(known) < len(values):
        mask |= column.is_null().to_numpy()
    return mask


def _between(column: pl.Series, bounds: Mapping[str, Any]) -> Mask:
    if isinstance(column.dtype, pl.List | pl.Array | pl.Boolean):
        raise DataError(
            explain(
                f"has values of type {column.dtype}, which have no order",
                column=column.name,
                fix="use equals or in",
            )
        )
    mask = column.is_not_null().to_numpy().copy()
    lowest, highest = bounds.get("min"), bounds.get("max")
    if lowest is not None:
        bound = _as(lowest, column.dtype, column.name, bound=True)
        mask &= (column >= bound).fill_null(False).to_numpy()
    if highest is not None:
        bound = _as(highest, column.dtype, column.name, bound=True)
        mask &= (column <= bound).fill_null(False).to_numpy()
    if column.dtype.is_float():
        mask &= column.is_not_nan().fill_null(False).to_numpy()
    return mask


def _as(value: Any, dtype: Any, name: str, *, bound: bool = False) -> Any:
    """A value of a request in the type of a column; ids and categories may be told as numbers.

    Raises:
        DataError: it cannot be.
    """
    if dtype == pl.Boolean and isinstance(value, bool):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype.is_numeric() and number and (bound or dtype.is_float() or value == int(value)):
        return value
    if dtype == pl.String and (isinstance(value, str) or (number and not bound)):
        return str(value)
    if dtype.is_temporal() and isinstance(value, str) and (told := _moment(value, dtype)):
        return told
    raise DataError(
        explain(
            f"holds values of type {dtype}, and the filter compares them with another type",
            column=name,
            value=value,
            fix="compare numbers with numbers, text with text, and times with ISO 8601 text",
        )
    )


def _moment(text: str, dtype: Any) -> Any:
    """ISO 8601 text as a value of a column of dates, or of dates with times; None for other text.
    Times without a zone are UTC."""
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        return None
    zone = getattr(dtype, "time_zone", None)
    if told.tzinfo is None:
        told = told.replace(tzinfo=UTC)
    told = told.astimezone(UTC)
    if zone is None:
        told = told.replace(tzinfo=None)
    if dtype == pl.Date:
        return told.date()
    return told if isinstance(dtype, pl.Datetime) else None
