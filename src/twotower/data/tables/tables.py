"""The tables of a config, read, mapped to our column names and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import polars as pl

from twotower.config import DataConfig, TableName
from twotower.data.arrays.workspace import Workspace
from twotower.data.columns import ITEM_ID, USER_ID, WEIGHT
from twotower.data.features.column_types import Declared, infer_undeclared
from twotower.data.readers.read_table import is_text
from twotower.data.tables.derived_entities import derived_entities, entity_columns
from twotower.data.tables.entity_rows import checked_entities, read_entities
from twotower.data.tables.exclusions import without_users
from twotower.data.tables.exported import with_exported_items, with_exported_rows
from twotower.data.tables.frames import frame_name
from twotower.data.tables.interaction_rows import read_rows, rows_of_frame
from twotower.data.tables.positive_rows import learned_rows
from twotower.data.tables.row_order import num_ties
from twotower.data.tables.suspicious_ids import suspicious_ids
from twotower.data.values.ids import agree, lacking
from twotower.errors import Problems, without_password

SIDES: Final[Mapping[Literal["users", "items"], str]] = {"users": USER_ID, "items": ITEM_ID}
"""Table -> its key."""


@dataclass(frozen=True)
class Tables:
    """Checked tables under our column names.

    Attributes:
        interactions: positive rows in the canonical order (by user, time and item): `user_id`,
            `item_id` (Int64 or String, no nulls), and where the data has them `timestamp` (Int64
            seconds UTC, no nulls), `timestamp_ns` (Int32, where a time is not whole), `weight`
            (Float32), `event_type` (String), and context columns under their own names.
        users: `user_id` (unique) and the file's other columns under their own names, or None.
        items: `item_id` (unique) and the other columns, or None.
        test, validation: as `interactions`, from the files of a `given` split, or None.
        notes: on dropped rows and doubtful values, one sentence each.
        dislikes: `user_id`, `item_id` and times of the rows of `data.interactions` that are not
            positives because of their weight; None where the config leaves them out.
    """

    interactions: pl.DataFrame
    users: pl.DataFrame | None = None
    items: pl.DataFrame | None = None
    test: pl.DataFrame | None = None
    validation: pl.DataFrame | None = None
    notes: tuple[str, ...] = field(default=())
    dislikes: pl.DataFrame | None = None


def read_tables(
    config: DataConfig,
    *,
    context: tuple[str, ...] = (),
    vectors: Mapping[str, Mapping[str, str]] | None = None,
    declared: Mapping[str, Declared] | None = None,
    work: Workspace | None = None,
) -> Tables:
    """Read all tables of a config.

    Args:
        config: the `[data]` section, its paths absolute.
        context: columns of the interactions that context features read.
        vectors: "users", "items" -> column -> .npy file whose rows are that table's.
        declared: "users", "items" -> the columns that features read.
        work: keeps the interactions where they are larger than memory.

    Raises:
        DataError: names file, row, column, value and fix.
    """
    notes: list[str] = []
    problems = Problems()
    frames: dict[str, pl.DataFrame] = {}
    for name, source in logs_of(config).items():
        columns = (*context, *entity_columns(config)) if name == "interactions" else context
        with problems.collected():
            frames[name] = read_rows(
                source, config, table=name, context=columns, notes=notes, work=work
            )
            if name == "interactions":
                frames[name] = with_exported_rows(frames[name], config, columns, notes)
    for side, key in SIDES.items():
        file = config.users if side == "users" else config.items
        if file is not None:
            with problems.collected():
                read = (declared or {}).get(side, {})
                files = (vectors or {}).get(side)
                frames[side] = read_entities(file, key, config, notes, files, read)
                if side == "items":
                    frames[side] = with_exported_items(frames[side], config, notes, read)
    problems.refuse()
    text = is_text(config.interactions, config.format_of("interactions"))
    undeclared = (declared or {}) if text else None
    return learned_tables(frames, config, notes, undeclared=undeclared, work=work)


def tables_of_frames(
    given: Mapping[TableName, pl.DataFrame],
    config: DataConfig,
    *,
    context: tuple[str, ...] = (),
    vectors: Mapping[str, Mapping[str, str]] | None = None,
) -> Tables:
    """As `read_tables`, of tables in memory; the config holds what notes and errors call each.

    Raises:
        DataError: names table, row, column, value and fix.
    """
    notes: list[str] = []
    problems = Problems()
    frames: dict[str, pl.DataFrame] = {}
    for name, source in logs_of(config).items():
        columns = (*context, *entity_columns(config)) if name == "interactions" else context
        with problems.collected():
            frames[name] = rows_of_frame(given[name], source, config, context=columns, notes=notes)
    for side, key in SIDES.items():
        if side in given:
            with problems.collected():
                shown, files = frame_name(side), (vectors or {}).get(side)
                frames[side] = checked_entities(given[side], shown, key, config, notes, files)
    problems.refuse()
    return learned_tables(frames, config, notes)


def logs_of(config: DataConfig) -> dict[TableName, str]:
    """The tables of interactions that a config names, with their sources."""
    logs: dict[TableName, str | None] = {
        "interactions": config.interactions,
        "test": config.split.test,
        "validation": config.split.validation,
    }
    return {name: source for name, source in logs.items() if source is not None}


def learned_tables(
    frames: dict[str, pl.DataFrame],
    config: DataConfig,
    notes: list[str],
    *,
    undeclared: Mapping[str, Declared] | None = None,
    work: Workspace | None = None,
) -> Tables:
    """The tables that are learned from, of those whose columns are checked.

    Args:
        frames: all rows, by table.
        config: the `[data]` section.
        notes: those of reading; gets further ones.
        undeclared: where the interactions are text: "users", "items" -> the columns that features
            read; the others of `users_from_interactions` and the like get the type of their text.
        work: keeps the interactions where they are larger than memory.

    Raises:
        DataError: no positive is left.
    """
    frames = without_users(frames, config, notes, work)
    frames = agree(agree(frames, USER_ID, work), ITEM_ID, work)
    learned = {
        name: learned_rows(
            frames[name], config, without_password(source), notes, table=name, work=work
        )
        for name, source in logs_of(config).items()
    }
    rows, dislikes = learned.pop("interactions")
    frames["interactions"] = rows  # all the others are not needed any more
    for side, key in SIDES.items():
        if side in frames:
            notes += lacking(rows, frames[side], key)
    for key in (USER_ID, ITEM_ID):
        notes += suspicious_ids(frames, key, without_password(config.interactions))
    parts = {name: part.positives for name, part in learned.items()}
    notes += tie_notes(rows, config) + weight_notes(rows, parts)
    frames |= derived_tables(frames, rows, config, undeclared, notes)
    return Tables(
        rows,
        frames.get("users"),
        frames.get("items"),
        parts.get("test"),
        parts.get("validation"),
        tuple(notes),
        dislikes,
    )


def derived_tables(
    frames: dict[str, pl.DataFrame],
    rows: pl.DataFrame,
    config: DataConfig,
    undeclared: Mapping[str, Declared] | None,
    notes: list[str],
) -> dict[str, pl.DataFrame]:
    """The tables of users and items from columns of the interactions, where there is no other."""
    found: dict[str, pl.DataFrame] = {}
    for side, key in SIDES.items():
        derived = derived_entities(rows, side, config, notes)
        if side not in frames and derived is not None:
            found[side] = derived
            if undeclared is not None:
                found[side] = infer_undeclared(derived, {key, *undeclared.get(side, {})})
    return found


def weight_notes(rows: pl.DataFrame, parts: Mapping[TableName, pl.DataFrame]) -> list[str]:
    """A note on given parts that lack the weights of the interactions."""
    if WEIGHT not in rows.columns:
        return []
    return [
        f"The {name} part has no weights, which the interactions have: all its rows are positives."
        for name, part in parts.items()
        if WEIGHT not in part.columns
    ]


def tie_notes(rows: pl.DataFrame, config: DataConfig) -> list[str]:
    """A note on rows of one user at one time, whose order cannot be known."""
    number = num_ties(rows)
    if not number:
        return []
    after = (
        "last_out keeps them in one part"
        if config.split.method == "last_out"
        else "they are in the order of their items' ids"
    )
    return [f"{number:,} of {len(rows):,} rows share user and time with another row: {after}."]
