"""The history of one user, from all sources: the bundle, the event store, the request."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.config import PositiveConfig
from twotower.data.arrays.ragged import Ragged
from twotower.data.features.histories import Histories
from twotower.data.features.schema import Schema
from twotower.data.features.vocabulary import PADDING
from twotower.data.tables.positive_rows import is_positive
from twotower.serving.answer.requests import HistoryItem
from twotower.serving.store.protocol import StoredEvent

UNKNOWN_TYPE = 1
"""The num of an event type that training did not see."""


class UserHistory(NamedTuple):
    """Events of one user, oldest first.

    Attributes:
        items: (L,) item nums.
        time: (L,) seconds; zeros where the bundle has no times.
        event_num: (L,) nums of event types; zeros where it has none.
    """

    items: NDArray[np.int64]
    time: NDArray[np.int64]
    event_num: NDArray[np.int64]


NOTHING = UserHistory(*(np.zeros(0, dtype=np.int64) for _ in range(3)))


class HistoryReader:
    """Turns events into what the histories of one bundle hold."""

    def __init__(self, histories: Histories, schema: Schema, positive: PositiveConfig) -> None:
        self._histories = histories
        self._positive = positive
        self.has_times = histories.time is not None
        self.has_types = histories.event_num is not None
        types = schema.history.event_types if schema.history is not None else None
        self._types: dict[object, int] = (
            {}
            if types is None
            else {value: types.first_known + n for n, value in enumerate(types.values.to_list())}
        )
        self.type_names = {num: str(value) for value, num in self._types.items()}
        self.gap = histories.typical_gap()

    def of_bundle(self, user_num: int) -> UserHistory:
        """The events of a user as of training; none for a num without a list."""
        lists = self._histories.items
        if not 0 <= user_num < len(lists):
            return NOTHING
        rows = slice(int(lists.offsets[user_num]), int(lists.offsets[user_num + 1]))
        items = lists.values[rows].astype(np.int64)
        blank = np.zeros(len(items), dtype=np.int64)
        time, types = self._histories.time, self._histories.event_num
        return UserHistory(
            items,
            blank if time is None else np.asarray(time[rows]),
            blank if types is None else np.asarray(types[rows]),
        )

    def counts(self, event: StoredEvent) -> bool:
        """Whether a history holds such an event, as the training part did."""
        return is_positive(event.event_type, event.weight, self._positive)

    def disliked(
        self, events: Sequence[StoredEvent | HistoryItem], nums: Sequence[int]
    ) -> list[int]:
        """Item nums of the events whose type is a dislike."""
        types = self._positive.negative_event_types
        if not types:
            return []
        found = zip(events, nums, strict=True)
        return [num for event, num in found if num >= 0 and event.event_type in types]

    @cached_property
    def known_types(self) -> frozenset[str]:
        """The event types that training saw or the config names; none where there are no types."""
        named = {*(self._positive.event_types or ()), *self._positive.event_weights}
        seen = {*map(str, self._types), *named}
        return frozenset(seen | {*self._positive.negative_event_types}) if seen else frozenset()

    def of_events(self, events: Sequence[StoredEvent], nums: Sequence[int]) -> UserHistory:
        """Stored events with the nums of their items; those outside the catalogue are left out."""
        kept = [
            (num, event.timestamp, self._type(event.event_type))
            for event, num in zip(events, nums, strict=True)
            if num >= 0 and self.counts(event)
        ]
        return _columns(kept)

    def of_request(
        self, items: Sequence[HistoryItem], nums: Sequence[int], after: int
    ) -> UserHistory:
        """What a request names, oldest first. Where it does not say when, items are as far apart as
        events usually are, and come after the time `after`."""
        kept, time = [], after
        for item, num in zip(items, nums, strict=True):
            time = time + self.gap if item.timestamp is None else item.timestamp
            if num >= 0 and item.event_type not in self._positive.negative_event_types:
                kept.append((num, time, self._type(item.event_type)))
        return _columns(kept)

    def _type(self, event_type: str | None) -> int:
        return PADDING if event_type is None else self._types.get(event_type, UNKNOWN_TYPE)

    def joined(self, parts: Sequence[UserHistory]) -> UserHistory:
        """Events of one user from several sources by time, each event once: a bundle may have
        learned from the store's."""
        parts = [part for part in parts if len(part.items)]
        if len(parts) < 2:
            return parts[0] if parts else NOTHING
        joined = UserHistory(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        if not self.has_times:
            return joined
        keys = np.stack([joined.time, joined.items])
        _, first = np.unique(keys, axis=1, return_index=True)
        first = np.sort(first)
        order = first[np.argsort(joined.time[first], kind="stable")]
        return UserHistory(*(column[order] for column in joined))

    def together(self, histories: Sequence[UserHistory]) -> Histories:
        """The events of Q users as the query tower takes them."""
        lengths = np.array([len(part.items) for part in histories], dtype=np.int64)
        offsets = np.zeros(len(histories) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        items, time, types = (
            np.concatenate(columns) if len(histories) else np.zeros(0, dtype=np.int64)
            for columns in zip(*(histories or [NOTHING]), strict=True)
        )
        return Histories(
            Ragged(offsets, items.astype(np.int32)),
            time if self.has_times else None,
            types if self.has_types else None,
        )


def _columns(rows: Sequence[tuple[int, int, int]]) -> UserHistory:
    if not rows:
        return NOTHING
    return UserHistory(*np.array(rows, dtype=np.int64).T)
