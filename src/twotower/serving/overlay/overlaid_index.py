"""An index whose items change: the bundle's own stays as it is, what is new lies over it."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.distinct import distinct_values
from twotower.data.arrays.mask_cache import MAX_BYTES, MaskCache, nbytes
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM
from twotower.index import SearchResult, VectorIndex
from twotower.index.exact import ExactIndex

NONE = np.zeros(0, dtype=np.int64)
FEW_HIDDEN = 50
"""So many hidden items are left out as items that no query wants; more of them as a filter."""


class OverlaidIndex:
    """Exact search over items that were added or changed, beside the search of an index below that
    no longer answers those that were changed or removed. No bundle keeps it: the items that it lays
    over are those of the event store.

    Attributes:
        kind: of the index below.
        item_nums: ascending: those below that are not hidden, and those of the overlay.
    """

    def __init__(
        self,
        below: VectorIndex,
        *,
        hidden: NDArray[np.int64],
        nums: NDArray[np.int64],
        vectors: NDArray[np.float32],
        num_items: int,
        withheld: NDArray[np.int64] = NONE,
    ) -> None:
        """Lay items over an index.

        Args:
            below: stays as it is.
            hidden: item nums below that are answered no more, those in `nums` among them.
            nums: (A,) ascending, of the added and the changed items.
            vectors: (A, D).
            num_items: all nums are below it.
            withheld: nums that a search does not answer though they have a vector.
        """
        self.kind = below.kind
        self.below = below
        self._above = self._answers = ExactIndex(vectors, nums)
        self._hidden = distinct_values(hidden)
        self._silent = distinct_values(np.concatenate([hidden, withheld]))
        if len(withheld) and len(nums):
            shown = ~np.isin(nums, withheld)
            self._answers = ExactIndex(vectors[shown], nums[shown])
        self._num_items = num_items
        self._masks: MaskCache[NDArray[np.bool_]] = MaskCache(MAX_BYTES, nbytes)

    @cached_property
    def item_nums(self) -> NDArray[np.int64]:
        """See the class."""
        kept = np.setdiff1d(self.below.item_nums, self._hidden, assume_unique=True)
        return distinct_values(np.concatenate([kept, self._above.item_nums]))

    def search(
        self,
        query_vectors: NDArray[np.float32],
        k: int,
        *,
        excluded: Ragged | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> SearchResult:
        """See `VectorIndex`."""
        unwanted, kept = excluded, allowed
        if len(self._silent):
            if allowed is None and len(self._silent) <= FEW_HIDDEN:
                every = np.tile(self._silent, len(query_vectors))
                keys = np.repeat(np.arange(len(query_vectors)), len(self._silent))
                gone = Ragged.group(keys, every, len(query_vectors))
                unwanted = gone if excluded is None else excluded.merge(gone)
            elif allowed is None:
                kept = self._shown
            else:
                kept = self._masks.get(allowed, lambda: self._without_hidden(allowed))
        found = self.below.search(query_vectors, k, excluded=unwanted, allowed=kept)
        if not len(self._answers.item_nums):
            return found
        new = self._answers.search(query_vectors, k, excluded=excluded, allowed=allowed)
        return best_of(found, new, k)

    @cached_property
    def _shown(self) -> NDArray[np.bool_]:
        return self._without_hidden(np.ones(self._num_items, dtype=np.bool_))

    def _without_hidden(self, allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The same filter without what is hidden."""
        kept = allowed.copy()
        kept[self._silent] = False
        kept.flags.writeable = False
        return kept

    def vectors(self) -> NDArray[np.float32]:
        """(N, D) the vectors, in the order of `item_nums`; a copy of them all."""
        return self.vectors_of(self.item_nums)

    def vectors_of(self, nums: NDArray[np.integer]) -> NDArray[np.float32]:
        """(T, D) the vectors of item nums; zeros for an item that is not in the index."""
        found = self.below.vectors_of(nums)
        found[np.isin(nums, self._hidden)] = 0
        above = np.isin(nums, self._above.item_nums)
        found[above] = self._above.vectors_of(nums[above])
        return found


def best_of(one: SearchResult, other: SearchResult, k: int) -> SearchResult:
    """The k best of two answers to the same queries (Q, k), equal scores by item num."""
    nums = np.concatenate([one.item_nums, other.item_nums], axis=1)
    scores = np.concatenate([one.scores, other.scores], axis=1)
    order = np.lexsort((nums, -scores), axis=1)[:, :k]
    best = np.take_along_axis(nums, order, 1)
    values = np.take_along_axis(scores, order, 1)
    return SearchResult(values, np.where(np.isneginf(values), NO_ITEM, best))
