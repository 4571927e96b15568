"""What is shown of items: their ids, names and columns, the overlay's first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.dataset.entities import OUTSIDE, EntityTable
from twotower.serving.overlay.item_overlay import Overlay
from twotower.serving.store.protocol import Id

MAX_CACHED = 50_000
"""Items whose columns are kept as they are shown."""
MAX_CACHED_BYTES = 64 << 20
"""Bytes of their columns, at the catalogue's mean."""
NAME_COLUMNS = ("title", "name", "label")
"""Columns of the items file that an item is called by, where there is one."""


class ItemColumns:
    """The columns of the bundle's items, each item's kept once it was shown.

    Attributes:
        frame: those that are shown: no pictures.
    """

    def __init__(self, items: EntityTable) -> None:
        shown = [
            name
            for name, dtype in items.frame.schema.items()
            if name != items.key and dtype not in (pl.Binary, pl.Object)
        ]
        self.frame = items.frame.select(shown)
        # Arrow's own arrays: Polars hands every look at a few rows to its pool of threads.
        ids, columns = items.ids.to_arrow(), [(name, self.frame[name].to_arrow()) for name in shown]

        mean = max(1, int(self.frame.estimated_size()) // max(1, len(items)))

        @lru_cache(min(MAX_CACHED, MAX_CACHED_BYTES // mean))
        def row(num: int) -> tuple[Id, dict[str, Any]]:
            return ids[num].as_py(), {name: column[num].as_py() for name, column in columns}

        self._row = row

    def rows(self, nums: Sequence[int]) -> list[tuple[Id, dict[str, Any]]]:
        """Id and columns of item nums."""
        return [self._row(num) for num in nums]


class Catalogue:
    """The items that one version shows, under one state of the overlay."""

    def __init__(self, items: EntityTable, columns: ItemColumns, overlay: Overlay) -> None:
        self.items = items
        self.overlay = overlay
        self._columns = columns
        self._added: Mapping[Id, int] = {
            row.item_id: num for num, row in overlay.rows.items() if num >= len(items)
        }

    @property
    def num_items(self) -> int:
        """Items that can be answered."""
        added = len(self._added)
        return len(self.items) - self.items.first_known + added - len(self._gone())

    def _gone(self) -> list[int]:
        return [num for num in self.overlay.removed if num < len(self.items)]

    def num(self, raw: Id) -> int:
        """The num of an item, `OUTSIDE` for one that is unknown or removed."""
        num = self.items.num(raw)
        if num == OUTSIDE:
            num = self._added.get(self.items.own_id(raw), OUTSIDE)
        return OUTSIDE if num in self.overlay.removed else num

    def nums(self, raws: Sequence[Id]) -> list[int]:
        """The nums of items."""
        return [self.num(raw) for raw in raws]

    def rows(self, nums: Sequence[int]) -> list[tuple[Id, dict[str, Any]]]:
        """Id and shown columns of item nums."""
        over = self.overlay.rows
        if not over:
            return self._columns.rows(nums)
        below = iter(self._columns.rows([num for num in nums if num not in over]))
        return [
            (over[num].item_id, dict(over[num].shown)) if num in over else next(below)
            for num in nums
        ]

    def names(self, nums: Sequence[int]) -> list[tuple[Id, str]]:
        """Id of items, and what they are called: their title where they have one, else their id."""
        return [(item_id, name_of(item_id, columns)) for item_id, columns in self.rows(nums)]

    def all_nums(self) -> NDArray[np.int64]:
        """The nums of all items that can be answered, ascending."""
        base = np.arange(self.items.first_known, len(self.items))
        gone = np.array(self._gone(), dtype=np.int64)
        added = np.array(sorted(self._added.values()), dtype=np.int64)
        return np.concatenate([np.setdiff1d(base, gone, assume_unique=True), added])


def name_of(item_id: Id, columns: Mapping[str, Any]) -> str:
    """The first of `NAME_COLUMNS` that has a value, else the id."""
    named = (columns[name] for name in NAME_COLUMNS if columns.get(name) is not None)
    return str(next(named, item_id))
