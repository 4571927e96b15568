"""Values of requests as columns. What a value means does not depend on the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from twotower.data.values.spelling import spell
from twotower.errors import DataError, explain


def typed_values(name: str, values: Sequence[Any]) -> pl.Series | None:
    """Values of one type as a column of that type; None for values of several types."""
    try:
        return pl.Series(name, values, strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        return None


def text_values(name: str, values: Sequence[Any]) -> pl.Series:
    """Plain values as text, or lists of values as lists of text.

    Raises:
        DataError: plain values and lists stand beside each other.
    """
    lists = [isinstance(value, list) for value in values if value is not None]
    if any(lists) and not all(lists):
        raise DataError(
            explain(
                "holds lists and plain values",
                column=name,
                fix="send plain values, or lists of values",
            )
        )
    if any(lists):
        texts = [None if v is None else [spell(part) for part in v] for v in values]
        return pl.Series(name, texts, pl.List(pl.String))
    return pl.Series(name, [spell(value) for value in values], pl.String)
