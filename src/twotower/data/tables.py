"""The tables of a config, read, mapped to our column names and checked."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from twotower.config import DataConfig


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


def read_tables(config: DataConfig, *, context: tuple[str, ...] = ()) -> Tables:
    """Read all tables of a config."""
    raise NotImplementedError
