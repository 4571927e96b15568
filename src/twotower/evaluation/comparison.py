"""Several systems on the same queries: intervals that share their resamples, and accuracy by the
popularity of the items."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.distinct import distinct_values
from twotower.data.arrays.ragged import Ragged
from twotower.evaluation.metrics import Floats

COUNTS_PER_BATCH = 1 << 22
"""Counts of resampled queries in memory at once: 32 MB."""


class Intervals(NamedTuple):
    """Of M means: (M,) each; NaN for a column without a value."""

    mean: Floats
    low: Floats
    high: Floats


def bootstrap_intervals(
    values: Floats, *, rng: np.random.Generator, resamples: int = 2000, level: float = 0.95
) -> Intervals:
    """Percentile intervals (Efron 1979) of the means of M columns over the same Q queries.

    A resample draws queries, not values: all columns share the same ones, so that a column of
    differences of two systems has the interval of the paired comparison. NaN is ignored in its
    column's mean; a resample without a value of a column is ignored in its interval.

    Args:
        values: (Q, M), NaN where a query has no value.
        rng: draws the resamples.
        resamples: number of them.
        level: confidence level of the intervals.
    """
    num_queries, width = values.shape
    has_value = (~np.isnan(values)).astype(np.float64)
    filled = np.nan_to_num(values)
    means = np.full((resamples, width), np.nan)
    step = max(1, COUNTS_PER_BATCH // max(num_queries, 1))
    for start in range(0, resamples, step):
        number = min(step, resamples - start)
        counts = resampled_counts(num_queries, number, rng)
        with np.errstate(invalid="ignore", divide="ignore"):
            means[start : start + number] = (counts @ filled) / (counts @ has_value)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis=0) / has_value.sum(axis=0)
    low, high = np.full(width, np.nan), np.full(width, np.nan)
    edge = (1 - level) / 2
    for column in np.flatnonzero(has_value.any(axis=0)):
        drawn = means[:, column]
        low[column], high[column] = np.quantile(drawn[~np.isnan(drawn)], [edge, 1 - edge])
    return Intervals(mean, low, high)


def resampled_counts(num_queries: int, number: int, rng: np.random.Generator) -> Floats:
    """(number, Q) how often each query occurs in each of `number` resamples of Q queries, drawn
    with replacement."""
    drawn = rng.integers(num_queries, size=(number, num_queries)) if num_queries else None
    if drawn is None:
        return np.zeros((number, 0))
    flat = drawn + np.arange(number)[:, None] * num_queries
    counts = np.bincount(flat.ravel(), minlength=number * num_queries)
    return counts.reshape(number, num_queries).astype(np.float64)


class Bucket(NamedTuple):
    """Items of similar popularity.

    Attributes:
        fewest, most: training rows of its items.
        num_items: number of items.
        share: of all training rows.
    """

    fewest: int
    most: int
    num_items: int
    share: float


def popularity_buckets(
    item_counts: NDArray[np.int64], number: int
) -> tuple[NDArray[np.int64], list[Bucket]]:
    """Items from the most to the least popular in up to `number` groups with about the same number
    of training rows each; items with equal counts are in the same group.

    Args:
        item_counts: (R,) training rows of each item num.
        number: of groups, at least 1.

    Returns:
        (R,) the group of each item, -1 without a training row; and the groups that are not empty.
    """
    counts = distinct_values(item_counts[item_counts > 0])[::-1]
    rows = np.bincount(item_counts)[counts] * counts
    before = (np.cumsum(rows) - rows) / max(rows.sum(), 1)
    place = np.unique(np.floor(before * number).astype(np.int64), return_inverse=True)[1]
    group_of_count = np.full(int(item_counts.max(initial=0)) + 1, -1, dtype=np.int64)
    group_of_count[counts] = place
    groups = group_of_count[item_counts]
    buckets = []
    for group in range(int(place.max(initial=-1)) + 1):
        inside = item_counts[groups == group]
        share = float(inside.sum() / item_counts.sum())
        buckets.append(Bucket(int(inside.min()), int(inside.max()), len(inside), share))
    return groups, buckets


def relevant_in_group(relevant: Ragged, groups: NDArray[np.int64], group: int) -> Ragged:
    """Q lists of the relevant items of one group; items outside the catalogue (-1) are in group -1.

    Args:
        relevant: Q lists.
        groups: (R,) the group of each item num.
        group: the number of the group.
    """
    inside = relevant.values >= 0
    own = np.full(len(relevant.values), -1, dtype=np.int64)
    own[inside] = groups[relevant.values[inside]]
    rows = own == group
    return Ragged.group(relevant.keys()[rows], relevant.values[rows], len(relevant))
