"""A guessed feature, and guesses shared by several kinds of columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

from twotower.config import FeatureConfig
from twotower.features.categories import CategoriesConfig
from twotower.features.category import CategoryConfig
from twotower.features.number import NumberConfig

MOST: Final = 0.9
"""Minimum share of a column's values that determine its type."""


@dataclass(frozen=True)
class Guess:
    """A guessed feature: its config, the reason, and whether it is active or commented out."""

    feature: FeatureConfig
    reason: str
    active: bool = True


def left_out(reason: str) -> Guess:
    """A column that should not be a feature, with a possible declaration."""
    return Guess(CategoryConfig(type="category", min_count=2), reason, active=False)


def guess_category(values: pl.Series, about: str = "") -> Guess:
    """A category where values repeat."""
    rows, distinct = len(values), values.n_unique()
    shown = f"{about}{distinct:,} different values in {rows:,} rows"
    if distinct > rows / 2:
        return left_out(f"{shown}: too many to be more informative than the id")
    return Guess(CategoryConfig(type="category"), shown)


def guess_number(values: pl.Series, reason: str, decimal: Literal[".", ","] = ".") -> Guess:
    """A number, its logarithm where a few values are far larger than most."""
    low, middle, high = (values.quantile(share) or 0.0 for share in (0.0, 0.5, 1.0))
    skewed = low >= 0 and middle > 0 and high > 10 * middle
    shown = f"{reason}; skewed, with a few very large values" if skewed else reason
    return Guess(NumberConfig(type="number", log=skewed, decimal=decimal), shown)


def of_parts(parts: pl.Series, column: pl.Series, separator: str | None) -> Guess | None:
    """Categories, or None where the parts of the cells hardly repeat."""
    counts = parts.unique_counts()
    repeated = counts.filter(counts > 1)
    if not len(parts) or repeated.sum() < 0.6 * len(parts):
        return None
    shown = f"{len(counts):,} different values in {len(column):,} rows, several in a cell"
    min_count = 2 if len(repeated) < len(counts) / 2 else 1
    return Guess(
        CategoriesConfig(type="categories", separator=separator, min_count=min_count), shown
    )


def span(values: pl.Series) -> str:
    """The range of the values."""
    low, high = values.min(), values.max()
    return f"from {low:g} to {high:g}"  # type: ignore[str-bytes-safe]
