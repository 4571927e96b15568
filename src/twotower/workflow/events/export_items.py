"""Items that were put at run time, as a table that training reads beside the items file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from twotower.config import Config, FeatureConfig
from twotower.data.columns import ITEM_ID
from twotower.data.tables.exported import ITEM_CHANGES, ITEMS
from twotower.serving.store.protocol import EventStore, ItemChange
from twotower.workflow.table_file import table_file


@dataclass(frozen=True)
class ExportedItems:
    """What was written.

    Attributes:
        items: items that were put, rows of the first file.
        changed: items that were changed in part, rows of the second file.
        removed: items that are removed at run time, which no file has.
    """

    items: int
    changed: int
    removed: int


def export_items(store: EventStore, folder: Path, config: Config) -> ExportedItems:
    """Write the items that were put or changed in part at run time, as they are now, with the
    columns of the items file.

    Args:
        store: it has the items.
        folder: gets `items.jsonl` and `item_changes.jsonl`; they are replaced, or removed where
            they would have no row.
        config: that of the training, for the name of the id and the separators of text cells.

    Raises:
        DataError: the file cannot be written.
    """
    put: list[ItemChange] = []
    parts: list[ItemChange] = []
    removed = 0
    for change in changes(store):
        if change.columns is None:
            removed += 1
        elif not change.partial:
            put.append(change)
        elif change.columns:
            parts.append(change)
    for name, found in ((ITEMS, put), (ITEM_CHANGES, parts)):
        file = folder / f"{name}.jsonl"
        if found:
            with table_file(file) as write:
                write(to_frame(found, config))
        else:
            file.unlink(missing_ok=True)
    return ExportedItems(len(put), len(parts), removed)


def changes(store: EventStore) -> Iterator[ItemChange]:
    """The last change of each item."""
    sequence = 0
    while page := store.item_changes_after(sequence):
        sequence = page[-1].sequence
        yield from (entry.value for entry in page)


def to_frame(items: list[ItemChange], config: Config) -> pl.DataFrame:
    """Items as rows; every cell as the items file would have it: lists of a column that has a
    separator are joined by it."""
    features = {
        feature.column or name: feature for name, feature in config.features.columns("item").items()
    }
    names = dict.fromkeys(name for item in items for name in item.columns or {})
    columns = {config.data.columns.entity_key("items"): [str(item.item_id) for item in items]}
    columns |= {
        name: [cell((item.columns or {}).get(name), features.get(name)) for item in items]
        for name in names
        if name != ITEM_ID
    }
    return pl.DataFrame({name: pl.Series(name, v, strict=False) for name, v in columns.items()})


def cell(value: Any, feature: FeatureConfig | None) -> Any:
    """A value as a cell of the column that `feature` reads."""
    return value if feature is None else feature.to_cell(value)
