from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from tests.data.small_shop import ITEMS, USERS, schema
from twotower.config import RetrieverConfig
from twotower.data.dataset.entities import EntityTable, Features
from twotower.data.features.schema import Schema
from twotower.models.baselines.factorization_machine import FactorizationMachine, PairwiseTower
from twotower.models.retriever.towers.base import Tower
from twotower.models.retriever.towers.mlp import MlpTower
from twotower.models.retriever.two_tower import TwoTower

GENERATOR = torch.Generator().manual_seed(3)


def machine(fitted: Schema) -> FactorizationMachine:
    """With weights large enough for each term to count."""
    model = FactorizationMachine(RetrieverConfig(embedding_dim=6), fitted, seed=1).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.5, generator=GENERATOR)
    return model


def fields(tower: Tower, rows: Features) -> list[Tensor]:
    """The vector of each feature, (R, D) each, read off the tower's weights."""
    encoded = [
        encoder(rows[name]) for name, encoder in zip(tower.names, tower.encoders, strict=True)
    ]
    assert isinstance(tower, MlpTower)
    assert tower.mlp is not None
    layer = tower.mlp[-1]
    assert isinstance(layer, torch.nn.Linear)
    start, vectors = 0, []
    for place, part in enumerate(encoded):
        own = layer.weight[:, start : start + part.shape[1]]
        vectors.append(part @ own.T + (encoded[0] if place == 0 and tower.has_id else 0))
        start += part.shape[1]
    return vectors


@torch.no_grad()
def test_it_ranks_as_the_sum_over_all_pairs_does() -> None:
    fitted = schema()
    model = machine(fitted)
    users = EntityTable(fitted, "user", USERS).features
    items = EntityTable(fitted, "item", ITEMS).features
    context: Features = {"device": torch.ones(len(users["id"]), dtype=torch.long)}
    queries = model.query_vectors(users, context)
    scores = queries @ model.item_vectors(items).T

    ours = fields(model.query_tower, {**users, "context.device": context["device"]})
    theirs = fields(model.item_tower, items)
    for user, item in itertools.product(range(len(scores)), range(scores.shape[1])):
        vectors = [part[user, :-1] for part in ours] + [part[item, :-1] for part in theirs]
        weights = sum(float(part[item, -1]) for part in theirs)
        pairs = sum(float(a @ b) for a, b in itertools.combinations(vectors, 2))
        # What depends on the user alone: its own pairs, and the constant of the query tower.
        own = [part[user, :-1] for part in ours]
        of_user = sum(float(a @ b) for a, b in itertools.combinations(own, 2))
        assert isinstance(model.query_tower, MlpTower)
        assert model.query_tower.mlp is not None
        layer = model.query_tower.mlp[-1]
        assert isinstance(layer, torch.nn.Linear)
        constant = layer.bias[:-1]
        shift = float(constant @ sum(part[item, :-1] for part in theirs))
        assert float(scores[user, item]) == pytest.approx(
            weights + pairs - of_user + shift, rel=1e-4, abs=1e-4
        )


@torch.no_grad()
def test_ids_alone_are_matrix_factorization_with_a_bias() -> None:
    fitted = schema(user={}, item={}, context={})
    model = machine(fitted)
    plain = TwoTower(
        RetrieverConfig(embedding_dim=6, normalize=False, temperature=1.0, smoothing_layers=0),
        fitted,
        seed=0,
    ).eval()
    assert isinstance(model.item_tower, PairwiseTower)
    plain.load_state_dict(model.state_dict())
    users = EntityTable(fitted, "user", None).features
    items = EntityTable(fitted, "item", None).features
    first, second = (m.query_vectors(users, {}) @ m.item_vectors(items).T for m in (model, plain))
    torch.testing.assert_close(first, second)


def test_the_config_cannot_make_it_something_else() -> None:
    config = RetrieverConfig(embedding_dim=4, hidden=(8,), normalize=True, temperature=0.1)
    model = FactorizationMachine(config, schema())
    assert model.config.hidden == ()
    assert not model.config.normalize
    assert model.has_bias
    assert float(model.temperature.detach()) == 1.0
