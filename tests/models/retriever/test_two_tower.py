"""What depth is for, what features are for, and what a tower is without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F

from twotower.config import FeaturesConfig, RetrieverConfig
from twotower.data.batches.batches import PairBatches
from twotower.data.dataset.dataset import number_interactions
from twotower.data.dataset.entities import EntityTable
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.schema import Schema
from twotower.models.retriever.objective import RetrievalObjective
from twotower.models.retriever.two_tower import TwoTower, initial_temperature

CPU = torch.device("cpu")


def planted(features: dict[str, Any], rng: np.random.Generator) -> Interactions:
    """400 users with an age and a region, each in two halves; an item is liked by the young of the
    north and the old of the south, or by the others. Neither feature tells anything alone."""
    ages, regions = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    taste = ages ^ regions
    users = pl.DataFrame(
        {
            "user_id": np.arange(400),
            "age": np.where(ages == 1, "old", "young"),
            "region": np.where(regions == 1, "north", "south"),
        }
    )
    items = pl.DataFrame({"item_id": np.arange(40), "kind": np.arange(40) % 2})
    rows = np.repeat(np.arange(400), 8)
    chosen = 2 * rng.integers(0, 20, len(rows)) + taste[rows]
    interactions = pl.DataFrame({"user_id": rows, "item_id": chosen}).unique(maintain_order=True)
    config = FeaturesConfig.model_validate(features)
    schema = Schema.fit(config, interactions=interactions, users=users, items=items)
    return number_interactions(
        interactions, EntityTable(schema, "user", users), EntityTable(schema, "item", items)
    )


BY_FEATURES = {
    "user": {"id": {"enabled": False}, "age": {"type": "category"}, "region": {"type": "category"}},
}


def fitted(train: Interactions, **settings: Any) -> TwoTower:
    config = RetrieverConfig.model_validate({"embedding_dim": 16, "dropout": 0.0, **settings})
    model = TwoTower(config, train.users.schema)
    objective = RetrievalObjective(model, train, batch_size=256, device=CPU)
    parameters = [p for p in model.parameters() if p.requires_grad]
    dense = [p for p in parameters if not any(p is t for t in sparse_tables(model))]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(dense, lr=0.01)]
    if sparse_tables(model):
        optimizers.append(torch.optim.SparseAdam(sparse_tables(model), lr=0.01))
    batches = PairBatches(train, batch_size=256, seed=0)
    for epoch in range(12):
        for batch in batches.epoch(epoch):
            loss = objective.loss(batch)
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for optimizer in optimizers:
                optimizer.step()
    return objective.served_model().eval()


def sparse_tables(model: TwoTower) -> list[torch.Tensor]:
    return [
        module.weight
        for module in model.modules()
        if isinstance(module, torch.nn.Embedding) and module.sparse
    ]


@torch.no_grad()
def share_of_right_kind(model: TwoTower, train: Interactions) -> float:
    """Of each user's ten best items, the share that is of the kind the user likes; chance: .5"""
    queries = model.query_vectors(train.users.gather(torch.arange(2, 402)), {})
    items = model.item_vectors(train.items.gather(torch.arange(2, 42)))
    return share(queries @ items.T, train)


def share(scores: torch.Tensor, train: Interactions) -> float:
    """The same of scores (400, 40)."""
    top = scores.topk(10).indices.numpy()
    raw = train.items.ids.to_numpy()[2:][top] % 2
    frame = train.users.frame[2:]
    taste = (frame["age"] == "old").to_numpy() ^ (frame["region"] == "north").to_numpy()
    return float((raw == taste[:, None]).mean())


def test_a_linear_tower_cannot_learn_an_interaction_of_features_and_a_hidden_layer_can() -> None:
    train = planted(BY_FEATURES, np.random.default_rng(0))
    linear = share_of_right_kind(fitted(train, hidden=[]), train)
    deep = share_of_right_kind(fitted(train, hidden=[32]), train)
    assert linear < 0.8
    assert deep > 0.97


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "softmax"},
        {"loss": "softmax", "smoothing_layers": 0},
        {"loss": "softmax", "max_full_softmax": 5, "num_negatives": 30},
        {"loss": "sampled_softmax", "num_negatives": 30, "negative_sampler": "popularity"},
        {"loss": "in_batch_softmax"},
        {"loss": "in_batch_softmax", "mixed_negatives": True, "num_negatives": 30},
        {"loss": "bsl", "num_negatives": 30},
        {"loss": "bpr"},
        {"loss": "bce"},
        {"loss": "softmax", "normalize": False, "temperature": 1.0, "learn_temperature": True},
    ],
)
def test_every_loss_learns_the_planted_taste(settings: dict[str, Any]) -> None:
    train = planted({}, np.random.default_rng(0))
    assert share_of_right_kind(fitted(train, **settings), train) > 0.9


