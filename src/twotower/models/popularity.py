"""The baseline that everything has to beat: what most people took."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twotower.data.entities import EntityTable, Features
from twotower.data.interactions import Interactions
from twotower.data.lists import Lists
from twotower.data.ranking import NO_ITEM, POPULAR, Ranked, first_unlisted

BLOCK_CELLS = 1 << 20
"""Candidates in memory at once."""


class Popularity:
    """Ranks by the number of training rows, or by what they weigh; of equal items the lower item
    num comes first."""

    def __init__(
        self,
        users: EntityTable,
        items: EntityTable,
        item_counts: NDArray[np.int64],
        seen: Lists,
        *,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        """Order the catalogue.

        Args:
            users: who may ask.
            items: the catalogue; rows of padding and OOV are never recommended.
            item_counts: (R,) training rows of each item num.
            seen: (len(users),) lists of items that a user is not to be shown again.
            weights: (R,) what to rank by instead of the number of rows.
        """
        self.users = users
        self.items = items
        self.item_counts = item_counts
        self.seen = seen
        self.weights = item_counts.astype(np.float64) if weights is None else weights
        nums = np.arange(items.first_known, len(items))
        self.order = nums[np.lexsort((nums, -self.weights[nums]))]

    @staticmethod
    def fit(train: Interactions, *, seen: Lists | None = None) -> Popularity:
        """Count a training part; `seen` is its own rows where it is not given."""
        return Popularity(
            train.users,
            train.items,
            train.item_counts(),
            train.by_user() if seen is None else seen,
        )

    def top_k(
        self,
        user_num: NDArray[np.integer],
        k: int,
        *,
        context: Features | None = None,
        mask_seen: bool = True,
        excluded: Lists | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Ranked:
        """The k most popular items for each of Q users.

        Users are answered in the order of how much they do not want, some at a time, so that time
        and memory do not grow with Q x the longest list.

        Args:
            user_num: (Q,).
            k: at least 1.
            context: makes no difference here.
            mask_seen: leave out what the user has seen.
            excluded: Q lists of further items to leave out.
            allowed: (R,) which items may be answered at all.
        """
        del context
        unwanted = self.seen.take(user_num) if mask_seen else Lists.empty(len(user_num))
        if excluded is not None:
            unwanted = unwanted.merge(excluded)
        order = self.order if allowed is None else self.order[allowed[self.order]]
        nums = np.full((len(user_num), k), NO_ITEM, dtype=np.int64)
        scores = np.full((len(user_num), k), -np.inf, dtype=np.float32)
        for rows in blocks(unwanted.lengths + k, BLOCK_CELLS):
            nums[rows], scores[rows] = self._first(order, unwanted.take(rows), k)
        return Ranked(nums, scores, np.full(len(user_num), POPULAR, dtype=np.int8))

    def _first(
        self, order: NDArray[np.int64], unwanted: Lists, k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        head = order[: k + int(unwanted.lengths.max(initial=0))]
        candidates = np.broadcast_to(head, (len(unwanted), len(head)))
        counts = self.weights[head].astype(np.float32)
        return first_unlisted(candidates, np.broadcast_to(counts, candidates.shape), unwanted, k)


def blocks(widths: NDArray[np.int64], cells: int) -> list[NDArray[np.int64]]:
    """Rows (Q,) in groups of like width, each of at least one row and, beyond that, of at most
    `cells` cells when all its rows are as wide as its widest."""
    order = np.argsort(widths, kind="stable")
    groups, start = [], 0
    while start < len(order):
        ahead = widths[order[start:]] * np.arange(1, len(order) - start + 1)
        count = max(1, int(np.searchsorted(ahead, cells, side="right")))
        groups.append(order[start : start + count])
        start += count
    return groups
