"""How sure a difference is: bootstrap intervals and paired tests over queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

RESAMPLES = 2000


@dataclass(frozen=True)
class PairedTest:
    """Two systems on the same queries.

    Attributes:
        difference: mean of first minus second.
        low, high: its 95 % bootstrap interval.
        p_value: of the paired t-test, two-sided; 1 where all pairs are equal.
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
    """The percentile interval (Efron 1979) of the mean of per-query values (Q,), NaN left out;
    (nan, nan) without a value."""
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
    p_value = 1.0
    if len(gaps) > 1 and gaps.std() > 0:
        p_value = float(stats.ttest_1samp(gaps, 0.0).pvalue)
    return PairedTest(float(gaps.mean()), low, high, p_value, len(gaps))
