"""How much new items are shown, against lists worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM
from twotower.workflow.training.cold_offset import largest_offset

OLD = np.array([[1, 2], [1, 2], [1, 2]])
NEW = np.array([[8, 9], [8, 9], [8, 9]])
OLD_SCORES = np.array([[0.9, 0.8], [0.9, 0.8], [0.9, 0.8]], dtype=np.float32)
NEW_SCORES = np.array([[0.5, 0.1], [0.5, 0.1], [0.5, 0.1]], dtype=np.float32)


def offset_for(relevant: list[int], cost: float) -> float:
    """Of lists of two, for three users who should each find these."""
    keys = np.repeat(np.arange(3), len(relevant))
    lists = Ragged.group(keys, np.array(relevant * 3), 3)
    return largest_offset(OLD, OLD_SCORES, NEW, NEW_SCORES, lists, 2, cost=cost)


def test_without_a_cost_new_items_take_only_slots_of_no_use() -> None:
    # The best new item has .5: from .3 on it takes the place of 2, from .4 on that of 1.
    assert offset_for([1], 0.0) == pytest.approx(0.4, abs=0.02)
    assert offset_for([2], 0.0) == pytest.approx(0.3, abs=0.02)


def test_a_cost_is_spent_but_not_exceeded() -> None:
    # Behind a new item the first place is worth 1 / log2(3) = .63: a cost of .37.
    assert offset_for([1], 0.36) == pytest.approx(0.4, abs=0.02)
    # The second new item has .1: it takes the last place from .8 on.
    assert offset_for([1], 0.38) == pytest.approx(0.8, abs=0.02)


def test_lists_without_new_items_say_nothing() -> None:
    nothing = np.full_like(NEW, NO_ITEM)
    scores = np.full_like(NEW_SCORES, -np.inf)
    lists = Ragged.group(np.array([0]), np.array([1]), 3)
    assert largest_offset(OLD, OLD_SCORES, nothing, scores, lists, 2, cost=0.5) == 0.0


def test_where_no_row_is_found_new_items_are_hardly_shown() -> None:
    # Item 5 is in no list: nothing tells what a new item costs.
    assert offset_for([5], 0.5) < 0.35
