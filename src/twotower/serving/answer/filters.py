"""Filters over the columns of the items: an expression to a mask.

An expression is what a request sends: `{"column": "price", "range": {"min": 1, "max": 20}}`, with
`equals`, `in` or `range`, or `{"and": [...]}`, `{"or": [...]}`, `{"not": {...}}`.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, reduce
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.columns import ITEM_ID
from twotower.data.features.categorical import CategoricalFeature
from twotower.data.features.cells import categorical
from twotower.data.features.schema import Schema
from twotower.data.values.spelling import spell, to_integer
from twotower.errors import DataError, explain, unknown

Mask = NDArray[np.bool_]
Expression = Mapping[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
            return _one_of(_column(frame, name), [value], schema)
        case {"column": name, "in": values}:
            return _one_of(_column(frame, name), values, schema)
        case {"column": name, "range": bounds}:
            return _between(_column(frame, name), bounds)
    raise DataError(
        explain("is no filter", value=dict(expression), fix="name a column and equals, in or range")
    )


def unknown_columns(expression: Expression, columns: Container[str]) -> list[str]:
    """The columns that an expression names and that are not there, each once."""
    match expression:
        case {"and": parts} | {"or": parts}:
            found = [name for part in parts for name in unknown_columns(part, columns)]
            return list(dict.fromkeys(found))
        case {"not": part}:
            return unknown_columns(part, columns)
        case {"column": name} if name not in columns:
            return [name]
    return []


def num_values(expression: Expression) -> int:
    """How many values an expression compares with."""
    match expression:
        case {"and": parts} | {"or": parts}:
            return sum(map(num_values, parts))
        case {"not": part}:
            return num_values(part)
        case {"in": values}:
            return len(values)
    return 1


def without_unknown(expression: Expression, columns: Container[str]) -> Expression | None:
    """An expression without the conditions on columns that are not there; None if none is left."""
    match expression:
        case {"and": parts} | {"or": parts}:
            kept = [without_unknown(part, columns) for part in parts]
            left = [part for part in kept if part is not None]
            return {next(iter(expression)): left} if left else None
        case {"not": part}:
            inner = without_unknown(part, columns)
            return None if inner is None else {"not": inner}
        case {"column": name} if name not in columns:
            return None
    return expression


def _column(frame: pl.DataFrame, name: str) -> pl.Series:
    """A column of the items."""
    if name not in frame.columns:
        others = [column for column in frame.columns if column != ITEM_ID]
        raise DataError(unknown(f"there is no item column {name!r}", name, [*others, ITEM_ID]))
    column = frame[name]
    # Decimals are compared as the numbers of requests are; a dictionary is how text is stored.
    if isinstance(column.dtype, pl.Decimal):
        return column.cast(pl.Float64)
    return column.cast(pl.String) if column.dtype in (pl.Categorical, pl.Enum) else column


def _one_of(column: pl.Series, values: Sequence[Any], schema: Schema) -> Mask:
    """(R,) which cells hold one of the values; declared categories are compared as text."""
    known = [value for value in values if value is not None]
    feature = _category(column.name, schema)
    if feature is not None:
        if not feature.multiple:
            column = categorical(column)
        rows, cells = feature.cells(column)
        wanted = pl.Series([feature.value(spell(value)) for value in known], dtype=pl.String)
    else:
        rows, cells = _flat(column)
        given = known
        # Thousands of values that need no conversion are not looked at one by one.
        if not set(map(type, known)) <= {_sent_as(cells.dtype)}:
            given = [_as(value, cells.dtype, column.name) for value in known]
        cells = _comparable(cells)
        if cells.dtype.is_integer():
            lowest, highest = _limits(cells.dtype)
            given = [value for value in given if lowest <= value <= highest]
        wanted = pl.Series(given, dtype=cells.dtype)
    mask = np.zeros(len(column), dtype=np.bool_)
    mask[rows[cells.is_in(wanted.implode()).fill_null(False).to_numpy()]] = True
    if len(known) < len(values):
        mask |= column.is_null().to_numpy()
    return mask


def _sent_as(dtype: pl.DataType) -> type | None:
    """The type of a request's values that a column of a type holds as they are; None: none does."""
    if dtype == pl.String:
        return str
    return int if dtype.is_integer() else None


def _category(name: str, schema: Schema) -> CategoricalFeature | None:
    """The feature that reads a column as one category or as several; None without one."""
    for feature in schema.columns("item").values():
        if feature.column == name and isinstance(feature, CategoricalFeature):
            return feature
    return None


