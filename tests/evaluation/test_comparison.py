from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from twotower.data.arrays.ragged import Ragged
from twotower.evaluation.comparison import (
    Bucket,
    bootstrap_intervals,
    popularity_buckets,
    relevant_in_group,
    resampled_counts,
)


def test_intervals_are_those_of_scipy() -> None:
    values = np.random.default_rng(0).random((60, 3))
    values[values < 0.1] = np.nan
    found = bootstrap_intervals(values, rng=np.random.default_rng(1))
    expected = stats.bootstrap(
        (values.T,), np.nanmean, axis=-1, n_resamples=2000, method="percentile", rng=1
    ).confidence_interval
    np.testing.assert_allclose(found.low, expected.low, rtol=1e-12)
    np.testing.assert_allclose(found.high, expected.high, rtol=1e-12)


def test_intervals_are_near_those_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=(400, 2))
    found = bootstrap_intervals(values, rng=np.random.default_rng(1))
    error = stats.sem(values, axis=0)
    assert found.mean == pytest.approx(values.mean(axis=0))
    assert found.low == pytest.approx(values.mean(axis=0) - 1.96 * error, abs=0.02)
    assert found.high == pytest.approx(values.mean(axis=0) + 1.96 * error, abs=0.02)


def test_a_wider_level_is_a_wider_interval() -> None:
    values = np.random.default_rng(0).random((50, 1))
    narrow, wide = (
        bootstrap_intervals(values, rng=np.random.default_rng(1), level=level)
        for level in (0.5, 0.99)
    )
    assert wide.low[0] < narrow.low[0] < narrow.high[0] < wide.high[0]


def test_what_is_missing_is_left_out_of_its_own_column_alone() -> None:
    full = np.random.default_rng(0).random((30, 1))
    holes = np.where(np.arange(30)[:, None] % 3 == 0, np.nan, full)
    nothing = np.full((30, 1), np.nan)
    found = bootstrap_intervals(
        np.hstack([full, holes, nothing]), rng=np.random.default_rng(1), resamples=200
    )
    alone = bootstrap_intervals(full, rng=np.random.default_rng(1), resamples=200)
    assert [figure[0] for figure in found] == pytest.approx([figure[0] for figure in alone])
    assert found.mean[1] == pytest.approx(np.nanmean(holes))
    assert found.low[1] < found.mean[1] < found.high[1]
    assert np.isnan([found.mean[2], found.low[2], found.high[2]]).all()


def test_differences_in_one_resampling_are_paired() -> None:
    rng = np.random.default_rng(0)
    first = rng.random(200)
    second = first + 0.01  # better for every query: no resample can turn that round
    found = bootstrap_intervals((second - first)[:, None], rng=rng)
    assert found.low[0] == pytest.approx(0.01)
    assert found.high[0] == pytest.approx(0.01)


def test_one_query_has_no_width() -> None:
    found = bootstrap_intervals(np.array([[0.25]]), rng=np.random.default_rng(0))
    assert (found.mean[0], found.low[0], found.high[0]) == (0.25, 0.25, 0.25)


def test_a_resample_has_as_many_queries_as_there_are() -> None:
    counts = resampled_counts(7, 5, np.random.default_rng(0))
    assert counts.shape == (5, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert resampled_counts(0, 5, np.random.default_rng(0)).shape == (5, 0)


def test_buckets_share_the_training_rows() -> None:
    # Sorted: 8, 4, 2, 2, 1, 1, 1, 1 of 20 rows: two groups of 8 + 4 and 2 + 2 + 1 + 1 + 1 + 1.
    counts = np.array([0, 1, 8, 2, 1, 0, 4, 2, 1, 1])
    groups, buckets = popularity_buckets(counts, 2)
    assert groups.tolist() == [-1, 1, 0, 1, 1, -1, 0, 1, 1, 1]
    assert buckets == [Bucket(4, 8, 2, 0.6), Bucket(1, 2, 6, 0.4)]


def test_items_taken_as_often_are_in_one_bucket() -> None:
    groups, buckets = popularity_buckets(np.full(10, 3), 5)
    assert groups.tolist() == [0] * 10
    assert buckets == [Bucket(3, 3, 10, 1.0)]
    groups, buckets = popularity_buckets(np.zeros(4, dtype=np.int64), 5)
    assert groups.tolist() == [-1] * 4
    assert buckets == []


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60).filter(any), st.integers(1, 8))
def test_every_taken_item_is_in_a_bucket(drawn: list[int], number: int) -> None:
    counts = np.array(drawn)
    groups, buckets = popularity_buckets(counts, number)
    assert 1 <= len(buckets) <= number
    assert ((groups >= 0) == (counts > 0)).all()
    assert sum(bucket.num_items for bucket in buckets) == (counts > 0).sum()
    assert sum(bucket.share for bucket in buckets) == pytest.approx(1.0)
    for above, below in itertools.pairwise(buckets):
        assert above.fewest > below.most


def test_relevant_items_of_a_group() -> None:
    relevant = Ragged.group(np.array([0, 0, 1, 2]), np.array([3, 1, -1, 3]), 3)
    groups = np.array([-1, 0, 0, 1])
    assert [found.tolist() for found in relevant_in_group(relevant, groups, 1)] == [[3], [], [3]]
    assert [found.tolist() for found in relevant_in_group(relevant, groups, 0)] == [[1], [], []]
    assert [found.tolist() for found in relevant_in_group(relevant, groups, -1)] == [[], [-1], []]
