"""Popularity under an overlay of items, quick for one request."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twotower.data.entities import Features
from twotower.data.lists import Lists
from twotower.data.ranking import NO_ITEM, POPULAR, Ranked
from twotower.index.masks import MaskCache


class PopularOrder:
    """Ranks by the number of training rows; items that were added come last, in their order.

    Attributes:
        item_counts: (num_items,) training rows of each item num.
    """

    def __init__(self, order: NDArray[np.int64], item_counts: NDArray[np.int64]) -> None:
        """Take an order, most taken first, without the items that were removed."""
        self._order = order
        self.item_counts = item_counts
        self._kept: MaskCache[NDArray[np.int64]] = MaskCache()

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
        """As `Popularity.top_k`, without lists of what users have seen: `excluded` holds them."""
        del context, mask_seen
        order = self._order
        if allowed is not None:
            order = self._kept.get(allowed, lambda: self._order[allowed[self._order]])
        nums = np.full((len(user_num), k), NO_ITEM, dtype=np.int64)
        scores = np.full((len(user_num), k), -np.inf, dtype=np.float32)
        for row in range(len(user_num)):
            unwanted = np.zeros(0, dtype=np.int32) if excluded is None else excluded[row]
            head = order[: k + len(unwanted)]
            best = head[~np.isin(head, unwanted)][:k]
            nums[row, : len(best)] = best
            scores[row, : len(best)] = self.item_counts[best]
        return Ranked(nums, scores, np.full(len(user_num), POPULAR, dtype=np.int8))