def _flat(column: pl.Series) -> tuple[NDArray[np.int64], pl.Series]:
    """Row (T,) and value (T,) of what the cells of a column hold; a list holds several."""
    rows = np.arange(len(column), dtype=np.int64)
    if not isinstance(column.dtype, pl.List | pl.Array):
        return rows, column
    listed = column.cast(pl.List(column.dtype.inner))
    flat = pl.DataFrame({"row": rows, "value": listed}).explode("value")
    return flat["row"].to_numpy(), flat["value"]


def _between(column: pl.Series, bounds: Mapping[str, Any]) -> Mask:
    if isinstance(column.dtype, pl.List | pl.Array | pl.Boolean):
        raise DataError(
            explain(
                f"has values of type {column.dtype}, which have no order",
                column=column.name,
                fix="use equals or in",
            )
        )
    least, most = bounds.get("min"), bounds.get("max")
    if column.dtype == pl.String and not isinstance(most if least is None else least, str):
        column = _digits(column)
    cells = _comparable(column)
    mask = cells.is_not_null().to_numpy().copy()
    if least is not None:
        bound = _as(least, column.dtype, column.name, bound=True)
        mask &= _at_least(cells, bound)
    if most is not None:
        bound = _as(most, column.dtype, column.name, bound=True)
        mask &= _at_most(cells, bound)
    if cells.dtype.is_float():
        mask &= cells.is_not_nan().fill_null(False).to_numpy()
    return mask


def _at_least(cells: pl.Series, bound: Any) -> Mask:
    """(R,) which cells are no smaller than a bound, which may be beyond the column's type."""
    if cells.dtype.is_integer():
        lowest, highest = _limits(cells.dtype)
        if bound > highest:
            return np.zeros(len(cells), dtype=np.bool_)
        bound = lowest if bound < lowest else math.ceil(bound)
    return np.asarray((cells >= bound).fill_null(False).to_numpy(), dtype=np.bool_)


def _at_most(cells: pl.Series, bound: Any) -> Mask:
    """(R,) which cells are no larger than a bound, which may be beyond the column's type."""
    if cells.dtype.is_integer():
        lowest, highest = _limits(cells.dtype)
        if bound < lowest:
            return np.zeros(len(cells), dtype=np.bool_)
        bound = highest if bound > highest else math.floor(bound)
    return np.asarray((cells <= bound).fill_null(False).to_numpy(), dtype=np.bool_)


@cache
def _limits(dtype: Any) -> tuple[int, int]:
    """The smallest and the largest value of an integer type."""
    low, high = pl.select(low=dtype.min(), high=dtype.max()).row(0)
    return int(low), int(high)


def _comparable(cells: pl.Series) -> pl.Series:
    """Cells in the types that `_as` gives: dates and times as the integers that they are stored
    as."""
    return cells.to_physical() if isinstance(cells.dtype, pl.Date | pl.Datetime) else cells


def _digits(column: pl.Series) -> pl.Series:
    """Text that spells numbers, such as a category of years, as numbers; else as it is."""
    numbers = column.cast(pl.Float64, strict=False)
    return numbers if numbers.null_count() == column.null_count() else column


def _as(value: Any, dtype: Any, name: str, *, bound: bool = False) -> Any:
    """A value of a request in the type of a column; ids and text may be sent as numbers and truth
    values, integers and truth values as text.

    Raises:
        DataError: it cannot be.
    """
    if dtype == pl.Boolean and str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    if isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value):
        if dtype.is_float():
            return _float(value)
        if dtype.is_integer() and (bound or value == int(value)):
            return value if bound else int(value)
    if dtype == pl.String and (isinstance(value, str) or not bound):
        return spell(value)
    if dtype.is_integer() and isinstance(value, str) and (whole := to_integer(value)) is not None:
        return whole
    if isinstance(dtype, pl.Date | pl.Datetime) and isinstance(value, str):
        moment = _moment(value, dtype)
        if moment is not None:
            return moment
    raise DataError(
        explain(
            f"holds values of type {dtype}, and the filter compares them with another type",
            column=name,
            value=value,
            fix="compare numbers with numbers, text with text, and times with ISO 8601 text",
        )
    )


def _is_finite(value: float) -> bool:
    """Whether it is a number; integers beyond all floats are."""
    return isinstance(value, int) or math.isfinite(value)


def _float(value: float) -> float:
    """A number as a float; an integer beyond all floats is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _moment(text: str, dtype: pl.Date | pl.Datetime) -> int | None:
    """ISO 8601 text as the integer that a column of dates or times would store; None for
    other text. Times without a zone are UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    # The difference exists for all moments, other than the moment in UTC.
    since = moment - EPOCH
    if isinstance(dtype, pl.Date):
        return since // timedelta(days=1)
    microseconds = since // timedelta(microseconds=1)
    match dtype.time_unit:
        case "ns":
            return 1000 * microseconds
        case "ms":
            return microseconds // 1000
    return microseconds
