"""Statistical significance: bootstrap intervals, paired tests over queries, corrected p-values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

NUM_RESAMPLES = 2000
VALUES_PER_BATCH = 1 << 21
"""Resampled values in memory at once: with their indices 32 MB."""
MAX_EXACT_QUERIES = 16
"""Up to this many queries that differ, all ways to swap the two systems are enumerated."""


@dataclass(frozen=True)
class PairedTest:
    """Two systems on the same queries.

    Attributes:
        difference: mean of first minus second.
        low, high: its 95% bootstrap interval.
        p_value: two-sided; 1 where all pairs are equal. See `paired_p_value`.
        num_queries: pairs compared.
    """

    difference: float
    low: float
    high: float
    p_value: float
    num_queries: int


def bootstrap_interval(
    values: Floats, *, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float]:
    """The percentile interval (Efron 1979) of the mean of per-query values (Q,), ignoring NaN.

    For a single value, or equal ones, the interval has no width: the sample does not show the
    error. (nan, nan) without a value.
    """
    values = values[~np.isnan(values)]
    if len(values) < 2:
        value = float(values[0]) if len(values) else float("nan")
        return value, value
    interval = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=NUM_RESAMPLES,
        batch=max(1, VALUES_PER_BATCH // len(values)),
        method="percentile",
        confidence_level=level,
        rng=rng,
    ).confidence_interval
    return float(interval.low), float(interval.high)


def paired_test(first: Floats, second: Floats, *, rng: np.random.Generator) -> PairedTest:
    """Compare two systems query by query, ignoring queries that are NaN for either.

    Args:
        first: (Q,) values of a metric.
        second: (Q,) of the other system, the same queries in the same order.
        rng: draws the bootstrap resamples.

    Raises:
        ValueError: the arrays differ in length.
    """
    if first.shape != second.shape:
        raise ValueError(
            "The 'first' and 'second' parameters must have the same shape. "
            f"Got {first.shape} and {second.shape} instead."
        )
    differences = first - second
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        return PairedTest(float("nan"), float("nan"), float("nan"), 1.0, 0)
    low, high = bootstrap_interval(differences, rng=rng)
    return PairedTest(
        float(differences.mean()), low, high, paired_p_value(differences), len(differences)
    )


def paired_p_value(differences: Floats) -> float:
    """The probability of a mean difference at least as far from 0 if both systems were equally
    good, so that swapping them on any query were as likely; two-sided.

    Where at most `MAX_EXACT_QUERIES` queries differ, all swaps are enumerated (Fisher's
    randomisation test; for 4 queries that all favour one system, p = 2 / 2^4). Beyond, the paired
    t-test, which agrees with it for that many (Smucker, Allan & Carterette 2007). 1 where no query
    differs.

    Args:
        differences: (Q,) of the two systems, no NaN.
    """
    nonzero = differences[differences != 0]
    if len(nonzero) <= MAX_EXACT_QUERIES:
        return _randomisation_p_value(nonzero)
    mean, deviation = differences.mean(), differences.std(ddof=1)
    # Differences that are equal except for rounding: the t statistic would be noise.
    if deviation <= 1e-12 * abs(mean):
        return float(2.0 ** (1 - len(nonzero)))
    t_value = mean / (deviation / np.sqrt(len(differences)))
    return float(2 * stats.t.sf(abs(t_value), len(differences) - 1))


def _randomisation_p_value(nonzero: Floats) -> float:
    """The share of the 2^n sign flips of n differences whose sum is at least as far from 0."""
    count = len(nonzero)
    bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    sums = np.abs((2.0 * bits - 1.0) @ nonzero)
    rounding = 1e-12 * np.abs(nonzero).sum()
    return float((sums >= abs(nonzero.sum()) - rounding).mean())


def holm(p_values: Floats) -> Floats:
    """Holm's step-down correction (1979) of p-values (T,): rejecting those below a level keeps the
    probability of any false rejection among the T tests at that level.

    The j-th smallest (from 0) becomes the largest of (T - i) p_i over i <= j, at most 1. Empty
    without a test.
    """
    number = len(p_values)
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate((number - np.arange(number)) * p_values[order])
    corrected = np.empty(number)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected
