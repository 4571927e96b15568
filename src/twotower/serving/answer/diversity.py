"""Lists whose items are not all alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ranked import NO_ITEM

BEHIND = -1000.0
"""Added to the gain of places without an item: less than any item has."""


def diversified(
    item_nums: NDArray[np.int64],
    scores: NDArray[np.float32],
    directions: NDArray[np.float32],
    k: int,
    diversity: float,
) -> NDArray[np.int64]:
    """Places (Q, k) of candidates, chosen one after the other by maximal marginal relevance.

    The next one is the largest (1 - diversity) * relevance - diversity * (largest cosine with those
    chosen before), the relevance being the score, scaled to 0 .. 1 over the query's candidates.
    Candidates that are equal stay in their order. Places without an item come last.

    Source: Carbonell & Goldstein 1998, "The use of MMR".

    Args:
        item_nums: (Q, K), `NO_ITEM` where there is none.
        scores: (Q, K), best first.
        directions: (Q, K, D) vectors of length 1.
        k: how many to choose; at most K are.
        diversity: in [0, 1].
    """
    there = item_nums != NO_ITEM
    known = np.where(there, scores, 0.0)
    low = np.where(there, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    span = np.where(there, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf) - low
    low = np.where(there.any(axis=1, keepdims=True), low, 0.0)
    relevance = np.where(there & (span > 0), (known - low) / np.where(span > 0, span, 1.0), 0.0)
    rows = np.arange(len(item_nums))
    nearest = np.zeros(item_nums.shape)
    left = np.where(there, 0.0, BEHIND)
    chosen = np.empty((len(item_nums), min(k, item_nums.shape[1])), dtype=np.int64)
    for place in range(chosen.shape[1]):
        gain = left + (1 - diversity) * relevance - diversity * nearest
        best = gain.argmax(axis=1)
        chosen[:, place] = best
        left[rows, best] = -np.inf
        cosines = np.einsum("qkd,qd->qk", directions, directions[rows, best])
        nearest = np.maximum(nearest, cosines) if place else cosines
    return chosen
