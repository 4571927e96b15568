"""Popularity under an overlay of items, quick for one request."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM, POPULAR, Ranked
from twotower.data.dataset.entities import Features
from twotower.index.masks import MaskCache
from twotower.models.baselines.context_counts import Context, ContextCounts
from twotower.models.baselines.popularity_ranker import (
    MAX_CACHED_CONTEXTS,
    InOrder,
    groups_of,
    popular_reasons,
)


class PopularOrder:
    """Ranks by the number of training rows, in a context by what is to be expected there; items
    that were added come last, in their order.

    Attributes:
        item_counts: (num_items,) training rows of each item num.
    """

    def __init__(
        self,
        order: NDArray[np.int64],
        item_counts: NDArray[np.int64],
        context_counts: ContextCounts | None = None,
    ) -> None:
        """Take an order, most taken first, without the items that were removed."""
        self._order = order
        self.item_counts = item_counts
        self.context_counts = context_counts
        self._remembered: dict[Context, InOrder] = {}
        self._kept: MaskCache[NDArray[np.int64]] = MaskCache()

    def top_k(
        self,
        user_num: NDArray[np.integer],
        k: int,
        *,
        context: Features | None = None,
        mask_seen: bool = True,
        excluded: Ragged | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Ranked:
        """As `Popularity.top_k`, without lists of what users have seen: `excluded` holds them."""
        del mask_seen
        nums = np.full((len(user_num), k), NO_ITEM, dtype=np.int64)
        scores = np.full((len(user_num), k), -np.inf, dtype=np.float32)
        for known, rows in groups_of(self.context_counts, context, len(user_num)):
            ranking = self._ranking(known)
            order = ranking.order
            if allowed is not None:
                order = self._allowed(known, order, allowed)
            for row in rows.tolist():
                unwanted = np.zeros(0, dtype=np.int32) if excluded is None else excluded[row]
                head = order[: k + len(unwanted)]
                best = head[~np.isin(head, unwanted)][:k]
                nums[row, : len(best)] = best
                scores[row, : len(best)] = ranking.counts[best]
        return Ranked(nums, scores, np.full(len(user_num), POPULAR, dtype=np.int8))

    def counts(self, context: Features) -> NDArray[np.float64]:
        """(num_items,) what items are ranked by for one request with its context (1, ...)."""
        known, _ = groups_of(self.context_counts, context, 1)[0]
        return self._ranking(known).counts

    def reasons(self, item_nums: NDArray[np.integer], context: Features) -> list[str]:
        """Why these items (T,) answer one request with its context (1, ...)."""
        return popular_reasons(self.context_counts, self.item_counts, item_nums, context)

    def _allowed(
        self, known: Context, order: NDArray[np.int64], allowed: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        if known:
            return order[allowed[order]]
        return self._kept.get(allowed, lambda: order[allowed[order]])

    def _ranking(self, context: Context) -> InOrder:
        if self.context_counts is None or not context:
            return InOrder(self._order, self.item_counts.astype(np.float64))
        if context not in self._remembered:
            counts = self.item_counts * self.context_counts.lift(context, self.item_counts)
            if len(self._remembered) >= MAX_CACHED_CONTEXTS:
                self._remembered.clear()
            order = self._order[np.argsort(-counts[self._order], kind="stable")]
            self._remembered[context] = InOrder(order, counts)
        return self._remembered[context]
