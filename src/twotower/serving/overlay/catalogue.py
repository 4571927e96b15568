"""What is shown of items: their ids, names and columns, the overlay's first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.dataset.entities import OUTSIDE, EntityTable
from twotower.serving.answer.reasons import NAME_COLUMNS
from twotower.serving.overlay.item_overlay import Overlay
from twotower.serving.overlay.lookup import Lookup
from twotower.serving.store.protocol import Id

MAX_CACHED = 50_000
"""Items whose columns are kept as they are shown."""


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
        self._ids = items.ids.to_arrow()
        self._columns = [(name, self.frame[name].to_arrow()) for name in shown]
        self._cached: OrderedDict[int, tuple[Id, dict[str, Any]]] = OrderedDict()

    def rows(self, nums: Sequence[int]) -> list[tuple[Id, dict[str, Any]]]:
        """Id and columns of item nums."""
        found = [self._cached.get(num) or self._look_up(num) for num in nums]
        while len(self._cached) > MAX_CACHED:
            self._cached.popitem(last=False)
        return found

    def _look_up(self, num: int) -> tuple[Id, dict[str, Any]]:
        columns = {name: column[num].as_py() for name, column in self._columns}
        self._cached[num] = found = (self._ids[num].as_py(), columns)
        return found


class Catalogue:
    """The items that one version shows, under one state of the overlay."""

    def __init__(self, items: EntityTable, lookup: Lookup, columns: ItemColumns, overlay: Overlay):
        self.items = items
        self.overlay = overlay
        self._lookup = lookup
        self._columns = columns
        self._added: Mapping[Id, int] = {
            item.item_id: num for num, item in overlay.items.items() if num >= len(items)
        }

    @property
    def first_known(self) -> int:
        """The first num of an item."""
        return self.items.first_known

    @property
    def num_items(self) -> int:
        """Items that can be answered."""
        added = len(self._added)
        return len(self.items) - self.items.first_known + added - len(self._gone())

    def _gone(self) -> list[int]:
        return [num for num in self.overlay.removed if num < len(self.items)]

    def num(self, raw: Id) -> int:
        """The num of an item, `OUTSIDE` for one that is unknown or removed."""
        num = self._lookup.num(raw)
        if num == OUTSIDE:
            num = self._added.get(self._lookup.own(raw), OUTSIDE)
        return OUTSIDE if num in self.overlay.removed else num

    def nums(self, raws: Sequence[Id]) -> list[int]:
        """The nums of items."""
        return [self.num(raw) for raw in raws]

    def rows(self, nums: Sequence[int]) -> list[tuple[Id, dict[str, Any]]]:
        """Id and shown columns of item nums."""
        over = self.overlay.items
        if not over:
            return self._columns.rows(nums)
        below = iter(self._columns.rows([num for num in nums if num not in over]))
        return [
            (over[num].item_id, dict(over[num].columns)) if num in over else next(below)
            for num in nums
        ]

    def names(self, nums: Sequence[int]) -> list[str]:
        """What items are called: by their title where they have one, else by their id."""
        return [_name(item_id, columns) for item_id, columns in self.rows(nums)]

    def all_nums(self) -> NDArray[np.int64]:
        """The nums of all items that can be answered, ascending."""
        base = np.arange(self.items.first_known, len(self.items))
        gone = np.array(self._gone(), dtype=np.int64)
        added = np.array(sorted(self._added.values()), dtype=np.int64)
        return np.concatenate([np.setdiff1d(base, gone, assume_unique=True), added])


def _name(item_id: Id, columns: Mapping[str, Any]) -> str:
    for column in NAME_COLUMNS:
        if columns.get(column) is not None:
            return f"{columns[column]!r}"
    return str(item_id)
