"""Intervals and paired tests: against scipy, against all swaps written out, on planted truth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from twotower.evaluation import significance
from twotower.evaluation.significance import (
    MAX_EXACT_QUERIES,
    bootstrap_interval,
    holm,
    paired_p_value,
    paired_test,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_interval_is_as_wide_as_the_normal_one() -> None:
    values = rng(1).normal(0.3, 0.2, 2000)
    low, high = bootstrap_interval(values, rng=rng())
    error = values.std() / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    narrow = bootstrap_interval(values, rng=rng(), level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    source = rng(2)
    covered = 0
    for _ in range(100):
        low, high = bootstrap_interval(source.random(50), rng=source)
        covered += low <= 0.5 <= high
    assert 87 <= covered <= 100


def test_interval_of_next_to_nothing() -> None:
    assert bootstrap_interval(np.array([0.25]), rng=rng()) == (0.25, 0.25)
    assert bootstrap_interval(np.array([np.nan, 0.25]), rng=rng()) == (0.25, 0.25)
    assert np.isnan(bootstrap_interval(np.array([np.nan]), rng=rng())).all()
    assert np.isnan(bootstrap_interval(np.zeros(0), rng=rng())).all()


def test_resamples_are_independent_of_the_size_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rng(3).random(80)
    whole = bootstrap_interval(values, rng=rng(7))
    monkeypatch.setattr(significance, "VALUES_PER_BATCH", 800)
    assert bootstrap_interval(values, rng=rng(7)) == pytest.approx(whole, abs=1e-15)


def test_the_interval_is_the_quantiles_of_resampled_means() -> None:
    values = rng(3).random(80)
    drawn = values[rng(7).integers(80, size=(2000, 80))].mean(axis=1)
    assert bootstrap_interval(values, rng=rng(7)) == pytest.approx(
        tuple(np.quantile(drawn, [0.025, 0.975]))
    )


def test_the_same_generator_gives_the_same_interval() -> None:
    values = rng(3).random(80)
    assert bootstrap_interval(values, rng=rng(7)) == bootstrap_interval(values, rng=rng(7))


def test_many_queries_are_tested_as_scipy_does() -> None:
    first, second = rng(4).random(200), rng(5).random(200)
    found = paired_test(first, second, rng=rng())
    assert found.p_value == pytest.approx(float(stats.ttest_rel(first, second).pvalue))
    assert found.difference == pytest.approx(first.mean() - second.mean())
    assert found.low < found.difference < found.high
    assert found.num_queries == 200


def test_swapping_the_systems_turns_the_sign() -> None:
    first, second = rng(4).random(60), rng(5).random(60)
    there, back = paired_test(first, second, rng=rng()), paired_test(second, first, rng=rng())
    assert back.difference == -there.difference
    assert back.p_value == pytest.approx(there.p_value)


def test_identical_arrays() -> None:
    for size in (1, 5, 100):
        values = rng(6).random(size)
        found = paired_test(values, values, rng=rng())
        assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_few_queries_by_hand() -> None:
    # Four queries, all for the first: 2 of the 16 swaps are as extreme.
    assert paired_p_value(np.array([0.1, 0.2, 0.3, 0.4])) == 2 / 16
    # Ties add nothing, however many they are.
    assert paired_p_value(np.array([0.5] * 5 + [0.0] * 10_000)) == 2 / 32
    # The swaps of 3, -1, -1 have sums of size 5, 3, 3 and 1, all at least the observed 1.
    assert paired_p_value(np.array([3.0, -1.0, -1.0])) == 1.0
    assert paired_p_value(np.array([0.7])) == 1.0
    assert paired_p_value(np.zeros(0)) == 1.0


@given(
    st.lists(st.integers(-4, 4).map(lambda value: value / 10), min_size=1, max_size=8),
)
def test_few_queries_count_all_swaps(gaps: list[float]) -> None:
    observed = abs(sum(gaps))
    swaps = [
        abs(sum(sign * gap for sign, gap in zip(signs, gaps, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(gaps))
    ]
    expected = np.mean([swap >= observed - 1e-9 for swap in swaps])
    assert paired_p_value(np.array(gaps)) == pytest.approx(expected)


def test_an_equal_gap_on_all_queries() -> None:
    values = rng(8).random(100)
    for size in (2, MAX_EXACT_QUERIES, 100):
        found = paired_test(values[:size] + 0.1, values[:size], rng=rng())
        assert found.p_value == pytest.approx(2.0 ** (1 - size))
        assert found.difference == pytest.approx(0.1)


def test_both_tests_agree_where_one_gives_way_to_the_other() -> None:
    gaps = rng(9).normal(0.3, 1, MAX_EXACT_QUERIES)
    assert paired_p_value(gaps) == pytest.approx(
        float(stats.ttest_1samp(gaps, 0).pvalue), rel=0.1, abs=0.01
    )


def test_p_values_are_uniform_where_nothing_differs() -> None:
    source = rng(10)
    p_values = np.array([paired_p_value(source.normal(size=40)) for _ in range(1000)])
    assert 0.03 < (p_values < 0.05).mean() < 0.07
    assert 0.46 < np.median(p_values) < 0.54


def test_queries_that_say_nothing_are_left_out() -> None:
    first = np.array([0.5, np.nan, 1.0, 0.25])
    second = np.array([0.25, 0.1, np.nan, 0.0])
    found = paired_test(first, second, rng=rng())
    assert (found.num_queries, found.difference, found.p_value) == (2, 0.25, 0.5)
    nothing = paired_test(np.array([np.nan]), np.array([1.0]), rng=rng())
    assert (nothing.num_queries, nothing.p_value) == (0, 1.0)
    assert np.isnan(nothing.difference)


def test_arrays_of_two_lengths() -> None:
    with pytest.raises(ValueError, match="same shape") as error:
        paired_test(np.zeros(2), np.zeros(3), rng=rng())
    assert str(error.value) == (
        "The 'first' and 'second' parameters must have the same shape. Got (2,) and (3,) instead."
    )


# --- several tests ---


def test_holm_by_hand() -> None:
    # 3 x .01, then 2 x .02 = .04, then max(1 x .03, .04).
    assert holm(np.array([0.02, 0.01, 0.03])) == pytest.approx([0.04, 0.03, 0.04])
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.5, 0.6])) == pytest.approx([1.0, 1.0])
    assert holm(np.zeros(0)).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_none_and_bonferroni(drawn: list[float]) -> None:
    raw = np.array(drawn)
    corrected = holm(raw)
    assert (corrected >= raw).all()
    assert (corrected <= np.minimum(len(raw) * raw, 1) + 1e-15).all()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(corrected[order]) >= 0).all()
