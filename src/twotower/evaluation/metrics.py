"""Ranking metrics per query, and beyond-accuracy metrics of all recommendations.

Q queries, k recommended items each, N items. `ranked` (Q, k) holds item nums, best first, padded
with -1 where fewer exist; `relevant` holds Q lists of item nums. A relevant item that is listed
twice counts once; relevant items outside the catalogue (-1) count individually and are misses. An
item that is recommended twice is a hit only at its first rank. A query without a relevant item has
the value NaN, which `mean` ignores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.distinct import distinct_values
from twotower.data.arrays.ragged import Ragged

Floats = NDArray[np.float64]

METRICS = ("recall", "capped_recall", "ndcg", "hit", "mrr", "map")


def hits(ranked: NDArray[np.int64], relevant: Ragged) -> NDArray[np.bool_]:
    """(Q, k) whether a recommended item is relevant; only the first occurrence of an item counts.

    Raises:
        ValueError: `ranked` and `relevant` differ in their number of queries.
    """
    num_queries, k = ranked.shape
    if num_queries != len(relevant):
        raise ValueError(
            f"The 'relevant' parameter must hold a list for each row of 'ranked', {num_queries}. "
            f"Got {len(relevant)} instead."
        )
    width = int(max(ranked.max(initial=0), relevant.values.max(initial=0))) + 1
    known = relevant.values >= 0
    wanted = distinct_values(relevant.keys()[known] * width + relevant.values[known])
    recommended = np.where(ranked >= 0, ranked, 0) + np.arange(num_queries)[:, None] * width
    if not len(wanted):
        return np.zeros((num_queries, k), dtype=np.bool_)
    places = np.minimum(np.searchsorted(wanted, recommended), len(wanted) - 1)
    found: NDArray[np.bool_] = (wanted[places] == recommended) & (ranked >= 0)
    places = np.flatnonzero(found)
    first = np.unique(recommended.ravel()[places], return_index=True)[1]
    is_hit = np.zeros(num_queries * k, dtype=np.bool_)
    is_hit[places[first]] = True
    return is_hit.reshape(num_queries, k)


def num_relevant(relevant: Ragged) -> NDArray[np.int64]:
    """(Q,) number of distinct relevant items of each query, including those outside the
    catalogue."""
    inside = relevant.values >= 0
    keys, values = relevant.keys(), relevant.values
    width = int(values.max(initial=0)) + 1
    owners = distinct_values(keys[inside] * width + values[inside]) // width
    counts = np.bincount(owners, minlength=len(relevant))
    return counts + np.bincount(keys[~inside], minlength=len(relevant))


def ranking_metrics(ranked: NDArray[np.int64], relevant: Ragged, k: int) -> dict[str, Floats]:
    """Metric -> (Q,) values at cut-off k. With r relevant items:

    - recall@k: hits / r
    - capped_recall@k: hits / min(k, r)
    - ndcg@k: sum of 1 / log2(1 + rank) over hits, divided by that sum for the ideal ranking, which
      begins with min(k, r) hits (Järvelin & Kekäläinen 2002, with binary gains)
    - hit@k: 1 if there is a hit
    - mrr@k: 1 / rank of the first hit, 0 without one
    - map@k: sum of the precision at the rank of each hit / min(k, r), so that the ideal ranking has
      1 for any r

    All lie in [0, 1]; NaN where r is 0. Empty arrays without a query.

    Args:
        ranked: (Q, at least k), or fewer columns where fewer items exist.
        relevant: Q lists.
        k: the cut-off, at least 1.

    Raises:
        ValueError: k is less than 1, or the numbers of queries differ.
    """
    if k < 1:
        raise ValueError(f"The 'k' parameter must be at least 1. Got {k} instead.")
    found = hits(ranked[:, :k], relevant).astype(np.float64)
    count = num_relevant(relevant).astype(np.float64)
    with np.errstate(invalid="ignore"):
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
    """The mean over queries, ignoring NaN; None where all values are NaN."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None


def coverage(ranked: NDArray[np.int64], num_items: int) -> float:
    """Catalog coverage: the share of the N items that is recommended at least once; 0 for an empty
    catalogue."""
    return len(distinct_values(ranked[ranked >= 0])) / num_items if num_items else 0.0


def novelty(ranked: NDArray[np.int64], item_counts: NDArray[np.int64]) -> float:
    """Mean self-information of the recommended items in bits, -log2 p(item), where p is the item's
    share of the training rows (Castells, Vargas & Wang 2011); an item without a training row counts
    as half a row. 0 without recommendations.

    Args:
        ranked: (Q, k).
        item_counts: (R,) training rows of each item num.
    """
    recommended = ranked[ranked >= 0]
    total = item_counts.sum()
    if not len(recommended) or not total:
        return 0.0
    return float(-np.log2(np.maximum(item_counts[recommended], 0.5) / total).mean())


def gini(ranked: NDArray[np.int64], num_items: int) -> float:
    """The Gini index (1912) of the number of recommendations of the N items of the catalogue: 0
    where all are recommended equally often, near 1 where a single item is. The sum of
    (2 i - N - 1) count_i / (N sum of counts) over items in ascending order of their counts. 0
    without recommendations."""
    recommended = ranked[ranked >= 0]
    if not len(recommended) or not num_items:
        return 0.0
    counts = np.unique(recommended, return_counts=True)[1]
    shares = np.zeros(num_items)
    shares[: len(counts)] = counts
    shares = np.sort(shares) / shares.sum()
    ranks = np.arange(1, num_items + 1)
    return float(((2 * ranks - num_items - 1) * shares).sum() / num_items)
