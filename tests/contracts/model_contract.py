"""What holds for every model that ranks items for users: one answer however it is asked for."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from twotower.config import FeaturesConfig
from twotower.config.baselines import BaselineConfig, SearchChoice, SearchRange
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import HISTORY, NO_ITEM, POPULAR
from twotower.data.dataset.entities import EntityTable
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.schema import Schema
from twotower.errors import BundleError, DataError
from twotower.models.baselines import BASELINES, Baseline, load_baseline

GROUPS, USERS_A_GROUP, ITEMS_A_GROUP = 4, 12, 15
NUM_USERS, NUM_ITEMS = GROUPS * USERS_A_GROUP, GROUPS * ITEMS_A_GROUP
FIRST = 2
"""The nums of padding and of unknown ids come before the first user and the first item."""
COLD_USERS, COLD_ITEMS = 2, 3


def tables(num_users: int, num_items: int) -> tuple[EntityTable, EntityTable]:
    """Users and items 0 .. in training, numbered from 2 on, and behind them some that are not."""
    size = max(num_users, num_items)
    log = pl.DataFrame(
        {
            "user_id": [row % num_users for row in range(size)],
            "item_id": [row % num_items for row in range(size)],
        }
    )
    schema = Schema.fit(FeaturesConfig.model_validate({}), interactions=log, users=None, items=None)
    more_users = pl.Series("user_id", range(num_users, num_users + COLD_USERS))
    more_items = pl.Series("item_id", range(num_items, num_items + COLD_ITEMS))
    return (
        EntityTable(schema, "user", None, extra_ids=more_users),
        EntityTable(schema, "item", None, extra_ids=more_items),
    )


def interactions(
    pairs: Sequence[tuple[int, int]],
    num_users: int,
    num_items: int,
    *,
    weight: Sequence[float] | None = None,
    timestamp: Sequence[int] | None = None,
) -> Interactions:
    """Pairs of a user and an item, both from 0."""
    users, items = tables(num_users, num_items)
    rows = np.array(pairs, dtype=np.int32).reshape(-1, 2)
    return Interactions(
        users,
        items,
        rows[:, 0] + FIRST,
        rows[:, 1] + FIRST,
        np.array([1.0] * len(pairs) if weight is None else weight, dtype=np.float32),
        None if timestamp is None else np.array(timestamp, dtype=np.int64),
        {},
    )


def planted() -> tuple[Interactions, Ragged]:
    """Users of a group take items of the group: two thirds of them in training, and Q lists of the
    others. Items and users come from each group in turn."""
    rng = np.random.default_rng(7)
    pairs: list[tuple[int, int]] = []
    held: list[tuple[int, int]] = []
    for user in range(NUM_USERS):
        own = rng.permutation(ITEMS_A_GROUP) * GROUPS + user % GROUPS
        pairs += [(user, int(item)) for item in own[:10]]
        held += [(user, int(item)) for item in own[10:]]
    times = rng.integers(0, 10_000_000, len(pairs)).tolist()
    train = interactions(pairs, NUM_USERS, NUM_ITEMS, timestamp=times)
    keys = np.array(held) + FIRST
    return train, Ragged.group(keys[:, 0], keys[:, 1], len(train.users))


TRAIN, HELD_OUT = planted()
WARM = np.arange(FIRST, FIRST + NUM_USERS)
COLD_USER = FIRST + NUM_USERS
COLD_ITEM = FIRST + NUM_ITEMS
CATALOGUE = np.arange(FIRST, COLD_ITEM + COLD_ITEMS)


@functools.cache
def of_planted_groups(model_type: type[Baseline[Any]], config: BaselineConfig) -> Baseline[Any]:
    """The model that most tests ask, fitted once."""
    return model_type.fit(TRAIN, config, rng=np.random.default_rng(0))


class ModelContract(ABC):
    """Inherited by the tests of every model."""

    model_type: ClassVar[type[Baseline[Any]]]
    finds_groups: ClassVar[bool] = True

    @abstractmethod
    def config(self) -> BaselineConfig:
        """Small and quick, good enough for the planted groups."""

    def make(self, train: Interactions = TRAIN, *, seed: int = 0, **others: Any) -> Baseline[Any]:
        return self.model_type.fit(train, self.config(), rng=np.random.default_rng(seed), **others)

    @pytest.fixture
    def model(self) -> Baseline[Any]:
        return of_planted_groups(self.model_type, self.config())

    # --- what it is ---

    def test_it_is_in_the_registry(self, model: Baseline[Any]) -> None:
        assert BASELINES[model.name] is self.model_type
        assert isinstance(model, self.model_type)
        assert model.num_parameters > 0
        assert isinstance(model.config, self.model_type.config_type)

    def test_a_tuner_may_only_vary_what_is_there(self) -> None:
        config_type = self.model_type.config_type
        for key, space in config_type.SEARCH.items():
            default = config_type.model_fields[key].default
            if isinstance(space, SearchChoice):
                assert default in space.values
                tried: list[Any] = list(space.values)
            else:
                assert isinstance(space, SearchRange)
                assert default == "auto" or space.low <= default <= space.high
                assert space.low > 0 or not space.log
                kind = int if space.integer else float
                tried = [kind(space.low), kind(space.high)]
            for value in tried:
                assert getattr(config_type.model_validate({key: value}), key) == value

    # --- answers ---

    def test_planted_groups_are_found(self, model: Baseline[Any]) -> None:
        found = model.top_k(WARM, 5).item_nums
        if not self.finds_groups:  # as it gives everybody the same
            of_group = (found - FIRST) % GROUPS == (WARM - FIRST)[:, None] % GROUPS
            assert of_group.mean() < 0.5
            return
        for row, wanted in zip(found, HELD_OUT.take(WARM), strict=True):
            assert sorted(row.tolist()) == sorted(wanted.tolist())

    def test_the_answers_are_those_of_all_scores_in_order(self, model: Baseline[Any]) -> None:
        users = np.append(WARM, COLD_USER)
        all_items = np.tile(CATALOGUE, (len(users), 1))
        scores = model.score(users, all_items)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        for mask_seen in (True, False):
            expected = scores.copy()
            for row, seen in enumerate(model.seen.take(users)):
                expected[row, np.isin(CATALOGUE, seen) & mask_seen] = -np.inf
            order = np.argsort(-expected, axis=1, kind="stable")[:, :7]
            found = model.top_k(users, 7, mask_seen=mask_seen)
            assert np.array_equal(found.item_nums, CATALOGUE[order])
            assert np.array_equal(found.scores, np.take_along_axis(expected, order, axis=1))
        assert found.item_nums.dtype == np.int64
        assert found.scores.dtype == np.float32
        assert found.path.dtype == np.int8

    def test_one_user_alone_gets_the_answer_that_it_gets_among_others(
        self, model: Baseline[Any]
    ) -> None:
        together = model.top_k(WARM, 9)
        scores = model.score(WARM, np.tile(CATALOGUE, (NUM_USERS, 1)))
        for row in range(NUM_USERS):
            alone = model.top_k(WARM[row : row + 1], 9)
            assert np.array_equal(alone.item_nums[0], together.item_nums[row])
            assert np.array_equal(alone.scores[0], together.scores[row])
            assert np.array_equal(model.score(WARM[row : row + 1], CATALOGUE[None])[0], scores[row])

    def test_users_are_answered_some_at_a_time(
        self, model: Baseline[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = model.top_k(WARM, 9)
        monkeypatch.setattr("twotower.models.baselines.base.SCORES_PER_BLOCK", 200)
        cut = model.top_k(WARM, 9)
        assert np.array_equal(whole.item_nums, cut.item_nums)
        assert np.array_equal(whole.scores, cut.scores)

    def test_equal_scores_come_by_item_num(self, model: Baseline[Any]) -> None:
        users = np.append(WARM, COLD_USER)
        found = model.top_k(users, len(CATALOGUE), mask_seen=False)
        same = found.scores[:, 1:] == found.scores[:, :-1]
        assert same.any(axis=1).all()  # items without a training row score alike
        assert (found.item_nums[:, 1:] > found.item_nums[:, :-1])[same].all()

    def test_nobody_and_nothing(self, model: Baseline[Any]) -> None:
        nobody = np.zeros(0, dtype=np.int64)
        assert model.top_k(nobody, 3).item_nums.shape == (0, 3)
        assert model.score(nobody, np.zeros((0, 4), dtype=np.int64)).shape == (0, 4)
        assert model.score(WARM, np.zeros((NUM_USERS, 0), dtype=np.int64)).shape == (NUM_USERS, 0)

    def test_more_than_the_catalogue_holds(self, model: Baseline[Any]) -> None:
        found = model.top_k(np.array([FIRST, COLD_USER]), 100)
        left = len(CATALOGUE) - 10
        assert (found.item_nums[0, :left] >= FIRST).all()
        assert (found.item_nums[0, left:] == NO_ITEM).all()
        assert np.isneginf(found.scores[0, left:]).all()
        assert set(found.item_nums[1].tolist()) == {*CATALOGUE.tolist(), NO_ITEM}

    def test_k_that_is_no_count(self, model: Baseline[Any]) -> None:
        with pytest.raises(ValueError, match="parameter") as error:
            model.top_k(WARM, 0)
        assert str(error.value) == "The 'k' parameter must be at least 1. Got 0 instead."

    # --- exclusions ---

    def test_seen_items_are_not_answered(self, model: Baseline[Any]) -> None:
        found = model.top_k(WARM, len(CATALOGUE) - 10)
        for row, seen in zip(found.item_nums, model.seen.take(WARM), strict=True):
            assert not np.isin(row, seen).any()
            assert len(set(row.tolist())) == len(CATALOGUE) - 10

    def test_excluded_and_allowed_items(self, model: Baseline[Any]) -> None:
        users = np.append(WARM, COLD_USER)
        plain = model.top_k(users, 6)
        excluded = Ragged.group(
            np.repeat(np.arange(len(users)), 2), plain.item_nums[:, :2].ravel(), len(users)
        )
        found = model.top_k(users, 4, excluded=excluded)
        assert np.array_equal(found.item_nums, plain.item_nums[:, 2:])
        allowed = np.zeros(len(TRAIN.items), dtype=np.bool_)
        allowed[FIRST::3] = True
        found = model.top_k(users, len(CATALOGUE), mask_seen=False, allowed=allowed)
        number = int(allowed[CATALOGUE].sum())
        assert allowed[found.item_nums[:, :number]].all()
        assert (found.item_nums[:, number:] == NO_ITEM).all()
        assert np.array_equal(found.path, plain.path)

    # --- what training did not know ---

    @pytest.mark.parametrize("user", [COLD_USER, -1, 0, 10_000])
    def test_an_unknown_user_is_answered_by_popularity(
        self, model: Baseline[Any], user: int
    ) -> None:
        found = model.top_k(np.array([user, FIRST]), 5)
        expected = model.fallback.top_k(np.array([user]), 5)
        assert found.path[0] == POPULAR
        assert np.array_equal(found.item_nums[0], expected.item_nums[0])
        scored = model.score(np.array([user]), found.item_nums[:1])
        assert np.array_equal(scored[0], found.scores[0])

    def test_an_unknown_user_with_a_history(self) -> None:
        history = np.array([0, 4, 8, 12, 16, 20]) + FIRST
        seen = TRAIN.by_user()
        told = Ragged.group(np.full(len(history), COLD_USER), history, len(TRAIN.users))
        model = self.make(seen=seen.merge(told))
        found = model.top_k(np.array([COLD_USER, COLD_USER + 1]), 5)
        assert not np.isin(found.item_nums[0], history).any()
        if not self.model_type.reads_histories:
            assert found.path.tolist() == [POPULAR, POPULAR]
            return
        assert found.path.tolist() == [HISTORY, POPULAR]
        assert ((found.item_nums[0] - FIRST) % GROUPS == 0).all()

    def test_a_history_of_unknown_items_says_nothing(self) -> None:
        seen = TRAIN.by_user().merge(
            Ragged.group(np.array([COLD_USER] * 2), np.array([COLD_ITEM, -1]), len(TRAIN.users))
        )
        found = self.make(seen=seen).top_k(np.array([COLD_USER]), len(CATALOGUE))
        assert found.path.tolist() == [POPULAR]
        assert COLD_ITEM not in found.item_nums[0]

    def test_an_unknown_item_is_scored_and_one_outside_the_catalogue_is_not(
        self, model: Baseline[Any]
    ) -> None:
        items = np.array([[COLD_ITEM, COLD_ITEM + 2, -1, 0, 1, 10_000]] * 2)
        scores = model.score(np.array([FIRST, COLD_USER]), items)
        assert np.isfinite(scores[:, :2]).all()
        assert (scores[:, 0] == scores[:, 1]).all()
        assert np.isneginf(scores[:, 2:]).all()
        best = model.top_k(WARM, 5).item_nums
        assert not np.isin(best, np.arange(COLD_ITEM, COLD_ITEM + COLD_ITEMS)).any()

    # --- learning ---

    def test_the_same_seed_gives_the_same_model(self, model: Baseline[Any]) -> None:
        again = self.make()
        for name, array in model.arrays().items():
            assert np.array_equal(array, again.arrays()[name]), name

    def test_fitting_leaves_the_training_part_alone(self) -> None:
        before = (TRAIN.user_num.copy(), TRAIN.item_num.copy(), TRAIN.weight.copy())
        self.make()
        for array, kept in zip((TRAIN.user_num, TRAIN.item_num, TRAIN.weight), before, strict=True):
            assert np.array_equal(array, kept)

    def test_progress_is_told(self) -> None:
        told: list[tuple[int, int]] = []
        self.make(progress=lambda done, total: told.append((done, total)))
        assert [done for done, _ in told] == list(range(1, len(told) + 1))
        assert {total for _, total in told} == {len(told)}

    def test_weights_that_are_no_weights(self) -> None:
        train = interactions([(0, 0), (1, 1), (2, 2)], 3, 3, weight=[1, 0, 1], timestamp=[1, 2, 3])
        with pytest.raises(DataError) as error:
            self.make(train)
        assert str(error.value) == (
            "row 2, column 'weight': a baseline learns from weights above 0 (found 0.0). Fix: set "
            "data.positive.min_weight, or the baseline's weights = 'none'."
        )
        config = self.config().model_copy(update={"weights": "none"})
        self.model_type.fit(train, config)

    def test_weights_and_repeated_rows_are_learned_from(self) -> None:
        pairs = [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0)]
        plain = interactions(pairs, 3, 3, timestamp=range(6))
        heavy = interactions(pairs, 3, 3, weight=[9, 1, 1, 1, 1, 1], timestamp=range(6))
        ignored = self.config().model_copy(update={"weights": "none"})
        first = self.make(plain).arrays()
        second = self.make(heavy).arrays()
        third = self.model_type.fit(heavy, ignored, rng=np.random.default_rng(0)).arrays()
        assert any(not np.array_equal(first[name], second[name]) for name in first)
        assert all(np.array_equal(first[name], third[name]) for name in first)

    # --- on disk ---

    def test_saved_and_loaded_it_answers_the_same(
        self, model: Baseline[Any], tmp_path: Path
    ) -> None:
        model.save(tmp_path / "model")
        loaded = load_baseline(tmp_path / "model", TRAIN.users, TRAIN.items)
        assert type(loaded) is type(model)
        assert loaded.config == model.config
        assert loaded.best_epoch == model.best_epoch
        assert loaded.num_parameters == model.num_parameters
        assert np.array_equal(loaded.item_counts, model.item_counts)
        users = np.append(WARM, [COLD_USER, -1])
        one, other = (m.top_k(users, 9) for m in (model, loaded))
        assert np.array_equal(one.item_nums, other.item_nums)
        assert np.array_equal(one.scores, other.scores)
        assert np.array_equal(one.path, other.path)
        items = np.tile(CATALOGUE, (len(users), 1))
        assert np.array_equal(model.score(users, items), loaded.score(users, items))

    def test_files_of_other_users_or_items(self, model: Baseline[Any], tmp_path: Path) -> None:
        model.save(tmp_path)
        users, items = tables(NUM_USERS, NUM_ITEMS + 1)
        with pytest.raises(BundleError) as error:
            load_baseline(tmp_path, TRAIN.users, items)
        assert str(error.value) == (
            f"{tmp_path / 'baseline.json'}: the baseline was fitted on other items than these "
            f"{len(items)}. Fix: load it with the tables of the training part that it was fitted "
            "on, or fit it again."
        )
        longer = TRAIN.users.with_more(pl.Series("user_id", [999]))
        assert len(longer) == len(users) + 1
        loaded = load_baseline(tmp_path, longer, TRAIN.items)
        assert loaded.top_k(np.array([len(longer) - 1]), 3).path.tolist() == [POPULAR]

    def test_damaged_files(self, model: Baseline[Any], tmp_path: Path) -> None:
        model.save(tmp_path)
        arrays = tmp_path / "baseline.safetensors"
        arrays.write_bytes(arrays.read_bytes()[:-5])
        with pytest.raises(BundleError) as error:
            load_baseline(tmp_path, TRAIN.users, TRAIN.items)
        assert str(error.value) == (
            f"{arrays}: is missing or cannot be read. Fix: fit the baseline again."
        )
