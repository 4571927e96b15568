"""How sure a difference is: bootstrap intervals and paired tests over queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

RESAMPLES = 2000
MAX_EXACT = 16
"""Up to so many queries that differ, all ways to swap the systems are counted."""


@dataclass(frozen=True)
class PairedTest:
    """Two systems on the same queries.

    Attributes:
        difference: mean of first minus second.
        low, high: its 95 % bootstrap interval.
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
    """The percentile interval (Efron 1979) of the mean of per-query values (Q,), NaN left out.

    Of a single value, or of equal ones, it has no width: the sample cannot tell how far it is off.
    (nan, nan) without a value.
    """
    told = values[~np.isnan(values)]
    if not len(told):
        return float("nan"), float("nan")
    means = np.array(
        [told[rng.integers(len(told), size=len(told))].mean() for _ in range(RESAMPLES)]
    )
    edge = (1 - level) / 2
    low, high = np.quantile(means, [edge, 1 - edge])
    return float(low), float(high)


def paired_test(first: Floats, second: Floats, *, rng: np.random.Generator) -> PairedTest:
    """Compare two systems query by query; a query that is NaN for either is left out.

    Args:
        first: (Q,) values of a metric.
        second: (Q,) of the other system, the same queries in the same order.
        rng: draws the bootstrap.

    Raises:
        ValueError: the arrays are not of one length.
    """
    if first.shape != second.shape:
        raise ValueError(
            "The 'first' and 'second' parameters must have the same shape. "
            f"Got {first.shape} and {second.shape} instead."
        )
    gaps = first - second
    gaps = gaps[~np.isnan(gaps)]
    if not len(gaps):
        return PairedTest(float("nan"), float("nan"), float("nan"), 1.0, 0)
    low, high = bootstrap_interval(gaps, rng=rng)
    return PairedTest(float(gaps.mean()), low, high, paired_p_value(gaps), len(gaps))


def paired_p_value(gaps: Floats) -> float:
    """How often chance alone, which swaps the two systems on each query by the throw of a coin,
    gives a mean difference at least as far from 0; two-sided.

    Where at most `MAX_EXACT` queries differ, all swaps are counted (Fisher's randomisation test;
    of 4 queries that all favour one system, p = 2 / 2^4). Beyond, the paired t-test, which agrees
    with it on so many (Smucker, Allan & Carterette 2007). Without a difference 1.

    Args:
        gaps: (Q,) differences, no NaN.
    """
    different = gaps[gaps != 0]
    if len(different) <= MAX_EXACT:
        return _share_of_swaps(different)
    mean, deviation = gaps.mean(), gaps.std(ddof=1)
    # Gaps that are equal but for rounding: the t statistic would be noise.
    if deviation <= 1e-12 * abs(mean):
        return float(2.0 ** (1 - len(different)))
    t_value = mean / (deviation / np.sqrt(len(gaps)))
    return float(2 * stats.t.sf(abs(t_value), len(gaps) - 1))


def _share_of_swaps(different: Floats) -> float:
    count = len(different)
    bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    sums = np.abs((2.0 * bits - 1.0) @ different)
    rounding = 1e-12 * np.abs(different).sum()
    return float((sums >= abs(different.sum()) - rounding).mean())
