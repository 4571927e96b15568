"""What a person should know of declared features that are legal and may not mean what they say."""

from __future__ import annotations

import json
from typing import Final

import polars as pl

from twotower.config import CategoriesConfig, FeaturesConfig
from twotower.data.features.schema import Schema, Side
from twotower.data.features.text import TextFeature
from twotower.errors import shorten

WRITTEN_LIST: Final = r"^(\[.*\]|\{.*\})$"
"""A list of Python or JSON as text."""
SEPARATORS: Final = ("|", ";", ",", "/", ">", "\t")


def feature_notes(schema: Schema, side: Side, table: pl.DataFrame | None) -> list[str]:
    """A sentence for each feature of a side that reads less than it seems to.

    Args:
        schema: as fitted.
        side: whose features.
        table: the side's table, None without one.
    """
    notes = separator_notes(schema.config, side, table)
    for name, feature in schema.features[side].items():
        if isinstance(feature, TextFeature) and not (feature.weights > 0).any():
            notes.append(
                f"features.{side}.{name}: no term of column {feature.column!r} occurs in "
                f"{feature.config.min_count:,} texts of training (min_count), so that the feature "
                "reads nothing. Lower min_count, or remove the feature."
            )
    return notes


def separator_notes(config: FeaturesConfig, side: Side, table: pl.DataFrame | None) -> list[str]:
    """A sentence for each feature of type `categories` whose text cells are never cut."""
    notes = []
    for name, entry in config.enabled(side).items():
        column = entry.column or name if entry.type == "categories" else None
        if table is not None and column in table.columns:
            assert isinstance(entry, CategoriesConfig)
            notes += separator_note(f"features.{side}.{name}", entry, table[column])
    return notes


def separator_note(name: str, config: CategoriesConfig, column: pl.Series) -> list[str]:
    """A sentence where no cell of a text column is cut, or where cells are lists written as
    text."""
    cells = column.drop_nulls()
    if column.dtype != pl.String or not len(cells):
        return []
    lists = cells.str.strip_chars().str.contains(WRITTEN_LIST)
    if int(lists.sum()) * 2 > len(cells):
        return [
            f"{name}: {int(lists.sum()):,} of {len(cells):,} cells of {column.name!r} are lists "
            f"written as text, such as {shorten(cells.filter(lists)[0], 40)}: their brackets and "
            "quotes are read as part of the values. Write the values with a separator, such as "
            "a|b, or as lists of JSON Lines or Parquet."
        ]
    if config.separator is None:
        problem = f"no separator is set, so that each cell of {column.name!r} is one value"
    elif not cells.str.contains(config.separator, literal=True).any():
        problem = f"no cell of {column.name!r} holds the separator {config.separator!r}"
    else:
        return []
    shares = {
        other: float(cells.str.contains(other, literal=True).mean() or 0)  # type: ignore[arg-type]
        for other in SEPARATORS
        if other != config.separator
    }
    best = max(shares, key=lambda other: shares[other])
    found = f": {shares[best]:.0%} of the cells hold {best!r}" if shares[best] > 0.5 else ""
    fix = (
        f"Set separator = {json.dumps(best)}"
        if found
        else "Set the separator, or declare a category"
    )
    return [f"{name}: {problem}{found}. {fix}."]
