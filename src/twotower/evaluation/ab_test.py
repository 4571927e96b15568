"""Comparison of the variants of an A/B test. The unit of analysis is the user, as users were
randomised; answers to one user are not independent of each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from twotower.evaluation.significance import holm

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONFIDENCE_LEVEL = 0.95
MIN_EXPECTED_USERS = 5
"""Below this many expected users in a cell of the table, the exact test is used."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; NaN without users."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class VariantComparison:
    """A variant against the first one, the control.

    Attributes:
        difference: the variant minus the control, with its interval.
        p_value: two-sided; for several variants corrected with Holm's method (1979).
    """

    difference: Estimate
    p_value: float


@dataclass(frozen=True)
class VariantResult:
    """Outcome of one variant.

    Attributes:
        users: who got at least one answer.
        answers: number of answers to them.
        events: counted events after a user's first answer.
        converted: users with at least one counted event.
        conversion: converted / users, with Wilson's interval (1927).
        events_per_answer: events / answers, with an interval by the delta method over users (Deng,
            Knoblich & Lu 2018, section 3).
        conversion_gain, events_per_answer_gain: against the control; None for the control itself.
    """

    users: int
    answers: int
    events: int
    converted: int
    conversion: Estimate
    events_per_answer: Estimate
    conversion_gain: VariantComparison | None = None
    events_per_answer_gain: VariantComparison | None = None


def compare_variants(
    variant: Ints, answers: Ints, events: Ints, num_variants: int
) -> list[VariantResult]:
    """Compare the variants of an A/B test.

    Args:
        variant: (U,) 0 ... num_variants - 1, the variant of each user; 0 is the control.
        answers: (U,) answers to each user, at least 1.
        events: (U,) counted events of each user.
        num_variants: at least 1; a variant may have no users.

    Raises:
        ValueError: the arrays differ in shape.
    """
    if not variant.shape == answers.shape == events.shape:
        raise ValueError(
            "The 'variant', 'answers' and 'events' parameters must have the same shape. Got "
            f"{variant.shape}, {answers.shape} and {events.shape} instead."
        )
    chosen = [variant == number for number in range(num_variants)]
    parts = [(answers[mask].astype(float), events[mask].astype(float)) for mask in chosen]
    results = [_variant_result(*part) for part in parts]
    conversion = [_compare_shares(result, results[0]) for result in results[1:]]
    ratio = [_compare_ratios(part, parts[0]) for part in parts[1:]]
    gains = zip(results[1:], _adjusted(conversion), _adjusted(ratio), strict=True)
    return [
        results[0],
        *(
            replace(result, conversion_gain=first, events_per_answer_gain=second)
            for result, first, second in gains
        ),
    ]


def sample_ratio_p_value(users: Sequence[int], shares: Sequence[float]) -> float:
    """The p-value of a sample ratio mismatch: a chi-squared test of the numbers of users against
    their configured shares. Below 0.001 something other than the assignment decided which users
    were counted, and the comparison is invalid (Fabijan et al. 2019). 1 without users.
    """
    total = sum(users)
    if not total:
        return 1.0
    expected = np.asarray(shares, dtype=float) * total
    return float(stats.chisquare(np.asarray(users, dtype=float), expected).pvalue)


# --- proportions of users -------------------------------------------------------------------------


def wilson_interval(converted: int, users: int) -> Estimate:
    """A proportion with its score interval (Wilson 1927), which lies within [0, 1] and has a width
    even where no user or all users converted."""
    if not users:
        return Estimate(math.nan, math.nan, math.nan)
    z = _z()
    share = converted / users
    middle = (share + z * z / (2 * users)) / (1 + z * z / users)
    spread = math.sqrt(share * (1 - share) / users + z * z / (4 * users * users))
    half = z * spread / (1 + z * z / users)
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half))


def newcombe_interval(first: Estimate, second: Estimate) -> Estimate:
    """The difference of two proportions, with an interval from their score intervals (Newcombe
    1998, method 10)."""
    gap = first.value - second.value
    down = math.hypot(first.value - first.low, second.high - second.value)
    up = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(gap, gap - down, gap + up)


def shares_p_value(converted: Sequence[int], users: Sequence[int]) -> float:
    """The p-value of a difference of two proportions: the chi-squared test, or Fisher's exact test
    where fewer than `MIN_EXPECTED_USERS` users are expected in a cell. 1 where no user or all users
    converted."""
    table = np.array([converted, np.subtract(users, converted)], dtype=float).T
    if not (table.sum(axis=0).all() and table.sum(axis=1).all()):
        return 1.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    if expected.min() < MIN_EXPECTED_USERS:
        return float(stats.fisher_exact(table.astype(int)).pvalue)
    return float(stats.chi2_contingency(table, correction=False).pvalue)


def _compare_shares(result: VariantResult, control: VariantResult) -> VariantComparison:
    return VariantComparison(
        newcombe_interval(result.conversion, control.conversion),
        shares_p_value([result.converted, control.converted], [result.users, control.users]),
    )


# --- ratios of sums over users ------------------------------------------------------------------


def ratio_and_variance(answers: Floats, events: Floats) -> tuple[float, float]:
    """Sum of events / sum of answers, and the variance of that ratio over users by the delta
    method: var(e - r a) / (U mean(a)^2). Both NaN without users, the variance NaN with one user."""
    users = len(answers)
    if not users:
        return math.nan, math.nan
    ratio = float(events.sum() / answers.sum())
    if users == 1:
        return ratio, math.nan
    residuals = events - ratio * answers
    return ratio, float(residuals.var(ddof=1) / (users * answers.mean() ** 2))


def _compare_ratios(
    part: tuple[Floats, Floats], control: tuple[Floats, Floats]
) -> VariantComparison:
    (first, first_variance), (second, second_variance) = (
        ratio_and_variance(*part),
        ratio_and_variance(*control),
    )
    gap, variance = first - second, first_variance + second_variance
    if math.isnan(variance):
        return VariantComparison(Estimate(gap, math.nan, math.nan), 1.0)
    if not variance:
        return VariantComparison(Estimate(gap, gap, gap), float(gap == 0))
    return VariantComparison(
        _normal(gap, variance), float(2 * stats.norm.sf(abs(gap) / math.sqrt(variance)))
    )


def _variant_result(answers: Floats, events: Floats) -> VariantResult:
    converted = int((events > 0).sum())
    return VariantResult(
        users=len(answers),
        answers=int(answers.sum()),
        events=int(events.sum()),
        converted=converted,
        conversion=wilson_interval(converted, len(answers)),
        events_per_answer=_normal(*ratio_and_variance(answers, events)),
    )


def _normal(value: float, variance: float) -> Estimate:
    half = _z() * math.sqrt(variance) if variance >= 0 else math.nan
    return Estimate(value, value - half, value + half)


def _z() -> float:
    return float(stats.norm.ppf((1 + CONFIDENCE_LEVEL) / 2))


def _adjusted(comparisons: Sequence[VariantComparison]) -> list[VariantComparison]:
    adjusted = holm(np.array([comparison.p_value for comparison in comparisons]))
    return [
        VariantComparison(comparison.difference, float(p_value))
        for comparison, p_value in zip(comparisons, adjusted, strict=True)
    ]
