"""Variants of an A/B experiment, compared. The unit is the user, whom the hash assigned, never the
answer: answers of one user are not independent of each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEVEL = 0.95
FEW = 5
"""Fewer expected users in a cell than this, and the exact test is used."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN where there are no users."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class VariantComparison:
    """A variant against the first one.

    Attributes:
        difference: the variant minus the first, with its interval.
        p_value: two-sided; of several variants multiplied by Holm's (1979) step-down rule.
    """

    difference: Estimate
    p_value: float


@dataclass(frozen=True)
class VariantResult:
    """What the users of a variant did.

    Attributes:
        users: how many were answered.
        answers: given to them.
        events: of the kind that counts, after their first answer.
        converted: users with at least one.
        conversion: converted / users; Wilson's interval (1927).
        events_per_answer: events / answers; interval by the delta method over users (Deng, Knoblich
            & Lu 2018, section 3).
        conversion_gain, events_per_answer_gain: against the first variant; None for itself.
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
    """Compare the variants of an experiment.

    Args:
        variant: (U,) 0 ... num_variants - 1 of each user; 0 is what the others are compared with.
        answers: (U,) how many each was given, at least 1.
        events: (U,) how many each user's events are.
        num_variants: at least 1; one may be without users.

    Raises:
        ValueError: the arrays are not of one shape.
    """
    if not variant.shape == answers.shape == events.shape:
        raise ValueError(
            "The 'variant', 'answers' and 'events' parameters must have the same shape. Got "
            f"{variant.shape}, {answers.shape} and {events.shape} instead."
        )
    chosen = [variant == number for number in range(num_variants)]
    parts = [(answers[mask].astype(float), events[mask].astype(float)) for mask in chosen]
    results = [_describe(given, done) for given, done in parts]
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
    """How likely numbers of users as far from their shares are by chance (chi-squared). Below 0.001
    something other than the hash chose who was counted, and the comparison means nothing (Fabijan
    et al. 2019). Without users, 1.
    """
    total = sum(users)
    if not total:
        return 1.0
    expected = np.asarray(shares, dtype=float) * total
    return float(stats.chisquare(np.asarray(users, dtype=float), expected).pvalue)


# --- shares of users ----------------------------------------------------------------------------


def wilson_interval(converted: int, users: int) -> Estimate:
    """A share with the score interval (Wilson 1927): inside 0 ... 1 and of a width even where none
    or all converted."""
    if not users:
        return Estimate(math.nan, math.nan, math.nan)
    z = _z()
    share = converted / users
    middle = (share + z * z / (2 * users)) / (1 + z * z / users)
    spread = math.sqrt(share * (1 - share) / users + z * z / (4 * users * users))
    half = z * spread / (1 + z * z / users)
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half))


def newcombe_interval(first: Estimate, second: Estimate) -> Estimate:
    """First minus second share, with the interval that their score intervals give (Newcombe 1998,
    method 10)."""
    gap = first.value - second.value
    down = math.hypot(first.value - first.low, second.high - second.value)
    up = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(gap, gap - down, gap + up)


def shares_p_value(converted: Sequence[int], users: Sequence[int]) -> float:
    """Whether two shares differ: the chi-squared test, or Fisher's exact test where fewer than FEW
    users are expected in a cell. Where nobody or everybody converted, 1."""
    table = np.array([converted, np.subtract(users, converted)], dtype=float).T
    if not (table.sum(axis=0).all() and table.sum(axis=1).all()):
        return 1.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    if expected.min() < FEW:
        return float(stats.fisher_exact(table.astype(int)).pvalue)
    return float(stats.chi2_contingency(table, correction=False).pvalue)


def _compare_shares(result: VariantResult, control: VariantResult) -> VariantComparison:
    return VariantComparison(
        newcombe_interval(result.conversion, control.conversion),
        shares_p_value([result.converted, control.converted], [result.users, control.users]),
    )


# --- ratios of sums over users ------------------------------------------------------------------


def ratio_and_variance(answers: Floats, events: Floats) -> tuple[float, float]:
    """Sum of events / sum of answers, and the variance of that ratio by the delta method, users
    being drawn: var(e - r a) / (U mean(a)^2). NaN without users; the variance, with one."""
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


def _describe(answers: Floats, events: Floats) -> VariantResult:
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
    return float(stats.norm.ppf((1 + LEVEL) / 2))


def _adjusted(comparisons: Sequence[VariantComparison]) -> list[VariantComparison]:
    adjusted = holm([comparison.p_value for comparison in comparisons])
    return [
        VariantComparison(comparison.difference, p_value)
        for comparison, p_value in zip(comparisons, adjusted, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted so that the chance of any false finding among them stays at the level
    (Holm 1979): the smallest times their number, the next times one less, never falling."""
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for place, number in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, p_values[number] * (len(p_values) - place)))
        adjusted[number] = highest
    return adjusted
