"""Histories: the items of each user in order, with the type and the time of each event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config import HistoryConfig
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.workspace import BLOCK
from twotower.data.features.vocabulary import Vocabulary


@dataclass(frozen=True)
class HistoryFeature:
    """The history as fitted on the training part.

    Attributes:
        config: as declared.
        event_types: of the training part; None if it has none or the config does not read them.
        has_times: whether events have times, so that their ages are known.
    """

    config: HistoryConfig
    event_types: Vocabulary | None
    has_times: bool


class History(NamedTuple):
    """The events of B queries, oldest first, as the query tower reads them.

    Place 0 is the beginning and holds no event, so that a user without events has a place to read,
    too.

    Attributes:
        item_num: (B, L) int64, 0 without an event.
        mask: (B, L) bool: the beginning, and places with an event.
        time: (B, L) int64 seconds, or None without times; the beginning has the time of the first
            event.
        event_num: (B, L) int64, or None without event types.
    """

    item_num: Tensor
    mask: Tensor
    time: Tensor | None
    event_num: Tensor | None

    def to(self, device: torch.device) -> History:
        """The same histories on a device."""
        return History(*(None if column is None else column.to(device) for column in self))  # type: ignore[arg-type]

    def of_rows(self, rows: Tensor, length: int) -> History:
        """Some of the queries (R,), at the first `length` places."""
        columns = (None if c is None else c.index_select(0, rows)[:, :length] for c in self)
        return History(*columns)  # type: ignore[arg-type]

    def at_newest(self, values: Tensor) -> Tensor:
        """(B, L, ...) to (B, ...): the values at the newest event, or at the beginning without
        one."""
        rows = torch.arange(len(values), device=values.device)
        return values[rows, self.mask.sum(dim=1) - 1]

    def take(self, rows: Tensor) -> History:
        """The histories of some queries (R,)."""
        return History(*(None if column is None else column[rows] for column in self))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Histories:
    """The events of many users, oldest first.

    Attributes:
        items: a list of item nums for each row of the user table.
        time: (total,) int64 seconds of each of its values, or None.
        event_num: (total,) int64, or None.
        weight: (total,) float32, or None if all are 1.
        learned: (total,) bool, whether an event is from the training part; None for all. The others
            are rows of the validation part, which a test query may read.
    """

    items: Ragged
    time: NDArray[np.int64] | None = None
    event_num: NDArray[np.int64] | None = None
    weight: NDArray[np.float32] | None = None
    learned: NDArray[np.bool_] | None = None

    @staticmethod
    def group(
        user_num: NDArray[np.integer],
        item_num: NDArray[np.integer],
        num_users: int,
        *,
        time: NDArray[np.int64] | None = None,
        nanosecond: NDArray[np.int32] | None = None,
        event_num: NDArray[np.int64] | None = None,
        weight: NDArray[np.float32] | None = None,
        learned: NDArray[np.bool_] | None = None,
    ) -> Histories:
        """Group rows (T,) by user and sort them by time, if there are times; rows of equal time
        keep their order."""
        if is_grouped(user_num, time, nanosecond):
            items = Ragged.of_sorted(user_num, item_num, num_users)
            return Histories(items, time, event_num, weight, learned)
        order = by_user_and_time(user_num, time, nanosecond)
        return Histories(
            Ragged.group(user_num[order], item_num[order], num_users),
            None if time is None else time[order],
            None if event_num is None else event_num[order],
            None if weight is None else weight[order],
            None if learned is None else learned[order],
        )

    def typical_gap(self) -> int:
        """The median number of seconds between two events of a user; 0 without times."""
        if self.time is None or len(self.time) < 2:
            return 0
        keys = self.items.keys()
        gaps = np.diff(self.time)[keys[1:] == keys[:-1]]
        return int(np.median(gaps)) if len(gaps) else 0

    def latest(self, user_num: NDArray[np.integer], max_length: int) -> History:
        """The newest events of users (Q,): with the beginning, at most `max_length` places. A num
        without a list has no event."""
        starts, lengths = self.items.bounds(user_num)
        kept = np.minimum(lengths, max_length - 1)
        places = np.arange(int(kept.max(initial=0)) + 1)
        rows = (starts + lengths - kept)[:, None] + places - 1
        there = (places > 0) & (places <= kept[:, None])
        return self.read(np.where(there, rows, -1), kept[:, None] >= places)

    def read(self, rows: NDArray[np.int64], mask: NDArray[np.bool_]) -> History:
        """The events at `rows` (B, L) of the flat arrays; -1 reads none."""
        there = torch.from_numpy(rows >= 0)

        def column(values: NDArray[Any] | None) -> Tensor | None:
            if values is None:
                return None
            if not len(values):
                return torch.zeros(there.shape, dtype=torch.int64)
            taken = torch.from_numpy(values[np.maximum(rows, 0)].astype(np.int64))
            return torch.where(there, taken, 0)

        item_num = column(self.items.values)
        time = column(self.time)
        assert item_num is not None
        if time is not None and time.shape[1] > 1:
            first = torch.where(there[:, 1], time[:, 1], time[:, 0])
            time = torch.cat([first[:, None], time[:, 1:]], dim=1)
        return History(item_num, torch.from_numpy(mask), time, column(self.event_num))


def by_time(
    time: NDArray[np.int64], nanosecond: NDArray[np.int32] | None = None
) -> NDArray[np.int64]:
    """(T,) places of the rows in the order of their times, seconds and nanoseconds if given; rows
    of equal time keep their order."""
    if nanosecond is None:
        return np.argsort(time, kind="stable")
    return np.lexsort((nanosecond, time))


def by_user_and_time(
    user_num: NDArray[np.integer],
    time: NDArray[np.int64] | None,
    nanosecond: NDArray[np.int32] | None = None,
) -> NDArray[np.int64]:
    """(T,) places of the rows in the order of their users and, for each user, of their times, if
    there are any; rows that are equal in both keep their order."""
    order = np.arange(len(user_num)) if time is None else by_time(time, nanosecond)
    return order[np.argsort(user_num[order], kind="stable")]


def is_grouped(
    user_num: NDArray[np.integer],
    time: NDArray[np.int64] | None,
    nanosecond: NDArray[np.int32] | None = None,
) -> bool:
    """Whether the rows (T,) are in the order of their users and, for each user, of their times."""
    columns = [column for column in (user_num, time, nanosecond) if column is not None]
    for start in range(0, len(user_num), BLOCK):
        some = [column[start : start + BLOCK + 1] for column in columns]
        ascends = np.ones(max(len(some[0]) - 1, 0), dtype=np.bool_)
        for column in reversed(some):
            ascends = (column[1:] > column[:-1]) | ((column[1:] == column[:-1]) & ascends)
        if not ascends.all():
            return False
    return True
