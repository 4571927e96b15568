"""Tables that `twotower export-events` wrote, read in addition to the tables of a config."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from twotower.config import DataConfig, FormatsConfig
from twotower.data.columns import ITEM_ID, TIMESTAMP, TIMESTAMP_NS, USER_ID, WEIGHT
from twotower.data.features.column_types import Declared, as_declared, as_kept
from twotower.data.tables.entity_rows import read_entities
from twotower.data.tables.interaction_rows import read_rows
from twotower.data.values.ids import agree
from twotower.errors import DataError, explain, without_password

INTERACTIONS: Final = "interactions"
ITEMS: Final = "items"
ITEM_CHANGES: Final = "item_changes"
FORGOTTEN: Final = "forgotten"


def exported_file(config: DataConfig, name: str) -> str | None:
    """The file of a table in the folder of `data.exported`, or None.

    Raises:
        DataError: the folder has several of this name.
    """
    if config.exported is None:
        return None
    found = sorted(Path(config.exported).glob(f"{name}.*"))
    found = [file for file in found if file.suffix != ".writing"]
    if len(found) > 1:
        raise DataError(
            explain(
                f"has several tables of {name}: {', '.join(file.name for file in found)}",
                file=config.exported,
                fix="keep the newest, or export again",
            )
        )
    return str(found[0]) if found else None


def with_exported_rows(
    rows: pl.DataFrame, config: DataConfig, context: tuple[str, ...], notes: list[str]
) -> pl.DataFrame:
    """The rows of the interactions and those that were exported, as `read_rows` gives them.

    Raises:
        DataError: as for `read_rows`.
    """
    file = exported_file(config, INTERACTIONS)
    if file is None:
        return rows
    more = read_rows(file, as_exported(config), context=context, notes=notes)
    refuse_other_columns(rows, more, config, file)
    both = joined({"interactions": rows, "exported": more}, (USER_ID, ITEM_ID))
    if TIMESTAMP_NS in both.columns:  # one of them may have whole seconds alone
        both = both.with_columns(pl.col(TIMESTAMP_NS).fill_null(0))
    return both


def refuse_other_columns(
    rows: pl.DataFrame, more: pl.DataFrame, config: DataConfig, file: str
) -> None:
    """Times or weights that only one of two tables has: the rows of the other would have none.

    Raises:
        DataError: names the table that has them.
    """
    log = without_password(config.interactions)
    for column in (TIMESTAMP, WEIGHT):
        if (column in rows.columns) != (column in more.columns):
            has, lacks = (log, file) if column in rows.columns else (file, log)
            raise DataError(
                explain(
                    f"has no {column}, and {has} has one",
                    file=lacks,
                    fix=f"export again with this config, or remove {file}",
                )
            )


def with_exported_items(
    items: pl.DataFrame, config: DataConfig, notes: list[str], declared: Declared
) -> pl.DataFrame:
    """The rows of the items file, with those that were exported in place of rows of the same id,
    and with the single values that were exported in place of theirs.

    Args:
        items: as `read_entities` gives them; the exported columns get their types.
        config: the `[data]` section.
        notes: a sentence for each kind of dropped rows is appended.
        declared: the columns that features read.

    Raises:
        DataError: as for `read_entities`; a value is not of the type of its column.
    """
    file = exported_file(config, ITEMS)
    if file is not None:
        more = read_entities(file, ITEM_ID, as_exported(config), notes, declared=None)
        items, more = of_same_types(items, more, config, declared, file)
        items = joined(
            {"items": items.filter(~is_among(items, more)), "exported": more}, (ITEM_ID,)
        )
    file = exported_file(config, ITEM_CHANGES)
    if file is not None:
        changes = read_entities(file, ITEM_ID, as_exported(config), notes, declared=None)
        items = with_changes(*of_same_types(items, changes, config, declared, file))
    return items


def is_among(items: pl.DataFrame, others: pl.DataFrame) -> pl.Series:
    """Which items have the id of one of the others."""
    return items[ITEM_ID].cast(pl.String).is_in(others[ITEM_ID].cast(pl.String).implode())


def with_changes(items: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """Items with the values of changes in place of theirs; a missing value changes nothing, and
    changes of other items are passed over."""
    key, new = "\0key", "\0new"
    keyed = changes.rename({name: name + new for name in changes.columns if name != ITEM_ID})
    keyed = keyed.with_columns(pl.col(ITEM_ID).cast(pl.String).alias(key)).drop(ITEM_ID)
    both = items.with_columns(pl.col(ITEM_ID).cast(pl.String).alias(key)).join(
        keyed, on=key, how="left", maintain_order="left"
    )
    return both.select(
        *(name for name in items.columns if name + new not in both.columns),
        *(
            (pl.coalesce(name + new, name) if name in items.columns else pl.col(name + new)).alias(
                name
            )
            for name in changes.columns
            if name != ITEM_ID
        ),
    ).select(*items.columns, *(name for name in changes.columns if name not in items.columns))


def of_same_types(
    items: pl.DataFrame,
    more: pl.DataFrame,
    config: DataConfig,
    declared: Declared,
    file: str,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The items and exported rows, whose shared columns have the same types.

    Raises:
        DataError: a value is not of the type of its column.
    """
    for name in items.columns:
        if name == ITEM_ID or name not in more.columns:
            continue
        if name not in declared:
            types = pl.Schema({name: items.schema[name]})
            more = more.with_columns(as_kept(more, types, {}, file=file))
        elif items.schema[name] != more.schema[name]:
            items = items.with_columns(as_declared(items.select(name), declared, file=config.items))
            more = more.with_columns(as_declared(more.select(name), declared, file=file))
    return items, more


def joined(frames: dict[str, pl.DataFrame], keys: tuple[str, ...]) -> pl.DataFrame:
    """The rows of both, their ids of one type; a column that one of them lacks is missing there."""
    for key in keys:
        frames = agree(frames, key)
    return pl.concat(frames.values(), how="diagonal_relaxed")


def as_exported(config: DataConfig) -> DataConfig:
    """The section as it reads exported tables: they are written as usual, whatever the format of
    the others is."""
    return config.model_copy(update={"format": FormatsConfig(), "separator": None})
