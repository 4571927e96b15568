"""Types of cell values regardless of the column type: all CSV cells are text."""

from __future__ import annotations

import re
from typing import Final

import polars as pl

from twotower.data.values.spelling import spelled

_NOT_TEXT: Final = (pl.Object, pl.Binary, pl.Null, pl.Duration)
NUMBER: Final = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
ROW_NAMES: Final = r"|index|idx|unnamed\d*|level\d|row|rowid|rownum|rownumber"
CODE_LENGTH: Final = 5
"""Digits of one length from this many on look like codes."""


def is_flat(column: pl.Series) -> bool:
    """Whether cells are single values that can be written as text."""
    return not (column.dtype.is_nested() or column.dtype in _NOT_TEXT)


def as_text(column: pl.Series) -> pl.Series:
    """Cells as text without surrounding blanks, empty ones null; whole floats as integers."""
    if not is_flat(column):
        return pl.Series(column.name, [None] * len(column), dtype=pl.String)
    text = spelled(column).str.strip_chars()
    return text.set((text == "").fill_null(False), None)


def as_numbers(column: pl.Series) -> pl.Series | None:
    """The values that are there as Float64, truth values as 1 and 0; None where one is neither."""
    if column.dtype == pl.Boolean:
        return column.drop_nulls().cast(pl.Float64)
    if column.dtype.is_numeric():
        numbers = column.cast(pl.Float64).fill_nan(None).drop_nulls()
        return numbers if numbers.is_finite().all() else None
    if column.dtype.is_temporal() or not is_flat(column):
        return None
    text = as_text(column).drop_nulls()
    lower = text.str.to_lowercase()
    if len(text) and lower.is_in(["true", "false"]).all():
        return (lower == "true").cast(pl.Float64)
    if not text.str.contains(NUMBER).all():
        return None
    numbers = text.cast(pl.Float64, strict=False)
    return None if numbers.has_nulls() or not numbers.is_finite().all() else numbers


def is_truth(column: pl.Series) -> bool:
    """Whether the values are truth values in words."""
    if column.dtype == pl.Boolean:
        return True
    if column.dtype != pl.String:
        return False
    lower = as_text(column).drop_nulls().str.to_lowercase()
    return bool(len(lower)) and bool(lower.is_in(["true", "false"]).all())


def numbers_rows(column: pl.Series) -> bool:
    """Whether a column without a name of its own counts the rows, as data frames write it."""
    name = re.sub(r"[^a-z0-9]", "", str(column.name).lower())
    numbers = as_numbers(column) if re.fullmatch(ROW_NAMES, name) else None
    return numbers is not None and len(numbers) > 1 and bool((numbers.diff()[1:] == 1).all())


def looks_like_codes(text: pl.Series) -> bool:
    """Whether digits are codes: some begin with 0, or all have one length and it is 5 or more."""
    digits = text.drop_nulls()
    if not len(digits) or not digits.str.contains(r"^\d+$").all():
        return False
    if digits.str.contains(r"^0\d").any():
        return True
    lengths = digits.str.len_chars().unique()
    return len(lengths) == 1 and int(lengths[0]) >= CODE_LENGTH and digits.n_unique() > 1


def mean_words(text: pl.Series) -> float:
    """The mean number of words of the texts that are there."""
    mean = text.drop_nulls().str.count_matches(r"\S+").mean()
    return float(mean) if isinstance(mean, int | float) else 0.0
