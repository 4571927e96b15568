"""Item-to-item weights in closed form: candidates scored by the user's positives.

score(user, i) = sum of B_ji over the user's positives j, where B minimises
|X - X B|² + l2 |B|² with a zero diagonal (EASE: Steck 2019, "Embarrassingly shallow autoencoders
for sparse data", eq. 8). The diagonal is zero, so that an item never counts for itself. Only the
largest weights of each item are kept.

Shapes: N item nums, M neighbours an item, Q queries, K candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.data.dataset.interactions import Interactions
from twotower.models.baselines.ease import inverse_gram
from twotower.models.baselines.matrix import interaction_matrix

PAIRS = 1 << 18
"""Weights read at a time, so many that they stay in the cache."""


@dataclass(frozen=True)
class ItemItemWeights:
    """The items with the largest weights for each item.

    Attributes:
        nums: (N, M) int32 item nums.
        weights: (N, M) float32, 0 where there are fewer.
    """

    nums: NDArray[np.int32]
    weights: NDArray[np.float32]

    @staticmethod
    def fit(train: Interactions, *, l2: float, number: int) -> ItemItemWeights:
        """Learn from a training part. Time grows with the cube of the number of warm items, memory
        with its square.

        Args:
            train: the part.
            l2: the penalty on weights; about the number of users that two items need in common
                before their weight differs much from 0.
            number: M, weights kept of each item.
        """
        first, end = train.items.first_known, train.items.end_warm
        inverse = inverse_gram(interaction_matrix(train, "none"), l2)
        # Row i holds the weights that item i is scored by: the inverse is symmetric.
        weights = -inverse / inverse.diagonal()[:, None]
        weights.fill_diagonal_(0.0)
        kept = min(number, end - first)
        places = weights.abs().topk(kept, dim=1).indices
        nums = np.zeros((len(train.items), kept), dtype=np.int32)
        values = np.zeros((len(train.items), kept), dtype=np.float32)
        nums[first:end] = (places + first).numpy()
        values[first:end] = weights.gather(1, places).numpy()
        return ItemItemWeights(nums, values)

    def with_more(self, number: int) -> ItemItemWeights:
        """The same with `number` more items at the end, without weights."""
        added = ((0, number), (0, 0))
        return ItemItemWeights(np.pad(self.nums, added), np.pad(self.weights, added))

    def knows(self, item_nums: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which items (...) have a weight; those that came after training have none."""
        known: NDArray[np.bool_] = self.weights[np.maximum(item_nums, 0), 0] != 0
        return known

    def score(self, positives: Ragged, item_nums: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of candidates (Q, K) by Q lists of positives; 0 where there is no weight, and for
        positions without an item."""
        candidates = np.maximum(item_nums, 0)
        scores = np.empty(candidates.shape, dtype=np.float32)
        block = max(1, PAIRS // max(1, candidates.shape[1] * self.nums.shape[1]))
        for start in range(0, len(candidates), block):
            rows = slice(start, start + block)
            lists = positives.take(np.arange(*rows.indices(len(candidates))))
            has = np.zeros((len(lists), len(self.nums)), dtype=np.float32)
            inside = lists.values >= 0
            has[lists.keys()[inside], lists.values[inside]] = 1.0
            chosen = candidates[rows]
            near, weights = self.nums[chosen], self.weights[chosen]
            cells = near + (np.arange(len(chosen)) * has.shape[1])[:, None, None]
            scores[rows] = np.einsum("qkm,qkm->qk", has.ravel()[cells], weights)
        return scores
