"""The tower of new items: what it reads, what it leaves alone, what it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from twotower.config import FeaturesConfig, RetrieverConfig
from twotower.data.arrays.ragged import Ragged
from twotower.data.batches.batches import UserBatches
from twotower.data.dataset.dataset import number_interactions
from twotower.data.dataset.entities import EntityTable
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.schema import Schema
from twotower.evaluation.metrics import ranking_metrics
from twotower.models.positives.user_positives import UserPositives
from twotower.models.retriever import cold_item_loss
from twotower.models.retriever.cold_item_loss import of_queries
from twotower.models.retriever.cold_item_tower import (
    NUM_DIRECTIONS,
    inverse_frequency,
    main_directions,
)
from twotower.models.retriever.losses.softmax import full_softmax
from twotower.models.retriever.objective import RetrievalObjective
from twotower.models.retriever.two_tower import TwoTower

CPU = torch.device("cpu")
KINDS = 8
FEATURES: dict[str, Any] = {
    "item": {
        "plot": {"type": "text"},
        "makers": {"type": "categories"},
        "country": {"type": "category"},
        "year": {"type": "number", "num_bins": 4},
        "price": {"type": "number"},
    }
}


def planted(
    features: dict[str, Any] = FEATURES, *, shuffled: bool = False
) -> tuple[Interactions, EntityTable]:
    """200 users who each like one of eight kinds of items, and 160 items, the last 40 of them new;
    words, makers and country tell the kind, and each word and maker goes with it three times in
    four."""
    rng = np.random.default_rng(0)
    kind = np.arange(160) % KINDS
    told = rng.permutation(kind) if shuffled else kind

    def drawn(number: int) -> list[list[int]]:
        right = rng.random((160, number)) < 0.75
        of = np.where(right, told[:, None], rng.integers(0, KINDS, (160, number)))
        values: list[list[int]] = (of * 6 + rng.integers(0, 6, (160, number))).tolist()
        return values

    items = pl.DataFrame(
        {
            "item_id": np.arange(160),
            "plot": [" ".join(f"word{word}" for word in row) for row in drawn(12)],
            "makers": [[f"maker{maker}" for maker in set(row)] for row in drawn(3)],
            "country": [f"country{place}" for place in told],
            "year": rng.integers(1950, 2000, 160),
            "price": rng.random(160),
        }
    )
    users = np.repeat(np.arange(200), 10)
    chosen = kind[users % KINDS] + KINDS * rng.integers(0, 15, len(users))
    rows = pl.DataFrame({"user_id": users, "item_id": chosen}).unique(maintain_order=True)
    config = FeaturesConfig.model_validate(features)
    schema = Schema.fit(config, interactions=rows, users=None, items=items)
    table = EntityTable(schema, "item", items)
    return number_interactions(rows, EntityTable(schema, "user", None), table), table


def fitted(
    train: Interactions, *, epochs: int = 15, cold: bool = True, **settings: Any
) -> TwoTower:
    """Trained as `fit` does, without the rest of it."""
    config = RetrieverConfig.model_validate({"embedding_dim": 16, **settings})
    model = TwoTower(config, train.users.schema)
    objective = RetrievalObjective(model, train, batch_size=64, device=CPU)
    if not cold:
        objective.cold_loss = None
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    batches = UserBatches(train, batch_size=64, seed=0)
    for epoch in range(epochs):
        for step, batch in enumerate(batches.epoch(epoch)):
            torch.manual_seed(1000 * epoch + step)
            optimizer.zero_grad()
            objective.loss(batch).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return objective.served_model().eval()


@torch.no_grad()
def found_new(model: TwoTower, train: Interactions, items: EntityTable) -> float:
    """ndcg@5 of the new items of each user's kind, ranked among the new items; chance is about
    .13."""
    users = np.arange(train.users.first_known, train.users.end_warm)
    queries = model.query_vectors(train.users.gather(torch.from_numpy(users)), {})
    new = np.arange(items.end_warm, len(items))
    vectors = model.item_vectors(items.gather(torch.from_numpy(new)))
    best = new[(queries @ vectors.T).topk(5).indices.numpy()]
    kinds = items.ids.to_numpy()[new].astype(int) % KINDS
    liked = train.users.ids.to_numpy()[users].astype(int) % KINDS
    rows, places = np.nonzero(liked[:, None] == kinds)
    relevant = Ragged.group(rows, new[places], len(users))
    return float(np.nanmean(ranking_metrics(best, relevant, 5)["ndcg@5"]))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_full_softmax": 20, "num_negatives": 60},
        {"loss": "bsl", "num_negatives": 60},
        {"normalize": False, "temperature": 1.0},
    ],
)
def test_new_items_are_found_by_what_they_are_made_of(settings: dict[str, Any]) -> None:
    train, items = planted()
    assert found_new(fitted(train, **settings), train, items) > 0.9


def test_shuffled_features_find_no_new_items() -> None:
    train, items = planted(shuffled=True)
    assert found_new(fitted(train), train, items) < 0.4


def test_what_is_known_of_warm_items_is_as_it_is_without_the_cold_tower() -> None:
    train, _ = planted()
    taught, untaught = fitted(train, epochs=2), fitted(train, epochs=2, cold=False)
    names = [name for name in taught.state_dict() if not name.startswith("cold_tower")]
    assert all(torch.equal(taught.state_dict()[n], untaught.state_dict()[n]) for n in names)
    assert not torch.equal(
        taught.state_dict()["cold_tower.mlp.0.weight"],
        untaught.state_dict()["cold_tower.mlp.0.weight"],
    )


@pytest.mark.parametrize("settings", [{}, {"loss": "sampled_softmax", "num_negatives": 60}])
def test_content_that_is_worked_out_in_each_step_teaches_the_same(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, _ = planted()
    kept = fitted(train, epochs=2, **settings)
    monkeypatch.setattr(cold_item_loss, "MAX_KEPT", 119)
    objective = RetrievalObjective(
        TwoTower(RetrieverConfig(embedding_dim=16), train.users.schema),
        train,
        batch_size=64,
        device=CPU,
    )
    assert objective.cold_loss is not None
    assert objective.cold_loss.content is None
    anew = fitted(train, epochs=2, **settings).state_dict()
    for name, weight in kept.state_dict().items():
        torch.testing.assert_close(weight, anew[name], msg=name)


@torch.no_grad()
def test_only_ids_that_training_never_saw_go_through_the_cold_tower() -> None:
    train, items = planted()
    model = TwoTower(RetrieverConfig(embedding_dim=16, cold_offset=0.25), train.users.schema).eval()
    RetrievalObjective(model, train, batch_size=64, device=CPU)
    vectors = model.item_vectors(items.features)
    warm = slice(items.first_known, items.end_warm)
    known = model.vectors_of_states(model.item_states(items.features))
    new = model.cold_vectors(items.features)
    torch.testing.assert_close(vectors[warm], known[warm])
    torch.testing.assert_close(vectors[items.end_warm :], new[items.end_warm :])
    assert not known[:, -1].any()
    assert (new[:, -1] == 0.25).all()
    lengths = new[:, :-1].norm(dim=1)
    torch.testing.assert_close(lengths[items.first_known :], torch.ones(len(items) - 2))
    assert not lengths[: items.first_known].any(), "nothing is known of padding and OOV rows"


@torch.no_grad()
def test_new_items_lie_where_the_others_do_and_keep_their_order() -> None:
    """A user's mean logit is the same by both towers, so that nobody's list is full of new items or
    without any because of a number that the cold tower's loss does not see."""
    train, items = planted()
    model = TwoTower(RetrieverConfig(embedding_dim=16), train.users.schema).eval()
    held_out = np.array([items.first_known + 3, items.first_known + 7])
    objective = RetrievalObjective(model, train, batch_size=64, device=CPU, held_out=held_out)
    before = model.item_vectors(items.features)
    objective.center_new_items(model)
    after = model.item_vectors(items.features)
    learned = np.setdiff1d(np.arange(items.first_known, items.end_warm), held_out)
    towers = after[learned], model.cold_vectors(items.features)[learned]
    torch.testing.assert_close(towers[0].mean(dim=0), towers[1].mean(dim=0))
    queries = model.query_vectors(train.users.features, {})
    means = [(queries @ vectors.T).mean(dim=1) for vectors in towers]
    torch.testing.assert_close(means[0], means[1])
    new = slice(items.end_warm, None)
    warm = slice(items.first_known, items.end_warm)
    assert torch.equal(before[warm], after[warm])
    moved = queries @ (after[new] - before[new]).T
    assert moved.abs().max() > 0.01
    torch.testing.assert_close(moved, moved[:, :1].expand_as(moved))
    objective.center_new_items(model)
    torch.testing.assert_close(model.item_vectors(items.features), after)


