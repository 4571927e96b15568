"""Linear models of items, cut to their largest weights, as serving asks them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.contracts.model_contract import FIRST, TRAIN, interactions
from twotower.config.baselines import ItemKNNConfig
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM
from twotower.models import item_neighbours
from twotower.models.baselines import EASE, ItemKNN, MostPopular
from twotower.models.item_neighbours import ItemNeighbours

# Users 0 to 3 took the items 0 1 2, 0 1, 0, 2; item 3 is not taken.
TINY = interactions([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (3, 2)], 4, 4)
NUMS = np.arange(FIRST, FIRST + 4)[None]
EVERY = np.ones(FIRST + 4, dtype=np.bool_)


def tiny() -> ItemNeighbours:
    return ItemNeighbours.of(ItemKNN.fit(TINY, ItemKNNConfig(shrinkage=0)))


def lists(*nums: list[int]) -> Ragged:
    keys = np.repeat(np.arange(len(nums)), [len(part) for part in nums])
    values = np.array([num + FIRST for part in nums for num in part], dtype=np.int64)
    return Ragged.group(keys, values, len(nums))


@pytest.mark.parametrize("kind", [ItemKNN, EASE])
def test_the_order_is_that_of_the_model(kind: type[ItemKNN] | type[EASE]) -> None:
    model = kind.fit(TRAIN)
    near = ItemNeighbours.of(model)
    users = np.arange(TRAIN.users.first_known, TRAIN.users.end_warm)
    nums = np.arange(TRAIN.items.first_known, TRAIN.items.end_warm)
    nums = np.broadcast_to(nums, (len(users), len(nums)))
    sums = model.score(users, nums)
    said = near.scores(TRAIN.by_user().take(users)).at(nums)
    np.testing.assert_allclose(said, near.damped(sums), rtol=1e-4, atol=1e-5)


def test_only_the_largest_weights_of_each_candidate_are_kept() -> None:
    model = EASE.fit(TRAIN)
    whole, cut = ItemNeighbours.of(model), ItemNeighbours.of(model, 3)
    assert cut.weights.nnz == 3 * cut.weights.shape[1]
    dense = np.abs(whole.weights.toarray())
    expected = np.sort(dense, axis=0)[-3:].sum(axis=0)
    np.testing.assert_allclose(np.abs(cut.weights.toarray()).sum(axis=0), expected, rtol=1e-5)


def test_repeats_and_unknown_items_count_for_nothing() -> None:
    near = tiny()
    once = near.scores(lists([0])).at(NUMS)
    assert once.any()
    assert near.scores(lists([0, 0, 90, -1])).at(NUMS).tolist() == once.tolist()
    assert not near.scores(lists([])).at(NUMS).any()


def test_the_best_leave_out_what_is_not_wanted() -> None:
    near = tiny()
    scores = near.scores(lists([0], [0], [3]))
    best = scores.best(2, EVERY, None)
    assert sorted(best[0] - FIRST) == [1, 2]
    assert (best[2] == NO_ITEM).all(), "nobody took item 3"
    without = scores.best(2, EVERY, lists([1], [], []))
    assert sorted(without[0]) == [NO_ITEM, 2 + FIRST] or sorted(without[0])[-1] == 2 + FIRST
    assert sorted(without[1] - FIRST) == [1, 2]
    servable = EVERY.copy()
    servable[1 + FIRST] = False
    assert scores.best(1, servable, None)[0].tolist() == [2 + FIRST]
    assert scores.best(1, EVERY, None)[0].tolist() == [1 + FIRST], "the nearer of the two"


@pytest.mark.parametrize(("cells", "entries"), [(0, 0), (1 << 23, 0), (1 << 23, 1 << 23)])
@pytest.mark.parametrize(("dense", "table"), [(0, 0), (1_000_000, 0), (0, 2048)])
def test_a_query_has_the_same_scores_in_every_batch(
    cells: int, entries: int, dense: int, table: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = ItemNeighbours.of(EASE.fit(TRAIN), 7)
    users = np.arange(TRAIN.users.first_known, TRAIN.users.end_warm)
    user_items = TRAIN.by_user().take(users)
    nums = np.broadcast_to(np.arange(len(TRAIN.items)), (len(users), len(TRAIN.items)))
    servable = np.ones(len(TRAIN.items), dtype=np.bool_)
    whole = near.scores(user_items)
    monkeypatch.setattr(item_neighbours, "MAX_CELLS", cells)
    monkeypatch.setattr(item_neighbours, "DENSE", dense)
    monkeypatch.setattr(item_neighbours, "MAX_DENSE_ITEMS", table)
    monkeypatch.setattr(item_neighbours, "MAX_ENTRIES", entries)
    np.testing.assert_array_equal(near.scores(user_items).at(nums), whole.at(nums))
    trained = slice(TRAIN.items.first_known, TRAIN.items.end_warm)
    dense_scores = near.dense(user_items).numpy()
    np.testing.assert_array_equal(dense_scores, whole.at(nums)[:, trained])
    for row in range(len(users)):
        alone = near.scores(user_items.take(np.array([row])))
        np.testing.assert_array_equal(alone.at(nums[:1]), whole.at(nums)[row : row + 1])
        best = alone.best(5, servable, None)
        np.testing.assert_array_equal(best[0], whole.best(5, servable, None)[row])


def test_candidates_without_a_weight_say_0() -> None:
    near = tiny()
    nums = np.array([[1 + FIRST, 3 + FIRST, 500, NO_ITEM]])
    said = near.scores(lists([0])).at(nums)[0]
    assert said[0] > 0
    assert said[1:].tolist() == [0, 0, 0]


def test_other_baselines_have_no_neighbours() -> None:
    with pytest.raises(TypeError, match="popularity has no weights between items"):
        ItemNeighbours.of(MostPopular.fit(TINY))
