"""The popularity baseline, by hand and against a plain loop."""

from __future__ import annotations

import tracemalloc

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.config import FeaturesConfig
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import POPULAR
from twotower.data.dataset.entities import EntityTable
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.schema import Schema
from twotower.models.baselines.popularity_ranker import PopularityRanker, row_blocks

FIRST = 2


def tables(num_users: int, num_items: int) -> tuple[EntityTable, EntityTable]:
    """Users 0 .. and items 0 .., all in training, with the nums 2 .."""
    size = max(num_users, num_items)
    log = pl.DataFrame(
        {
            "user_id": [row % num_users for row in range(size)],
            "item_id": [row % num_items for row in range(size)],
        }
    )
    schema = Schema.fit(FeaturesConfig.model_validate({}), interactions=log, users=None, items=None)
    return EntityTable(schema, "user", None), EntityTable(schema, "item", None)


def part(users: list[int], items: list[int], num_users: int, num_items: int) -> Interactions:
    user_table, item_table = tables(num_users, num_items)
    return Interactions(
        user_table,
        item_table,
        np.array(users, dtype=np.int32),
        np.array(items, dtype=np.int32),
        np.ones(len(users), dtype=np.float32),
        None,
        {},
    )


TRAIN = part(users=[2, 3, 4, 2, 3, 2], items=[4, 4, 4, 5, 5, 3], num_users=4, num_items=5)
"""Item 4 three times, 5 twice, 3 once, 2 and 6 never; user 5 has no row."""


def test_by_hand() -> None:
    found = PopularityRanker.fit(TRAIN).top_k(np.array([5, 4, 2]), 3)
    assert found.item_nums.tolist() == [[4, 5, 3], [5, 3, 2], [2, 6, -1]]
    assert found.scores.tolist() == [[3, 2, 1], [2, 1, 0], [0, 0, -np.inf]]
    assert found.path.tolist() == [POPULAR] * 3
    assert found.item_nums.dtype == np.int64
    assert found.scores.dtype == np.float32


def test_seen_items_may_be_shown() -> None:
    found = PopularityRanker.fit(TRAIN).top_k(np.array([2]), 2, mask_seen=False)
    assert found.item_nums.tolist() == [[4, 5]]


def test_seen_items_of_ones_own() -> None:
    seen = Ragged.group(np.array([2]), np.array([4]), len(TRAIN.users))
    found = PopularityRanker.fit(TRAIN, seen=seen).top_k(np.array([2, 3]), 1)
    assert found.item_nums.tolist() == [[5], [4]]


def test_excluded_and_allowed_items() -> None:
    popularity = PopularityRanker.fit(TRAIN)
    excluded = Ragged.group(np.array([0, 0, 1]), np.array([4, 2, 3]), 2)
    found = popularity.top_k(np.array([5, 4]), 2, excluded=excluded)
    assert found.item_nums.tolist() == [[5, 3], [5, 2]]
    allowed = np.array([True, True, True, True, False, False, True])
    found = popularity.top_k(np.array([5, 2]), 9, allowed=allowed)
    assert found.item_nums.tolist() == [[3, 2, 6] + [-1] * 6, [2, 6] + [-1] * 7]


def test_a_user_without_a_row_has_seen_nothing() -> None:
    found = PopularityRanker.fit(TRAIN).top_k(np.array([-1, 99]), 2)
    assert found.item_nums.tolist() == [[4, 5], [4, 5]]


def test_no_user_and_no_item() -> None:
    popularity = PopularityRanker.fit(TRAIN)
    assert popularity.top_k(np.zeros(0, dtype=np.int64), 3).item_nums.shape == (0, 3)
    nothing = popularity.top_k(np.array([2]), 3, allowed=np.zeros(7, dtype=np.bool_))
    assert nothing.item_nums.tolist() == [[-1, -1, -1]]


def test_an_item_outside_the_catalogue_on_a_list_hides_nobodys_item() -> None:
    # As a key of query 1, -1 falls on the last item of query 0.
    seen = Ragged.group(np.array([3, 3]), np.array([-1, 2]), len(TRAIN.users))
    found = PopularityRanker.fit(TRAIN, seen=seen).top_k(np.array([2, 3]), 5)
    assert found.item_nums.tolist() == [[4, 5, 3, 2, 6], [4, 5, 3, 6, -1]]


@given(
    st.lists(st.tuples(st.integers(2, 7), st.integers(2, 9)), max_size=40),
    st.lists(st.integers(2, 7), max_size=9),
    st.integers(1, 10),
)
@settings(deadline=None)
def test_agrees_with_a_plain_loop(rows: list[tuple[int, int]], asked: list[int], k: int) -> None:
    train = part([user for user, _ in rows], [item for _, item in rows], 6, 8)
    counts = {num: sum(item == num for _, item in rows) for num in range(2, 10)}
    order = sorted(counts, key=lambda num: (-counts[num], num))
    found = PopularityRanker.fit(train).top_k(np.array(asked, dtype=np.int64), k)
    for row, user in zip(found.item_nums.tolist(), asked, strict=True):
        seen = {item for other, item in rows if other == user}
        expected = [num for num in order if num not in seen][:k]
        assert row == expected + [-1] * (k - len(expected))


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 200))
def test_blocks(widths: list[int], cells: int) -> None:
    groups = row_blocks(np.array(widths, dtype=np.int64), cells)
    assert sorted(row for group in groups for row in group.tolist()) == list(range(len(widths)))
    for group in groups:
        widest = max(widths[row] for row in group)
        assert len(group) == 1 or widest * len(group) <= cells


def test_one_long_list_does_not_make_all_users_dear() -> None:
    rng = np.random.default_rng(0)
    num_users, num_items = 20_000, 3_000
    train = part([], [], num_users, num_items)
    few = np.repeat(np.arange(num_users), 5) + FIRST
    users = np.concatenate([few, np.full(2_500, FIRST)])
    items = rng.integers(FIRST, num_items + FIRST, len(users))
    seen = Ragged.group(users, items, len(train.users))
    popularity = PopularityRanker.fit(train, seen=seen)
    tracemalloc.start()
    try:
        popularity.top_k(np.arange(num_users) + FIRST, 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100e6  # all users beside the longest list: 400 MB for the item nums alone


@pytest.mark.parametrize("k", [1, 4])
def test_equal_counts_rank_by_item_num(k: int) -> None:
    train = part([], [], 3, 5)
    assert PopularityRanker.fit(train).top_k(np.array([2]), k).item_nums.tolist() == [
        list(range(2, 2 + k))
    ]
