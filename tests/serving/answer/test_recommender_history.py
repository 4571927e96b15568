"""A recommender that reads histories: what a user does changes the answer, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from twotower.config import Config
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.splits import Parts
from twotower.data.features.histories import Histories
from twotower.data.tables.tables import Tables
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.workflow.evaluate import evaluate
from twotower.workflow.training.fit import fit

HOUR = 3600
NUM_ITEMS = 10


def walks(first: int, num_users: int, length: int) -> pl.DataFrame:
    """Each user goes from item to item, round and round: i, i + 1, ..."""
    step = np.arange(length)
    start = np.arange(num_users) % NUM_ITEMS
    return pl.DataFrame(
        {
            "user_id": np.repeat(np.arange(num_users) + first, length),
            "item_id": ((start[:, None] + step) % NUM_ITEMS).ravel(),
            "timestamp": np.tile(step * HOUR, num_users),
            "event_type": ["buy", "view"] * (num_users * length // 2),
        }
    )


def settings(**history: Any) -> Config:
    return Config.model_validate(
        {
            "data": {"interactions": "log.csv"},
            "features": {
                "user": {
                    "id": {"dropout": 0.5},
                    "history": {
                        "type": "history",
                        "encoder": "attention",
                        "max_length": 8,
                        **history,
                    },
                }
            },
            "retriever": {"embedding_dim": 16, "temperature": 0.1},
            "training": {"epochs": 40, "batch_size": 32, "layer_learning_rate": 0.01},
            "evaluation": {"mask_seen": False},
        }
    )


@pytest.fixture(scope="module")
def data() -> Dataset:
    log, later = walks(0, 80, 6), walks(1000, 20, 6)
    return Dataset.from_parts(
        settings(), Tables(log, test=later), Parts(log, log.clear(), later, "given", "")
    )


@pytest.fixture(scope="module")
def recommender(data: Dataset) -> Recommender:
    model = TwoTower(data.config.retriever, data.schema)
    return Recommender.build(fit(model, data.train, config=data.config), data.train, data.config)


def test_each_path_answers_whom_it_should(recommender: Recommender, data: Dataset) -> None:
    users = np.array([data.users.first_known, len(data.users) - 1, -1])
    assert recommender.top_k(users, 1).path.tolist() == [0, 3, 3]
    part = data.test.take(np.flatnonzero(np.arange(len(data.test)) % 6 < 3))
    more = data.train.append(part).histories()
    told = knowing(recommender, more)
    assert told.top_k(users, 1).path.tolist() == [0, 1, 3]


def knowing(recommender: Recommender, histories: Histories) -> Recommender:
    return Recommender(recommender.served.with_users(recommender.users, histories))


def test_new_users_are_answered_by_their_history(recommender: Recommender, data: Dataset) -> None:
    place = np.arange(len(data.test)) % 6
    given = data.test.take(np.flatnonzero(place < 5))
    to_find = data.test.take(np.flatnonzero(place == 5))
    told = knowing(recommender, data.train.append(given).histories())
    before = evaluate(recommender, to_find, k=1, mask_seen=False)
    after = evaluate(told, to_find, k=1, mask_seen=False)
    assert after.paths["history"] == 20
    assert before.paths["popular"] == 20
    assert after.metrics["recall@1"] > 0.9
    assert before.metrics["recall@1"] < 0.5


def test_invented_users_by_what_they_took(recommender: Recommender) -> None:
    nobody = pl.DataFrame({"user_id": [None] * 3})
    found = recommender.recommend_invented(nobody, 1, histories=[[2, 3], [6, 7], []])
    assert [answer.path for answer in found] == ["history", "history", "popular"]
    assert [answer.items[0].item_id for answer in found[:2]] == [4, 8]
    assert all(answer.live for answer in found)
    likely = [f'Similar to "{item_id}" from your history' for item_id in (2, 3)]
    assert found[0].items[0].reason in likely


def test_items_that_are_not_in_the_catalogue_are_passed_over(recommender: Recommender) -> None:
    nobody = pl.DataFrame({"user_id": [None] * 2})
    one, other = recommender.recommend_invented(nobody, 3, histories=[[2, 999, 3], [2, 3]])
    assert [i.item_id for i in one.items] == [i.item_id for i in other.items]


def test_loaded_equals_saved(recommender: Recommender, tmp_path: Path) -> None:
    recommender.save(tmp_path / "b")
    loaded = Recommender.load(tmp_path / "b")
    users = np.arange(len(recommender.users))
    one, other = recommender.top_k(users, 5), loaded.top_k(users, 5)
    assert np.array_equal(one.item_nums, other.item_nums)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
    saved, found = recommender.served.histories, loaded.served.histories
    assert isinstance(found, Histories)
    assert np.array_equal(found.time, saved.time)  # type: ignore[arg-type]
    assert np.array_equal(found.event_num, saved.event_num)  # type: ignore[arg-type]
    assert loaded.served.schema.history == recommender.served.schema.history or (
        loaded.served.schema.history is not None and loaded.served.schema.history.has_times
    )


def test_event_types_are_read(data: Dataset) -> None:
    assert data.schema.history is not None
    assert data.schema.history.event_types is not None
    assert data.schema.history.event_types.values.to_list() == ["buy", "view"]
    assert data.train.event_num is not None
    assert set(data.train.event_num.tolist()) == {2, 3}
    without = Dataset.from_parts(settings(event_types=False), data.tables, data.parts)
    assert without.train.event_num is None


def test_times_out_of_order_are_put_in_order(data: Dataset, recommender: Recommender) -> None:
    shuffled = data.train.take(np.random.default_rng(0).permutation(len(data.train)))
    one, other = data.train.histories(), shuffled.histories()
    assert np.array_equal(one.items.values, other.items.values)
    assert np.array_equal(one.time, other.time)  # type: ignore[arg-type]
