"""Item-to-item weights against the closed form written out, and items without any."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from twotower.data.arrays.ragged import Ragged
from twotower.data.dataset.interactions import Interactions
from twotower.models.ranker import item_item_weights as neighbours
from twotower.models.ranker.item_item_weights import ItemItemWeights

USERS, FIRST, END, ALL = 30, 2, 10, 12


class Rows(SimpleNamespace):
    """Columns with a length."""

    def __len__(self) -> int:
        return len(self.user_num)


def rows() -> Interactions:
    """30 users, eight warm items, two cold ones behind them; one row stands twice."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(2, USERS, 120), rng.integers(FIRST, END, 120)
    users[1], items[1] = users[0], items[0]

    class Items(list[int]):
        first_known, end_warm, num_warm = FIRST, END, END - FIRST

    made: Any = Rows(
        user_num=users.astype(np.int32),
        item_num=items.astype(np.int32),
        users=[0] * USERS,
        items=Items([0] * ALL),
    )
    return cast(Interactions, made)


def written_out(l2: float) -> tuple[Any, Any]:
    """X (USERS, ALL) and B (ALL, ALL) in double precision, by the normal equations of each column:
    ridge regression of an item on all others."""
    train = rows()
    x = np.zeros((USERS, ALL))
    x[train.user_num, train.item_num] = 1
    b = np.zeros((ALL, ALL))
    for item in range(FIRST, END):
        others = [j for j in range(FIRST, END) if j != item]
        gram = x[:, others].T @ x[:, others] + l2 * np.eye(len(others))
        b[others, item] = np.linalg.solve(gram, x[:, others].T @ x[:, item])
    return x, b


def test_all_weights_are_ridge_regressions_on_the_other_items() -> None:
    found = ItemItemWeights.fit(rows(), l2=3.0, number=50)
    _, b = written_out(3.0)
    assert found.nums.shape == (ALL, END - FIRST)
    dense = np.zeros((ALL, ALL))
    for item in range(FIRST, END):
        dense[found.nums[item], item] = found.weights[item]
    np.testing.assert_allclose(dense, b, atol=1e-5)


@pytest.mark.parametrize("pairs", [1, 1 << 22])
def test_scores_are_sums_over_what_was_taken(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "PAIRS", pairs)
    found = ItemItemWeights.fit(rows(), l2=3.0, number=50)
    x, b = written_out(3.0)
    users, items = x.nonzero()
    taken = Ragged.group(users, items, USERS)
    candidates = np.broadcast_to(np.arange(ALL), (USERS, ALL)).copy()
    np.testing.assert_allclose(found.score(taken, candidates), x @ b, atol=1e-5)
    candidates[:, 3] = -1
    assert (found.score(taken, candidates)[:, 3] == 0).all()


def test_only_the_largest_weights_are_kept() -> None:
    found = ItemItemWeights.fit(rows(), l2=3.0, number=2)
    _, b = written_out(3.0)
    for item in range(FIRST, END):
        largest = np.sort(np.abs(b[:, item]))[-2:]
        np.testing.assert_allclose(np.sort(np.abs(found.weights[item])), largest, atol=1e-5)


def test_items_that_came_later_have_no_weight() -> None:
    found = ItemItemWeights.fit(rows(), l2=3.0, number=4).with_more(3)
    assert found.nums.shape == found.weights.shape == (ALL + 3, 4)
    assert found.knows(np.array([FIRST, END - 1, END, ALL + 2])).tolist() == [
        True,
        True,
        False,
        False,
    ]
