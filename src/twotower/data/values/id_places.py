"""The places of many ids in a list of them."""

from __future__ import annotations

from functools import cached_property
from typing import Final, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

MOST_PER_ID: Final = 8
"""Integers that span at most so many times their number have a table of all numbers between."""
MISSING: Final = -1


class IdPlaces:
    """Distinct ids and the place of each.

    Integers that are close together are looked up in a table of the numbers from the lowest to the
    highest, several times as fast as by a join.
    """

    def __init__(self, ids: pl.Series) -> None:
        """Take (V,) distinct integers or text, without nulls."""
        self.ids = ids
        self.are_integers = ids.dtype == pl.Int64  # asking a column for its type is slow

    def of(self, column: pl.Series) -> NDArray[np.int64]:
        """The places (T,) of values of the same type, `MISSING` for other values and for nulls."""
        if not self._is_dense or len(column) * MOST_PER_ID < len(self.ids):
            joined = (
                column.alias("id")
                .to_frame()
                .join(self._joined, on="id", how="left", maintain_order="left")
            )
            return joined["place"].fill_null(MISSING).to_numpy().astype(np.int64)
        lowest, table = self._table
        values = column.fill_null(lowest).to_numpy()
        inside = (values >= lowest) & (values < lowest + len(table))
        if column.has_nulls():
            inside &= column.is_not_null().to_numpy()
        found = table[np.where(inside, values - lowest, 0)].astype(np.int64)
        found[~inside] = MISSING
        return found

    def one(self, value: str | int) -> int:
        """The place of one value, `MISSING` for another value: a join costs too much for one."""
        if not self.are_integers:
            return self._of_text.get(str(value), MISSING)
        if not isinstance(value, int):
            return MISSING
        if self._is_dense:
            lowest, table = self._table
            return int(table[value - lowest]) if 0 <= value - lowest < len(table) else MISSING
        ordered, places = self._ordered
        if not len(ordered) or not ordered[0] <= value <= ordered[-1]:
            return MISSING
        found = int(np.searchsorted(ordered, value))
        return int(places[found]) if ordered[found] == value else MISSING

    def prepare(self) -> None:
        """Make now what the first `one` would wait for."""
        self.one(0)

    @cached_property
    def _of_text(self) -> dict[str, int]:
        return dict(zip(self.ids.to_list(), range(len(self.ids)), strict=True))

    @cached_property
    def _ordered(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The integers in their order and the place of each: a dictionary takes ten times as
        much."""
        values = self.ids.to_numpy()
        places = np.argsort(values)
        return values[places], places.astype(np.int32)

    @cached_property
    def _is_dense(self) -> bool:
        if not self.are_integers or not len(self.ids):
            return False
        lowest, highest = cast(int, self.ids.min()), cast(int, self.ids.max())
        return highest - lowest < MOST_PER_ID * len(self.ids)

    @cached_property
    def _table(self) -> tuple[int, NDArray[np.int32]]:
        values = self.ids.to_numpy()
        lowest = int(values.min())
        table = np.full(int(values.max()) - lowest + 1, MISSING, dtype=np.int32)
        table[values - lowest] = np.arange(len(values))
        return lowest, table

    @cached_property
    def _joined(self) -> pl.DataFrame:
        places = pl.Series(np.arange(len(self.ids), dtype=np.int64))
        return pl.DataFrame({"id": self.ids, "place": places})
