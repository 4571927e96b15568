"""The exact index keeps the contract, and its order of equal scores, however it computes."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.index_contract import ITEMS, NUMS, QUERIES, IndexContract, oracle
from twotower.config import IndexConfig
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.top_k import MIN_ROWS
from twotower.index import exact
from twotower.index.exact import ExactIndex


class TestExact(IndexContract):
    def config(self) -> IndexConfig:
        return IndexConfig(kind="exact")


@given(
    st.integers(1, 400),
    st.integers(1, 12),
    st.integers(1, 20),
    st.integers(0, 1000),
    st.sampled_from([exact.SCORES_PER_BLOCK, 7 * MIN_ROWS]),
)
@settings(deadline=None)
def test_agrees_with_the_oracle_on_many_equal_scores(
    count: int, k: int, queries: int, seed: int, scores_per_block: int
) -> None:
    # Small whole numbers: every sum is exact, and many are equal.
    rng = np.random.default_rng(seed)
    items = rng.integers(-1, 2, (count, 4)).astype(np.float32)
    asked = rng.integers(-1, 2, (queries, 4)).astype(np.float32)
    nums = np.sort(rng.choice(1000, count, replace=False)).astype(np.int64)
    allowed = rng.random(1000) < 0.7
    excluded = Ragged.group(rng.integers(0, queries, 30), rng.integers(-1, 1000, 30), queries)
    with patch.object(exact, "SCORES_PER_BLOCK", scores_per_block):
        found = ExactIndex(items, nums).search(asked, k, allowed=allowed, excluded=excluded)
    expected = oracle(asked, k, items=items, nums=nums, allowed=allowed, excluded=excluded)
    assert np.array_equal(found.item_nums, expected.item_nums)
    assert np.array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("limit", ["SCORES_PER_BLOCK", "ROWS_PER_BLOCK"])
def test_queries_are_answered_some_at_a_time(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    index = ExactIndex(ITEMS, NUMS)
    excluded = Ragged.group(np.arange(60), oracle(QUERIES, 1).item_nums[:, 0], 60)
    whole = index.search(QUERIES, 10, excluded=excluded)
    monkeypatch.setattr(exact, limit, 1)
    cut = index.search(QUERIES, 10, excluded=excluded)
    assert np.array_equal(cut.item_nums, whole.item_nums)
    np.testing.assert_allclose(cut.scores, whole.scores, atol=1e-6)


def test_equal_items_have_equal_scores_for_one_query_and_for_many() -> None:
    items = np.tile(ITEMS[:37], (10, 1))
    for count in (1, 3, 60):
        found = ExactIndex(items, NUMS[:370]).search(QUERIES[:count], 370)
        places = np.searchsorted(NUMS, found.item_nums)
        scores = np.zeros((count, 370), dtype=np.float32)
        np.put_along_axis(scores, places, found.scores, axis=1)
        assert (scores.reshape(count, 10, 37) == scores[:, None, :37]).all()


def test_the_index_keeps_what_it_was_given() -> None:
    items, queries = ITEMS[:50].copy(), QUERIES.copy()
    ExactIndex(items, NUMS[:50]).search(queries, 5, allowed=np.ones(200, dtype=np.bool_))
    assert np.array_equal(items, ITEMS[:50])
    assert np.array_equal(queries, QUERIES)
