"""Flat lists against plain Python lists."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twotower.data.arrays.ragged import Ragged

ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 99)))


def plain(lists: Ragged) -> list[list[int]]:
    return [values.tolist() for values in lists]


def grouped(rows: list[tuple[int, int]], num_lists: int) -> Ragged:
    keys = np.array([key for key, _ in rows], dtype=np.int64)
    return Ragged.group(keys, np.array([value for _, value in rows], dtype=np.int64), num_lists)


@given(ROWS, st.integers(6, 8))
def test_group_keeps_the_order_of_rows(rows: list[tuple[int, int]], num_lists: int) -> None:
    lists = grouped(rows, num_lists)
    expected = [[value for key, value in rows if key == num] for num in range(num_lists)]
    assert plain(lists) == expected
    assert len(lists) == num_lists
    assert lists.lengths.tolist() == [len(values) for values in expected]
    assert lists.offsets.dtype == np.int64
    assert lists.values.dtype == np.int32


@given(ROWS, st.lists(st.integers(-2, 9)))
def test_take_gives_empty_lists_for_nums_that_have_none(
    rows: list[tuple[int, int]], nums: list[int]
) -> None:
    lists = grouped(rows, 6)
    taken = lists.take(np.array(nums, dtype=np.int64))
    expected = [lists[num].tolist() if 0 <= num < 6 else [] for num in nums]
    assert plain(taken) == expected


@given(ROWS)
def test_keys_regroup_to_the_same_lists(rows: list[tuple[int, int]]) -> None:
    lists = grouped(rows, 6)
    assert plain(Ragged.group(lists.keys(), lists.values, 6)) == plain(lists)


def test_empty() -> None:
    assert plain(Ragged.empty(2)) == [[], []]
    assert len(Ragged.empty(0)) == 0
    assert plain(Ragged.empty(0).take(np.array([0, -1, 3]))) == [[], [], []]
    assert plain(Ragged.empty(3).take(np.zeros(0, dtype=np.int64))) == []


@given(ROWS)
def test_distinct_gives_the_different_values_in_order(rows: list[tuple[int, int]]) -> None:
    lists = grouped(rows, 6)
    assert plain(lists.distinct()) == [sorted(set(values)) for values in plain(lists)]
