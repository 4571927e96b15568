"""The baseline that everything has to beat: what most people took, where it is known in the context
of the request."""

from __future__ import annotations

from copy import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.mask_cache import MAX_BYTES, MaskCache, nbytes
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM, POPULAR, Ranked, first_unlisted
from twotower.data.dataset.entities import EntityTable, Features
from twotower.data.dataset.interactions import Interactions
from twotower.models.baselines.context_counts import Context, ContextCounts

CANDIDATES_PER_BLOCK = 1 << 20
"""Candidates in memory at once."""
MAX_CACHED_CONTEXTS = 64
"""Contexts whose ranking is cached."""


class PopularityRanker:
    """Ranks by the number or the weight of training rows; in a context, by the number expected
    there. Ties are broken by the lower item num."""

    def __init__(
        self,
        users: EntityTable,
        items: EntityTable,
        item_counts: NDArray[np.int64],
        seen: Ragged,
        context_counts: ContextCounts | None = None,
        *,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        """Order the catalogue.

        Args:
            users: whose requests are answered.
            items: the catalogue; rows of padding and OOV are never recommended.
            item_counts: (R,) training rows of each item num.
            seen: (len(users),) lists of items that are masked for the user.
            context_counts: the same rows by context; without them a context makes no difference.
            weights: (R,) rank by these instead of the number of rows.
        """
        self.users = users
        self.items = items
        self.item_counts = item_counts
        self.seen = seen
        self.context_counts = context_counts
        self.weights = item_counts.astype(np.float64) if weights is None else weights
        self._rankings: dict[Context, Ranking] = {}
        self._filtered: MaskCache[NDArray[np.int64]] = MaskCache(MAX_BYTES, nbytes)

    @staticmethod
    def fit(train: Interactions, *, seen: Ragged | None = None) -> PopularityRanker:
        """Count a training part; `seen` is its own rows where it is not given."""
        return PopularityRanker(
            train.users,
            train.items,
            train.item_counts(),
            train.by_user() if seen is None else seen,
            ContextCounts.fit(train),
        )

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
        """The k most popular items for each of Q users.

        Users are processed in blocks, ordered by the length of their excluded lists, so that time
        and memory do not grow with Q x the longest list.

        Args:
            user_num: (Q,).
            k: at least 1.
            context: name -> (Q, ...) encoded context features; categories count.
            mask_seen: exclude items that the user has seen.
            excluded: Q lists of further items to exclude.
            allowed: (R,) whether each item may be recommended at all.
        """
        unwanted = self.seen.take(user_num) if mask_seen else Ragged.empty(len(user_num))
        if excluded is not None:
            unwanted = unwanted.merge(excluded)
        nums = np.full((len(user_num), k), NO_ITEM, dtype=np.int64)
        scores = np.full((len(user_num), k), -np.inf, dtype=np.float32)
        for known, same in groups_of(self.context_counts, context, len(user_num)):
            ranking = self._ranking(known)
            order = ranking.order if allowed is None else self._allowed(known, allowed)
            for part in row_blocks(unwanted.lengths[same] + k, CANDIDATES_PER_BLOCK):
                rows = same[part]
                nums[rows], scores[rows] = first_of(order, ranking.values, unwanted.take(rows), k)
        return Ranked(nums, scores, np.full(len(user_num), POPULAR, dtype=np.int8))

    def orders(
        self, context: Features | None, number: int, allowed: NDArray[np.bool_]
    ) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """The allowed items, best first, for each group of queries of the same context, and the
        rows of the group.

        Args:
            context: name -> (Q, ...) encoded context features.
            number: Q.
            allowed: (R,) whether each item may be recommended.
        """
        groups = groups_of(self.context_counts, context, number)
        return [(self._allowed(known, allowed), rows) for known, rows in groups]

    @property
    def order(self) -> NDArray[np.int64]:
        """The catalogue, best first, without a context."""
        return self._ranking(()).order

    def over(
        self, removed: NDArray[np.int64], added: NDArray[np.int64], num_items: int
    ) -> PopularityRanker:
        """The same without some items, and with others that have no training row.

        Args:
            removed: item nums.
            added: item nums behind those of `items`, ascending.
            num_items: all item nums are below it.
        """
        more = num_items - len(self.item_counts)
        other = copy(self)
        other.item_counts = np.pad(self.item_counts, (0, more))
        other.weights = np.pad(self.weights, (0, more))
        order = np.concatenate([self.order[~np.isin(self.order, removed)], added])
        other._rankings = {(): Ranking(order, other.weights)}
        other._filtered = MaskCache(MAX_BYTES, nbytes)
        return other

    def context_of(self, context: Features | None) -> Context:
        """What is counted of the context (1, ...) of one request."""
        return groups_of(self.context_counts, context, 1)[0][0]

    def values(self, context: Features | None) -> NDArray[np.float64]:
        """(R,) what items are ranked by for one request with its context (1, ...)."""
        return self.values_of(self.context_of(context))

    def values_of(self, context: Context) -> NDArray[np.float64]:
        """(R,) what items are ranked by in a context, as `groups_of` names it."""
        return self._ranking(context).values

    def values_at(self, context: Features | None, nums: NDArray[np.int64]) -> NDArray[np.float64]:
        """(Q, K) what items (Q, K) are ranked by for requests with their contexts (Q, ...)."""
        values = np.empty(nums.shape)
        for known, same in groups_of(self.context_counts, context, len(nums)):
            values[same] = self._ranking(known).values[nums[same]]
        return values

    def _allowed(self, context: Context, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
        order = self._ranking(context).order
        if context:
            return order[allowed[order]]
        return self._filtered.get(allowed, lambda: order[allowed[order]])

    def _ranking(self, context: Context) -> Ranking:
        """The catalogue as it is ranked in a context."""
        if context not in self._rankings:
            values, nums = self.weights, np.arange(self.items.first_known, len(self.items))
            if context:
                assert self.context_counts is not None
                values = values * self.context_counts.lift(context, self.item_counts)
                nums = self.order
            if len(self._rankings) > MAX_CACHED_CONTEXTS:
                self._rankings = {(): self._rankings[()]}
            self._rankings[context] = Ranking(nums[np.lexsort((nums, -values[nums]))], values)
        return self._rankings[context]


class Ranking(NamedTuple):
    """Item nums of the catalogue, best first, and what each item num is ranked by."""

    order: NDArray[np.int64]
    values: NDArray[np.float64]


def groups_of(
    counts: ContextCounts | None, context: Features | None, number: int
) -> list[tuple[Context, NDArray[np.int64]]]:
    """Queries (`number`) of the same context, and the rows of each group; one group where contexts
    are not counted."""
    if counts is None or context is None:
        return [((), np.arange(number))]
    return counts.groups(context, number)


def first_of(
    order: NDArray[np.int64], counts: NDArray[np.float64], unwanted: Ragged, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The first k of an order for each list of unwanted items, and their counts."""
    head = order[: k + int(unwanted.lengths.max(initial=0))]
    candidates = np.broadcast_to(head, (len(unwanted), len(head)))
    scores = np.broadcast_to(counts[head].astype(np.float32), candidates.shape)
    return first_unlisted(candidates, scores, unwanted, k)


def row_blocks(widths: NDArray[np.int64], cells: int) -> list[NDArray[np.int64]]:
    """Rows (Q,) in groups of similar width, each with at least one row and, beyond that, with at
    most `cells` cells if all its rows are padded to its widest."""
    order = np.argsort(widths, kind="stable")
    groups, start = [], 0
    while start < len(order):
        ahead = widths[order[start:]] * np.arange(1, len(order) - start + 1)
        count = max(1, int(np.searchsorted(ahead, cells, side="right")))
        groups.append(order[start : start + count])
        start += count
    return groups
