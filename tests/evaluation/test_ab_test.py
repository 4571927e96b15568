"""Variants compared: intervals and tests against published numbers, other libraries and chance."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from twotower.evaluation.ab_test import (
    compare_variants,
    newcombe_interval,
    ratio_and_variance,
    sample_ratio_p_value,
    shares_p_value,
    wilson_interval,
)


@pytest.mark.parametrize(("converted", "users"), [(81, 263), (15, 148), (0, 20), (1, 29), (5, 5)])
def test_wilson_is_scipys(converted: int, users: int) -> None:
    found = wilson_interval(converted, users)
    expected = stats.binomtest(converted, users).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == converted / users


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        # Newcombe (1998), table II, method 10: examples (a) to (d).
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
    ],
)
def test_newcombe_gives_the_published_intervals(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    found = newcombe_interval(wilson_interval(*first), wilson_interval(*second))
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_p_values_of_shares() -> None:
    assert shares_p_value([3, 1], [4, 4]) == pytest.approx(0.4857142857)  # the lady tasting tea
    large = shares_p_value([120, 90], [1000, 1000])
    z = (0.12 - 0.09) / math.sqrt(0.105 * 0.895 * 2 / 1000)
    assert large == pytest.approx(2 * stats.norm.sf(z))
    assert shares_p_value([0, 0], [10, 10]) == 1.0
    assert shares_p_value([10, 10], [10, 10]) == 1.0
    assert shares_p_value([0, 3], [0, 10]) == 1.0


def test_the_variance_of_a_ratio_is_that_of_resampled_users() -> None:
    rng = np.random.default_rng(0)
    answers = rng.integers(1, 20, size=400).astype(float)
    events = rng.binomial(answers.astype(int), rng.beta(2, 8, size=400)).astype(float)
    ratio, variance = ratio_and_variance(answers, events)
    assert ratio == events.sum() / answers.sum()
    drawn = rng.integers(400, size=(4000, 400))
    ratios = events[drawn].sum(axis=1) / answers[drawn].sum(axis=1)
    assert math.sqrt(variance) == pytest.approx(ratios.std(), rel=0.05)
    # Answers as the unit would claim to know more than the users can tell.
    assert variance > ratio * (1 - ratio) / answers.sum()


def test_a_comparison_worked_out_by_hand() -> None:
    control, other = compare_variants(
        np.array([0, 0, 0, 0, 1, 1, 1, 1]),
        np.array([1, 1, 1, 1, 2, 2, 2, 2]),
        np.array([1, 0, 0, 0, 2, 1, 2, 1]),
        2,
    )
    assert (control.users, control.answers, control.events, control.converted) == (4, 4, 1, 1)
    assert (other.users, other.answers, other.events, other.converted) == (4, 8, 6, 4)
    assert control.conversion.value == 0.25
    assert control.conversion_gain is None
    assert other.conversion_gain is not None
    assert other.conversion_gain.difference.value == 0.75
    assert other.conversion_gain.p_value == pytest.approx(2 * 4 / 56)  # Fisher, by counting
    assert other.events_per_answer.value == 0.75
    assert other.events_per_answer_gain is not None
    # Variances: 0.25 / 4 = 1/16 of the first; (1/3) / (4 * 2^2) = 1/48 of the second.
    half = 1.959964 * math.sqrt(1 / 16 + 1 / 48)
    difference = astuple(other.events_per_answer_gain.difference)
    assert difference == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    assert other.events_per_answer_gain.p_value == pytest.approx(
        2 * stats.norm.sf(0.5 / math.sqrt(1 / 12))
    )


def test_variants_that_are_equal_are_found_different_as_often_as_promised() -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(600):
        variant = rng.integers(2, size=300)
        answers = 1 + rng.poisson(3, size=300)
        events = rng.binomial(answers, rng.beta(1, 4, size=300))
        other = compare_variants(variant, answers, events, 2)[1]
        assert other.conversion_gain is not None
        assert other.events_per_answer_gain is not None
        found.append([other.conversion_gain.p_value, other.events_per_answer_gain.p_value])
    # 5% of 600, give or take four standard deviations.
    assert (np.array(found) < 0.05).sum(axis=0) == pytest.approx([30, 30], abs=21)


def test_three_variants_are_judged_together() -> None:
    rng = np.random.default_rng(2)
    variant = np.arange(3000) % 3
    events = (rng.random(3000) < np.array([0.1, 0.15, 0.1])[variant]).astype(int)
    answers = np.ones(3000, dtype=np.int64)
    _, second, third = compare_variants(variant, answers, events, 3)
    assert second.conversion_gain is not None
    assert third.conversion_gain is not None
    alone = shares_p_value([second.converted, compare_first(events, variant)], [1000, 1000])
    assert second.conversion_gain.p_value == pytest.approx(2 * alone)
    assert third.conversion_gain.p_value > 0.05


def compare_first(events: np.ndarray, variant: np.ndarray) -> int:
    return int(events[variant == 0].sum())


def test_a_variant_without_users() -> None:
    some = np.array([0, 0])
    control, nobody = compare_variants(some, some + 1, some, 2)
    assert nobody.users == 0
    assert math.isnan(nobody.conversion.value)
    assert math.isnan(nobody.events_per_answer.value)
    assert nobody.conversion_gain is not None
    assert nobody.conversion_gain.p_value == 1.0
    assert nobody.events_per_answer_gain is not None
    assert nobody.events_per_answer_gain.p_value == 1.0
    assert astuple(control.conversion) == pytest.approx((0.0, 0.0, 0.6576), abs=1e-4)


def test_arrays_of_different_shapes() -> None:
    with pytest.raises(ValueError, match=r"Got \(2,\), \(2,\) and \(3,\) instead\."):
        compare_variants(np.zeros(2, int), np.ones(2, int), np.zeros(3, int), 2)


def test_sample_ratios() -> None:
    assert sample_ratio_p_value([5000, 5100], [0.5, 0.5]) > 0.001
    assert sample_ratio_p_value([5000, 5500], [0.5, 0.5]) < 0.001
    assert sample_ratio_p_value([900, 100], [0.9, 0.1]) == 1.0
    assert sample_ratio_p_value([0, 0], [0.9, 0.1]) == 1.0
