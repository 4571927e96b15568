"""What a batch's users have taken, and that training holds none of it against them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from twotower.config import FeaturesConfig, RetrieverConfig
from twotower.data.batches.batches import PairBatches, SequenceBatches, UserBatches
from twotower.data.batches.negatives import UniformSampler
from twotower.data.dataset.dataset import number_interactions
from twotower.data.dataset.entities import EntityTable
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.schema import Schema
from twotower.models.positives.user_positives import PositivesOfUsers
from twotower.models.retriever.objective import RetrievalObjective
from twotower.models.retriever.two_tower import TwoTower

CPU = torch.device("cpu")
HISTORY = {"user": {"history": {"type": "history", "encoder": "mean", "dropout": 0.0}}}
CONTEXT = {"context": {"device": {"type": "category"}}}


def log(features: dict[str, Any]) -> Interactions:
    """User 1 takes 10, 11, 12, user 2 takes 10, user 3 takes 13 and 14."""
    rows = pl.DataFrame(
        {
            "user_id": [1, 1, 1, 2, 3, 3],
            "item_id": [10, 11, 12, 10, 13, 14],
            "timestamp": [1, 2, 3, 1, 1, 2],
            "device": ["a", "b", "a", "b", "a", "b"],
        }
    )
    config = FeaturesConfig.model_validate(features)
    schema = Schema.fit(config, interactions=rows, users=None, items=None)
    tables = (EntityTable(schema, side, None) for side in ("user", "item"))
    return number_interactions(rows, *tables)


def test_the_items_of_each_querys_user() -> None:
    train = log({})
    users = torch.from_numpy(train.users.nums(pl.Series([3, 2, 1, 3])))
    repeated = train.append(train)
    taken = PositivesOfUsers(repeated, CPU).of(users)
    # Those of a user who asks twice are there once, and an item that was taken twice is, too.
    assert taken.owner is not None
    assert taken.owner.tolist() == [2, 1, 0, 2]
    assert taken.rows.tolist() == [0, 0, 0, 1, 2, 2]
    items = train.items.ids.gather(taken.item_num.numpy()).to_list()
    assert items == [10, 11, 12, 10, 13, 14]


@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax"])
@pytest.mark.parametrize("features", [HISTORY, CONTEXT])
def test_a_users_other_items_are_not_pushed_away(features: dict[str, Any], loss: str) -> None:
    """With the scores of what a user has set aside, nothing but what the user has not is left to
    tell a target from: for a user who has all items there is no loss."""
    train = log(features)
    everybody = train.take(np.flatnonzero(train.user_num == train.user_num[0]))
    settings = {"embedding_dim": 8, "loss": loss, "num_negatives": 16, "negative_weight": 1.0}
    config = RetrieverConfig.model_validate(settings)
    model = TwoTower(config, train.users.schema)
    objective = RetrievalObjective(model, train, batch_size=8, device=CPU)
    # Only the items of the user are left to be told from.
    own = torch.from_numpy(np.unique(everybody.item_num).astype(np.int64))
    objective.warm_item_nums = own
    objective.catalogue = {name: column[own] for name, column in objective.items.items()}
    objective.sampler = UniformSampler(own)
    batches = (
        PairBatches(everybody, batch_size=8, seed=0)
        if features is CONTEXT
        else SequenceBatches(everybody, batch_size=8, seed=0, max_length=8)
    )
    batch = next(iter(batches.epoch(0)))
    assert batch.num_targets == 3
    assert float(objective.loss(batch).detach()) == 0.0


@pytest.mark.parametrize(("features", "weight"), [(HISTORY, 1.0), (CONTEXT, 1.0), ({}, 1.15)])
def test_the_negative_side_weighs_more_only_beside_many_targets(
    features: dict[str, Any], weight: float
) -> None:
    train = log(features)
    batches: Any = PairBatches(train, batch_size=8, seed=0)
    if features is HISTORY:
        batches = SequenceBatches(train, batch_size=8, seed=0, max_length=8)
    elif not features:
        batches = UserBatches(train, batch_size=8, seed=0)
    batch = next(iter(batches.epoch(0)))

    def loss(**settings: Any) -> float:
        config = RetrieverConfig.model_validate({"embedding_dim": 8, **settings})
        model = TwoTower(config, train.users.schema).eval()
        objective = RetrievalObjective(model, train, batch_size=8, device=CPU)
        return float(objective.loss(batch).detach())

    assert loss() == loss(negative_weight=weight)
    assert loss() != loss(negative_weight=1.07)
