"""Raw ids to nums one at a time: a join with the whole table costs too much for one request."""

from __future__ import annotations

import polars as pl

from twotower.data.dataset.entities import OUTSIDE, EntityTable
from twotower.data.values.spelling import to_integer

Id = str | int


class Lookup:
    """The nums of an entity table's ids.

    An integer and the text that spells it as integers are written are the same id, as in the
    tables.
    """

    def __init__(self, table: EntityTable) -> None:
        self.has_integers = table.ids.dtype.is_integer()
        known: pl.Series = table.ids[table.first_known :]
        self._nums: dict[Id, int] = dict(
            zip(known.to_list(), range(table.first_known, len(table)), strict=True)
        )

    def num(self, raw: Id) -> int:
        """The num of an id, `OUTSIDE` where the table has no row for it."""
        return self._nums.get(self.own(raw), OUTSIDE)

    def own(self, raw: Id) -> Id:
        """An id in the type that the table has; text that is no integer stays as it is."""
        if not self.has_integers:
            return str(raw)
        number = to_integer(raw) if isinstance(raw, str) else None
        return raw if number is None else number
