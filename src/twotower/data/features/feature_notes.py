"""What a person should know of declared features that are legal and may not mean what they say."""

from __future__ import annotations

import polars as pl

from twotower.config import FeaturesConfig
from twotower.data.features.schema import Schema, Side


def feature_notes(schema: Schema, side: Side, table: pl.DataFrame | None) -> list[str]:
    """A sentence for each feature of a side that reads less than it seems to.

    Args:
        schema: as fitted.
        side: whose features.
        table: the side's table, None without one.
    """
    notes = declaration_notes(schema.config, side, table)
    for name, feature in schema.columns(side).items():
        notes += feature.notes(f"features.{side}.{name}")
    return notes


def declaration_notes(config: FeaturesConfig, side: Side, table: pl.DataFrame | None) -> list[str]:
    """A sentence for each declaration of a side that reads less of its column than it seems to."""
    notes = []
    for name, declared in config.columns(side).items():
        column = declared.column or name
        if table is not None and column in table.columns:
            notes += declared.notes(f"features.{side}.{name}", table[column])
    return notes
