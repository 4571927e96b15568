"""The four slices: a partition of the relevant items."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twotower.data.arrays.ragged import Ragged
from twotower.evaluation.slices import SLICES, slice_relevant


def as_lists(rows: list[list[int]]) -> Ragged:
    keys = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return Ragged.group(keys, np.array([v for row in rows for v in row], dtype=np.int64), len(rows))


def as_rows(lists: Ragged) -> list[list[int]]:
    return [values.tolist() for values in lists]


def test_by_hand() -> None:
    # Items 2, 3 are warm, 4 is cold, -1 is outside the catalogue; users 0 and 2 are warm.
    found = slice_relevant(
        as_lists([[2, 4, 3], [3, -1], [-1]]),
        np.array([True, False, True]),
        np.array([False, False, True, True, False]),
    )
    assert {name: as_rows(part) for name, part in found.items()} == {
        "warm": [[2, 3], [], []],
        "cold_user": [[], [3], []],
        "cold_item": [[4], [], [-1]],
        "both_cold": [[], [-1], []],
    }
    assert tuple(found) == SLICES


def test_no_query() -> None:
    none = np.zeros(0, dtype=np.bool_)
    found = slice_relevant(Ragged.empty(0), none, np.array([True]))
    assert [len(part) for part in found.values()] == [0, 0, 0, 0]


@given(
    st.lists(st.lists(st.integers(-1, 5), max_size=5), max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_each_relevant_item_is_in_one_slice(
    rows: list[list[int]], users: list[bool], items: list[bool]
) -> None:
    found = slice_relevant(as_lists(rows), np.array(users)[: len(rows)], np.array(items))
    parts = [as_rows(part) for part in found.values()]
    for place, row in enumerate(rows):
        assert sorted(value for part in parts for value in part[place]) == sorted(row)
