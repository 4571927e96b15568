"""How much new items are shown, against lists worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from twotower.data.lists import Lists
from twotower.data.ranking import NO_ITEM
from twotower.workflow.cold_offset import best_offset

OLD = np.array([[1, 2], [1, 2], [1, 2]])
NEW = np.array([[8, 9], [8, 9], [8, 9]])
OLD_SCORES = np.array([[0.9, 0.8], [0.9, 0.8], [0.9, 0.8]], dtype=np.float32)
NEW_SCORES = np.array([[0.5, 0.1], [0.5, 0.1], [0.5, 0.1]], dtype=np.float32)


def offset_for(relevant: list[list[int]], of_new: list[list[int]]) -> float:
    lists = [
        Lists.group(
            np.repeat(np.arange(3), [len(row) for row in rows]),
            np.array([num for row in rows for num in row], dtype=np.int64),
            3,
        )
        for rows in (relevant, of_new)
    ]
    return best_offset(OLD, OLD_SCORES, NEW, NEW_SCORES, lists[0], lists[1], 2)


def test_old_and_new_items_share_the_list() -> None:
    # The best new item has .5: above .3 it takes the place of 2, above .4 that of 1.
    assert 0.3 < offset_for([[1], [1], [1]], [[8], [8], [8]]) < 0.4
    assert offset_for([[1, 2]] * 3, [[8, 9]] * 3) == pytest.approx(0.31, abs=0.02)


def test_a_new_item_that_is_taken_comes_first_where_the_best_old_one_is_not() -> None:
    # 8 is above 1 from .4 on; from .8 on 9 takes its place.
    assert 0.3 < offset_for([[1], [1], [1]], [[8], [], []]) < 0.8


def test_lists_without_new_items_say_nothing() -> None:
    nothing = np.full_like(NEW, NO_ITEM)
    scores = np.full_like(NEW_SCORES, -np.inf)
    lists = Lists.group(np.array([0]), np.array([1]), 3)
    assert best_offset(OLD, OLD_SCORES, nothing, scores, lists, lists, 2) == 0.0
