"""The order of equal scores, and places in ascending arrays."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.data.arrays.top_k import COLUMNS_PER_GROUP, places_of, top_k


@given(
    st.integers(1, 12),
    st.integers(1, 6 * COLUMNS_PER_GROUP),
    st.integers(1, 9),
    st.integers(1, 4),
    st.data(),
)
@settings(deadline=None)
def test_equal_scores_come_in_the_order_of_columns(
    rows: int, columns: int, k: int, levels: int, data: st.DataObject
) -> None:
    seed = data.draw(st.integers(0, 1000))
    drawn = np.random.default_rng(seed).integers(0, levels, (rows, columns)).astype(np.float32)
    drawn[drawn == 0] = -np.inf
    k = min(k, columns)
    values, places = top_k(torch.from_numpy(drawn), k)
    order = np.argsort(-drawn, axis=1, kind="stable")[:, :k]
    expected = np.take_along_axis(drawn, order, axis=1)
    assert np.array_equal(values.numpy(), expected)
    there = np.isfinite(expected)
    assert np.array_equal(places.numpy()[there], order[there])


def test_places_by_hand() -> None:
    nums = np.array([2, 5, 9])
    assert places_of(nums, np.array([5, 9, 3, -1, 10])).tolist() == [1, 2, -1, -1, -1]
    assert places_of(nums[:0], np.array([5])).tolist() == [-1]
