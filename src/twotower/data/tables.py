"""The tables of a config, read, mapped to our column names and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from twotower.config import DataConfig, TableName
from twotower.data.columns import ITEM_ID, USER_ID
from twotower.data.derived_entities import derived_entities, entity_columns
from twotower.data.entity_rows import read_entities
from twotower.data.exclusions import without_users
from twotower.data.ids import agree, lacking
from twotower.data.interaction_rows import read_interactions


@dataclass(frozen=True)
class Tables:
    """Checked tables under our column names.

    Attributes:
        interactions: positive rows: `user_id`, `item_id` (Int64 or String, no nulls), and where
            the data has them `timestamp` (Int64 seconds UTC, no nulls), `weight` (Float32),
            `event_type` (String), and context columns under their own names.
        users: `user_id` (unique) and the file's other columns under their own names, or None.
        items: `item_id` (unique) and the other columns, or None.
        test, validation: as `interactions`, from the files of a `given` split, or None.
        notes: what was counted and left out or allowed, one sentence each.
    """

    interactions: pl.DataFrame
    users: pl.DataFrame | None = None
    items: pl.DataFrame | None = None
    test: pl.DataFrame | None = None
    validation: pl.DataFrame | None = None
    notes: tuple[str, ...] = field(default=())


def read_tables(
    config: DataConfig,
    *,
    context: tuple[str, ...] = (),
    vectors: Mapping[str, Mapping[str, str]] | None = None,
) -> Tables:
    """Read all tables of a config.

    Args:
        config: the `[data]` section, its paths absolute.
        context: columns of the interactions that context features read.
        vectors: "users", "items" -> column -> .npy file whose rows are that table's.

    Raises:
        DataError: names file, row, column, value and fix.
    """
    notes: list[str] = []
    logs: dict[TableName, str | None] = {
        "interactions": config.interactions,
        "test": config.split.test,
        "validation": config.split.validation,
    }
    parts = {
        name: read_interactions(
            source,
            config,
            table=name,
            context=(*context, *entity_columns(config)) if name == "interactions" else context,
            notes=notes,
        )
        for name, source in logs.items()
        if source is not None
    }
    vectors = vectors or {}
    users, items = (
        read_entities(source, key, config, notes, vectors.get(name)) if source else None
        for source, key, name in (
            (config.users, USER_ID, "users"),
            (config.items, ITEM_ID, "items"),
        )
    )
    frames: dict[str, pl.DataFrame] = dict(parts.items())
    frames |= {} if users is None else {"users": users}
    frames |= {} if items is None else {"items": items}
    frames = without_users(frames, config, notes)
    frames = agree(agree(frames, USER_ID), ITEM_ID)
    for name, key in (("users", USER_ID), ("items", ITEM_ID)):
        if name in frames:
            notes += lacking(frames["interactions"], frames[name], key)
    rows = frames["interactions"]
    return Tables(
        rows,
        frames.get("users", derived_entities(rows, "users", config, notes)),
        frames.get("items", derived_entities(rows, "items", config, notes)),
        frames.get("test"),
        frames.get("validation"),
        tuple(notes),
    )