def test_a_step_leaves_nothing_behind_in_the_model() -> None:
    """Smoothed tables are an argument: what the towers give does not depend on what was trained."""
    train = planted({}, np.random.default_rng(0))
    model = TwoTower(RetrieverConfig(embedding_dim=8, smoothing_layers=2), train.users.schema)
    objective = RetrievalObjective(model, train, batch_size=8, device=CPU)
    features = train.users.gather(torch.arange(2, 12))
    before = model.query_vectors(features, {})
    objective.loss(next(iter(PairBatches(train, batch_size=8, seed=0).epoch(0))))
    assert torch.equal(model.query_vectors(features, {}), before)
    tables = objective.id_tables()
    smoothed = model.query_vectors(features, {}, id_table=tables.user)
    assert not torch.equal(smoothed, before)
    assert torch.equal(objective.served_model().query_vectors(features, {}), smoothed)


def test_ids_alone_without_hidden_layers_are_matrix_factorization() -> None:
    train = planted({}, np.random.default_rng(0))
    config = RetrieverConfig(embedding_dim=8, normalize=False, item_bias=False)
    model = TwoTower(config, train.users.schema).eval()
    nums = torch.tensor([3, 7])
    query, item = model.id_encoders()
    assert torch.equal(model.query_vectors(train.users.gather(nums), {}), query.table.weight[nums])
    assert torch.equal(model.item_vectors(train.items.gather(nums)), item.table.weight[nums])
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 8 * (402 + 42)


def test_vectors_have_unit_length_and_batch_equals_single() -> None:
    train = planted(BY_FEATURES, np.random.default_rng(0))
    model = TwoTower(RetrieverConfig(embedding_dim=8), train.users.schema).eval()
    nums = torch.arange(2, 31)
    together = model.query_vectors(train.users.gather(nums), {})
    torch.testing.assert_close(together[:, :7].norm(dim=1), torch.ones(29))
    for place, num in enumerate(nums[:5]):
        alone = model.query_vectors(train.users.gather(num[None]), {})
        torch.testing.assert_close(alone[0], together[place])


def test_the_same_seed_makes_the_same_model_and_leaves_global_randomness_alone() -> None:
    train = planted(BY_FEATURES, np.random.default_rng(0))
    state = torch.get_rng_state()
    first, second, third = (
        TwoTower(RetrieverConfig(), train.users.schema, seed=seed).state_dict()
        for seed in (4, 4, 5)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, third[name]) for name, tensor in first.items())


def test_id_dropout_trains_the_oov_row() -> None:
    features = {"item": {"id": {"dropout": 0.3}}, "user": {"id": {"dropout": 0.3}}}
    train = planted(features, np.random.default_rng(0))
    untouched = TwoTower(RetrieverConfig(embedding_dim=16, smoothing_layers=0), train.users.schema)
    before = [encoder.table.weight[1].detach().clone() for encoder in untouched.id_encoders()]
    model = fitted(train, smoothing_layers=0)
    for encoder, row in zip(model.id_encoders(), before, strict=True):
        assert float((encoder.table.weight[1].detach() - row).norm()) > 0.1
    without = fitted(planted({}, np.random.default_rng(0)), smoothing_layers=0)
    for encoder in without.id_encoders():
        assert not encoder.table.weight[1].any()


def test_the_last_coordinate_is_the_items_bias() -> None:
    train = planted({}, np.random.default_rng(0))
    config = RetrieverConfig(embedding_dim=8, temperature=0.5)
    model = TwoTower(config, train.users.schema).eval()
    nums = torch.tensor([3, 7])
    queries = model.query_vectors(train.users.gather(nums), {}) / model.temperature
    items = model.item_vectors(train.items.gather(nums))
    taste, table = model.id_encoders()[0].table.weight[nums], model.id_encoders()[1].table.weight
    cosines = F.normalize(taste[:, :7]) @ F.normalize(table[nums, :7]).T
    torch.testing.assert_close(queries @ items.T, cosines / 0.5 + table[nums, 7])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (10_000_000, 0.1),
        (600_000, 0.1),
        (600_000 / 16, 0.2),
        (600_000 / 81, 0.3),
        (100, 0.4),
        (None, 0.1),
    ],
)
def test_fewer_rows_have_a_higher_temperature(rows: int | None, expected: float) -> None:
    assert initial_temperature(RetrieverConfig(), rows) == pytest.approx(expected)
    assert initial_temperature(RetrieverConfig(temperature=0.07), rows) == 0.07
