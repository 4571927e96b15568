"""A part of the interactions, as arrays of nums."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.arrays.distinct import distinct_values
from twotower.data.arrays.ragged import Ragged, count
from twotower.data.dataset.entities import EntityTable, Features, concatenated, taken
from twotower.data.features.histories import Histories, by_user_and_time
from twotower.data.tables.time_notes import EARLIEST_PLAUSIBLE
from twotower.html import table


@dataclass(frozen=True)
class Interactions:
    """Rows (T,) of one part (training, validation, test).

    Attributes:
        users: the table that `user_num` counts in; every user of every part has a row.
        items: the table that `item_num` counts in.
        user_num: (T,) int32.
        item_num: (T,) int32; OUTSIDE (-1) for an item outside the catalogue (never in training).
        weight: (T,) float32, 1 where the data has none.
        timestamp: (T,) int64 seconds, or None where the data has no times.
        context: name -> encoded context features (T, ...).
        event_num: (T,) types of the events, where a history reads them, else None.
        nanosecond: (T,) int32 after the second of `timestamp`; None where all times are whole.
    """

    users: EntityTable
    items: EntityTable
    user_num: NDArray[np.int32]
    item_num: NDArray[np.int32]
    weight: NDArray[np.float32]
    timestamp: NDArray[np.int64] | None
    context: Features
    event_num: NDArray[np.int64] | None = None
    nanosecond: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.user_num)

    def __repr__(self) -> str:
        summary = self.summary()
        days = f", {summary['days']}" if "days" in summary else ""
        return (
            f"Interactions({summary['rows']} rows of {summary['users']} users and "
            f"{summary['items']} items{days})"
        )

    def _repr_html_(self) -> str:
        summary = self.summary()
        return table("Interactions", list(summary), [list(summary.values())])

    def summary(self) -> dict[str, str]:
        """Numbers of rows, of distinct users and items (those outside the catalogue count as one),
        and the days from the first to the last row, where there are dates."""
        counts = {
            "rows": len(self),
            "users": len(distinct_values(self.user_num)),
            "items": len(distinct_values(self.item_num)),
        }
        summary = {name: f"{count:,}" for name, count in counts.items()}
        low = high = 0
        if self.timestamp is not None and len(self):
            low, high = int(self.timestamp.min()), int(self.timestamp.max())
        if low >= EARLIEST_PLAUSIBLE:  # smaller numbers are an order
            first, last = pl.from_epoch(pl.Series([low, high]), time_unit="s").dt.date().to_list()
            summary["days"] = f"{first} to {last}"
        return summary

    def by_user(self) -> Ragged:
        """The items of each user, (len(users),) lists, oldest first where there are times."""
        return self.histories().items

    def histories(self, learned: NDArray[np.bool_] | None = None) -> Histories:
        """The events of each user, (len(users),) lists, oldest first where there are times.

        Args:
            learned: (T,) which rows training learned from; all where it is not given.
        """
        return Histories.group(
            self.user_num,
            self.item_num,
            len(self.users),
            time=self.timestamp,
            nanosecond=self.nanosecond,
            event_num=self.event_num,
            weight=None if (self.weight == 1).all() else self.weight,
            learned=learned,
        )

    def order_by_user(self) -> NDArray[np.int64]:
        """(T,) places of the rows in the order of their users, oldest first where there are
        times."""
        return by_user_and_time(self.user_num, self.timestamp, self.nanosecond)

    def item_counts(self) -> NDArray[np.int64]:
        """(len(items),) how often each item occurs; items outside the catalogue are not counted."""
        return count(self.item_num, len(self.items))

    def take(self, rows: NDArray[np.integer]) -> Interactions:
        """The rows of `rows` (R,), in that order."""
        return replace(
            self,
            user_num=self.user_num[rows],
            item_num=self.item_num[rows],
            weight=self.weight[rows],
            timestamp=None if self.timestamp is None else self.timestamp[rows],
            context=taken(self.context, rows),
            event_num=None if self.event_num is None else self.event_num[rows],
            nanosecond=None if self.nanosecond is None else self.nanosecond[rows],
        )

    def append(self, other: Interactions) -> Interactions:
        """These rows, then the rows of another part with the same tables."""
        return replace(
            self,
            user_num=np.concatenate([self.user_num, other.user_num]),
            item_num=np.concatenate([self.item_num, other.item_num]),
            weight=np.concatenate([self.weight, other.weight]),
            timestamp=_joined(self.timestamp, other.timestamp),
            context={
                name: concatenated([column, other.context[name]])
                for name, column in self.context.items()
            },
            event_num=_joined(self.event_num, other.event_num),
            nanosecond=_joined_nanoseconds(self, other),
        )


def _joined(
    first: NDArray[np.int64] | None, second: NDArray[np.int64] | None
) -> NDArray[np.int64] | None:
    return None if first is None or second is None else np.concatenate([first, second])


def _joined_nanoseconds(first: Interactions, second: Interactions) -> NDArray[np.int32] | None:
    if first.nanosecond is None and second.nanosecond is None:
        return None
    parts = [
        np.zeros(len(part), dtype=np.int32) if part.nanosecond is None else part.nanosecond
        for part in (first, second)
    ]
    return np.concatenate(parts)