def test_a_new_item_is_told_by_the_terms_of_the_training_items() -> None:
    train, items = planted()
    model = TwoTower(RetrieverConfig(embedding_dim=16), train.users.schema)
    tower = model.cold_tower
    assert tower is not None
    assert tower.names == ("price",)
    warm = {name: column[: items.end_warm] for name, column in items.features.items()}
    known = {name: column[items.first_known :] for name, column in warm.items()}
    tower.fit(known)
    content = tower.content(known)
    assert content.shape == (120, NUM_DIRECTIONS)
    assert float(content.square().mean()) == pytest.approx(1.0, rel=1e-4)
    # An item without a value of any feature is made of nothing.
    assert not tower.content({name: column[:1] for name, column in warm.items()}).any()


@pytest.mark.parametrize(
    ("features", "settings", "has_one"),
    [
        (FEATURES, {}, True),
        (FEATURES, {"cold_tower": False}, False),
        ({}, {}, False),
        ({"item": {**FEATURES["item"], "id": {"enabled": False}}}, {}, False),
    ],
)
def test_where_there_is_a_cold_tower(
    features: dict[str, Any], settings: dict[str, Any], has_one: bool
) -> None:
    train, _ = planted(features)
    model = TwoTower(RetrieverConfig(**settings), train.users.schema)
    assert (model.cold_tower is not None) is has_one
    assert ("cold_offset" in model.state_dict()) is has_one


