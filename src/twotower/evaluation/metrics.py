"""Ranking metrics, a value a query, and what a system recommends as a whole.

Q queries, k answers each, N items. `ranked` (Q, k) holds item nums, best first, padded with -1
where fewer exist; `relevant` holds Q lists of item nums. A relevant item that stands twice counts
once; relevant items outside the catalogue (-1) count each, and cannot be found. An item that is
answered twice is a hit at its first place alone. A query without a relevant item has the value NaN:
it says nothing, and `mean` leaves it out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged

Floats = NDArray[np.float64]

METRICS = ("recall", "capped_recall", "ndcg", "hit", "mrr", "map")


def hits(ranked: NDArray[np.int64], relevant: Ragged) -> NDArray[np.bool_]:
    """(Q, k) whether the answer is relevant; of an item that is answered twice, the first.

    Raises:
        ValueError: `ranked` and `relevant` are not of one number of queries.
    """
    num_queries, k = ranked.shape
    if num_queries != len(relevant):
        raise ValueError(
            f"The 'relevant' parameter must hold a list for each row of 'ranked', {num_queries}. "
            f"Got {len(relevant)} instead."
        )
    width = int(max(ranked.max(initial=0), relevant.values.max(initial=0))) + 1
    known = relevant.values >= 0
    wanted = np.unique(relevant.keys()[known] * width + relevant.values[known])
    answered = np.where(ranked >= 0, ranked, 0) + np.arange(num_queries)[:, None] * width
    if not len(wanted):
        return np.zeros((num_queries, k), dtype=np.bool_)
    places = np.minimum(np.searchsorted(wanted, answered), len(wanted) - 1)
    found: NDArray[np.bool_] = (wanted[places] == answered) & (ranked >= 0)
    at = np.flatnonzero(found)
    first = np.unique(answered.ravel()[at], return_index=True)[1]
    once = np.zeros(num_queries * k, dtype=np.bool_)
    once[at[first]] = True
    return once.reshape(num_queries, k)


def num_relevant(relevant: Ragged) -> NDArray[np.int64]:
    """(Q,) distinct relevant items of each query, those outside the catalogue included."""
    inside = relevant.values >= 0
    keys, values = relevant.keys(), relevant.values
    width = int(values.max(initial=0)) + 1
    distinct = np.unique(keys[inside] * width + values[inside]) // width
    counts = np.bincount(distinct, minlength=len(relevant))
    return counts + np.bincount(keys[~inside], minlength=len(relevant))


def ranking_metrics(ranked: NDArray[np.int64], relevant: Ragged, k: int) -> dict[str, Floats]:
    """Metric -> (Q,) values at cut-off k, r being the number of relevant items:

    - recall@k: hits / r
    - capped_recall@k: hits / min(k, r)
    - ndcg@k: sum of 1 / log2(1 + rank) over hits, over the same sum of the best ranking, which has
      min(k, r) hits on top (Järvelin & Kekäläinen 2002, with gains of 0 and 1)
    - hit@k: 1 if there is a hit
    - mrr@k: 1 / rank of the first hit, 0 without one
    - map@k: sum of the precision at the rank of each hit / min(k, r), so that the best ranking has
      1 however many items are relevant

    All lie in [0, 1]; NaN where r is 0. Without a query, empty arrays.

    Args:
        ranked: (Q, at least k), or fewer columns where fewer items exist.
        relevant: Q lists.
        k: the cut-off, at least 1.

    Raises:
        ValueError: k is no count, or the numbers of queries differ.
    """
    if k < 1:
        raise ValueError(f"The 'k' parameter must be at least 1. Got {k} instead.")
    found = hits(ranked[:, :k], relevant).astype(np.float64)
    count = num_relevant(relevant).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        ranks = np.arange(1, found.shape[1] + 1)
        capped = np.minimum(count, k)
        ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(1 + np.arange(1, k + 1)))])
        precision = np.cumsum(found, axis=1) / ranks
        first = np.where(found > 0, 1 / ranks, 0.0).max(axis=1, initial=0.0)
        values = {
            "recall": found.sum(axis=1) / count,
            "capped_recall": found.sum(axis=1) / capped,
            "ndcg": (found / np.log2(1 + ranks)).sum(axis=1) / ideal[capped.astype(np.int64)],
            "hit": found.max(axis=1, initial=0.0),
            "mrr": first,
            "map": (precision * found).sum(axis=1) / capped,
        }
    return {f"{name}@{k}": np.where(count > 0, value, np.nan) for name, value in values.items()}


def mean(values: Floats) -> float | None:
    """The mean over queries that say something; None where none does."""
    told = values[~np.isnan(values)]
    return float(told.mean()) if len(told) else None


def coverage(ranked: NDArray[np.int64], num_items: int) -> float:
    """The share of the N items that is recommended to anybody; 0 for an empty catalogue."""
    return len(np.unique(ranked[ranked >= 0])) / num_items if num_items else 0.0


def novelty(ranked: NDArray[np.int64], item_counts: NDArray[np.int64]) -> float:
    """Mean self-information of a recommended item in bits, -log2 p(item), where p is the item's
    share of the training rows (Castells, Vargas & Wang 2011); an item without a row counts as one
    with half a row. 0 without answers.

    Args:
        ranked: (Q, k).
        item_counts: (R,) training rows of each item num.
    """
    answered = ranked[ranked >= 0]
    total = item_counts.sum()
    if not len(answered) or not total:
        return 0.0
    return float(-np.log2(np.maximum(item_counts[answered], 0.5) / total).mean())


def gini(ranked: NDArray[np.int64], num_items: int) -> float:
    """How unequally recommendations spread over the N items of the catalogue: 0 all the same, near
    1 all to one; sum over items in the order of their counts of (2 i - N - 1) count_i / (N sum of
    counts) (Gini 1912). 0 without answers."""
    answered = ranked[ranked >= 0]
    if not len(answered) or not num_items:
        return 0.0
    counts = np.unique(answered, return_counts=True)[1]
    shares = np.zeros(num_items)
    shares[: len(counts)] = counts
    shares = np.sort(shares) / shares.sum()
    ranks = np.arange(1, num_items + 1)
    return float(((2 * ranks - num_items - 1) * shares).sum() / num_items)
