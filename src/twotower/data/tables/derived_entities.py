"""Tables of users and of items from columns of the interactions that describe them."""

from __future__ import annotations

from typing import Literal

import polars as pl

from twotower.config import DataConfig
from twotower.data.columns import ITEM_ID, USER_ID


def entity_columns(config: DataConfig) -> tuple[str, ...]:
    """The columns of the interactions that describe a user or an item."""
    return tuple(dict.fromkeys((*config.users_from_interactions, *config.items_from_interactions)))


def derived_entities(
    rows: pl.DataFrame, table: Literal["users", "items"], config: DataConfig, notes: list[str]
) -> pl.DataFrame | None:
    """The users or the items of the interactions with the columns that describe them.

    Args:
        rows: interactions under our names, in the canonical order.
        table: which of them.
        config: the `[data]` section.
        notes: gets a sentence for each column that has several values for some of them.

    Returns:
        A row an id, in the order of first appearance, each column's value the first one that is
        not null; None where the config names no such columns.
    """
    key = USER_ID if table == "users" else ITEM_ID
    names: tuple[str, ...] = getattr(config, f"{table}_from_interactions")
    if not names:
        return None
    entities = rows.group_by(key, maintain_order=True).agg(
        pl.col(name).drop_nulls().first() for name in names
    )
    for name in names:
        if rows[name].dtype.is_nested():
            continue
        varying = varying_entities(rows, key, name)
        if varying:
            notes.append(
                f"{name}: {varying:,} of {len(entities):,} {table} have several values in the "
                "interactions; the first one is used."
            )
    return entities


def varying_entities(rows: pl.DataFrame, key: str, name: str) -> int:
    """How many ids have more than one value in a column."""
    values = rows.select(pl.col(key).alias("key"), pl.col(name).alias("value")).drop_nulls()
    counts = values.unique().group_by("key").len()
    return int((counts["len"] > 1).sum())


def training_items(
    items: pl.DataFrame | None, config: DataConfig, train: pl.DataFrame
) -> pl.DataFrame | None:
    """The items table for the catalogue: where it was derived from the interactions, only items of
    training rows, as the others are not known before the test part begins."""
    if items is None or not config.items_from_interactions:
        return items
    return items.join(train.select(ITEM_ID).unique(), on=ITEM_ID, how="semi")