def test_ids_are_dropped_where_no_cold_tower_stands_in_for_them() -> None:
    train, _ = planted()
    for cold_tower, share in ((True, 0.0), (False, 0.1)):
        model = TwoTower(RetrieverConfig(cold_tower=cold_tower), train.users.schema)
        assert model.id_encoders()[1].dropout == share


def test_main_directions_are_the_first_singular_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    scale = 0.98 ** torch.arange(500)
    matrix = torch.randn(400, 500, generator=generator) * scale
    found = main_directions(lambda t: matrix @ t, lambda t: matrix.T @ t, 500, CPU)
    exact = torch.linalg.svd(matrix).Vh[:NUM_DIRECTIONS].T
    assert found.shape == exact.shape
    torch.testing.assert_close(found.T @ found, torch.eye(NUM_DIRECTIONS), atol=1e-4, rtol=0)
    kept = (matrix @ found).square().sum() / (matrix @ exact).square().sum()
    assert float(kept) > 0.999


def test_directions_beyond_the_rank_are_left_out() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(40, 3, generator=generator) @ torch.randn(3, 60, generator=generator)
    found = main_directions(lambda t: matrix @ t, lambda t: matrix.T @ t, 60, CPU)
    assert found.shape == (60, 3)
    torch.testing.assert_close(matrix @ found @ found.T, matrix, atol=1e-4, rtol=1e-4)


def test_rare_terms_weigh_more() -> None:
    nums = torch.tensor([[1, 2, 0], [1, 0, 0], [1, 3, 0]])
    expected = [0, 1, np.log(4 / 2) + 1, np.log(4 / 2) + 1, 0]
    weights = inverse_frequency(nums, 5)
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize("has_owners", [True, False])
def test_queries_without_a_target_are_left_out_without_a_trace(has_owners: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(5, 8, generator=generator)
    vectors = torch.randn(7, 8, generator=generator, requires_grad=True)
    targets, weight = torch.tensor([[1], [2], [0], [3], [4]]), torch.ones(5, 1)
    mask = torch.tensor([[True], [False], [True], [False], [True]])
    owner = torch.tensor([0, 0, 1, 1, 1]) if has_owners else None
    positives = UserPositives(torch.tensor([0, 0, 1]), torch.tensor([1, 5, 4]), owner)
    asked = mask[:, 0]

    def loss_and_gradient(asked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        loss = full_softmax(
            queries[asked],
            vectors,
            targets[asked],
            mask[asked],
            weight[asked],
            positives=of_queries(positives, asked),
        )
        return loss, torch.autograd.grad(loss, vectors)[0]

    expected, found = loss_and_gradient(torch.ones_like(asked)), loss_and_gradient(asked)
    assert torch.allclose(found[0], expected[0])
    assert torch.allclose(found[1], expected[1], atol=1e-6)
    nothing, gradient = loss_and_gradient(torch.zeros_like(asked))
    assert float(nothing.detach()) == float(gradient.abs().max()) == 0
