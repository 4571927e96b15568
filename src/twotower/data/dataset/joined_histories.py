"""The histories of two parts together, some users at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged, count
from twotower.data.arrays.workspace import BLOCK, Workspace
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.histories import Histories, is_grouped


def joined_histories(
    learned: Interactions, later: Interactions, work: Workspace | None = None
) -> Histories:
    """The events of each user in both parts, oldest first where there are times; among equal times
    those of the first part come first.

    Args:
        learned: the part that training learned from.
        later: events that it did not learn from; numbered by the same tables.
        work: keeps the histories where the parts are larger than memory.
    """
    parts = (learned, later)
    total = len(learned) + len(later)
    if total <= BLOCK or not all(is_grouped(p.user_num, p.timestamp, p.nanosecond) for p in parts):
        rows = learned.append(later)
        return rows.histories(learned=np.arange(total) < len(learned))
    make = work.array if work is not None and work.is_large(total) else np.empty
    has_times = all(part.timestamp is not None for part in parts)
    has_events = all(part.event_num is not None for part in parts)
    has_weights = not all((part.weight == 1).all() for part in parts)
    items: NDArray[np.int32] = make(total, np.int32)
    is_learned: NDArray[np.bool_] = make(total, np.bool_)
    time: NDArray[np.int64] | None = make(total, np.int64) if has_times else None
    event_num: NDArray[np.int64] | None = make(total, np.int64) if has_events else None
    weight: NDArray[np.float32] | None = make(total, np.float32) if has_weights else None
    done = 0
    for one, other in users_of_both(learned, later):
        both = learned.take(one).append(later.take(other))
        order = both.order_by_user()
        here = slice(done, done + len(both))
        items[here], is_learned[here] = both.item_num[order], order < len(one)
        if time is not None and both.timestamp is not None:
            time[here] = both.timestamp[order]
        if event_num is not None and both.event_num is not None:
            event_num[here] = both.event_num[order]
        if weight is not None:
            weight[here] = both.weight[order]
        done = here.stop
    offsets = np.zeros(len(learned.users) + 1, dtype=np.int64)
    counts = [count(part.user_num, len(learned.users)) for part in parts]
    np.cumsum(counts[0] + counts[1], out=offsets[1:])
    return Histories(Ragged(offsets, items), time, event_num, weight, is_learned)


def users_of_both(
    one: Interactions, other: Interactions
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The rows of the same users in two parts that are in the order of their users, about a block
    of rows at once."""
    starts = [0, 0]
    while starts[0] < len(one) or starts[1] < len(other):
        # Up to the user at the end of a block of either part, whichever comes first.
        lasts = [
            int(part.user_num[min(start + BLOCK, len(part)) - 1])
            for part, start in zip((one, other), starts, strict=True)
            if start < len(part)
        ]
        ends = [
            int(np.searchsorted(part.user_num, min(lasts), side="right")) for part in (one, other)
        ]
        yield np.arange(starts[0], ends[0]), np.arange(starts[1], ends[1])
        starts = ends
