"""The feature-aware ranker: planted tastes, also of cold pairs; it trains on what serving reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.models.retriever.test_two_tower import planted, share
from twotower.config import FeaturesConfig, RankerConfig
from twotower.data.arrays.ragged import Ragged
from twotower.data.batches.batches import PairBatches, SequenceBatches, UserBatches
from twotower.data.dataset.dataset import number_interactions
from twotower.data.dataset.entities import EntityTable, taken
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.schema import Schema
from twotower.models.ranker.ncf import NeuralCF
from twotower.models.ranker.ncf_objective import NegativeMixer, RankingObjective, sampled_softmax
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.serving.bundle.queries import Queries
from twotower.training.optimizers import RowAdam

CPU = torch.device("cpu")
TRAINED_USERS, TRAINED_ITEMS, ALL_USERS, ALL_ITEMS = 300, 60, 360, 100


def fitted(train: Interactions, epochs: int = 10, users: int = 32, **settings: Any) -> NeuralCF:
    config = RankerConfig.model_validate({"embedding_dim": 16, "dropout": 0.0, **settings})
    model = NeuralCF(config, train.users.schema)
    objective = RankingObjective(model, train, device=CPU)
    batches = (
        PairBatches(train, batch_size=256, seed=0)
        if train.context
        else UserBatches(train, batch_size=users, seed=0)
    )
    optimizer = RowAdam(model.parameters(), lr=0.01)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for epoch in range(epochs):
            for batch in batches.epoch(epoch):
                optimizer.zero_grad()
                objective.loss(batch).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return model.eval()


def scores(model: NeuralCF, train: Interactions, users: Tensor, items: Tensor) -> Tensor:
    """(Q, K) as served, of user nums (Q,) and item nums (K,)."""
    ranker = NeuralRanker.build(model, train.items)
    nums = users.numpy()
    queries = Queries(train.users.gather(users), {}, None, train.by_user().take(nums))
    return torch.from_numpy(ranker.logits(queries, items.expand(len(nums), -1).numpy()))


# --- planted truth ---


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"user_positives": False},
        {"gmf": False, "hidden": [32, 16], "norm": "layer", "activation": "gelu", "epochs": 16},
        {"hidden": [], "loss": "sampled_softmax"},
        {"hidden": [32], "norm": "batch", "dropout": 0.2},
        {"hidden": [32, 16], "loss": "sampled_softmax", "num_negatives": 16},
    ],
)
def test_each_form_learns_the_planted_taste(settings: dict[str, Any]) -> None:
    train = planted({}, np.random.default_rng(0))
    model = fitted(train, **settings)
    assert share(scores(model, train, torch.arange(2, 402), torch.arange(2, 42)), train) > 0.9


def crossed(*, with_features: bool) -> Interactions:
    """The young like what is dark, the old what is bright: neither feature tells anything without
    the other. A sixth of the users and two fifths of the items are in no training row."""
    rng = np.random.default_rng(0)
    age, colour = rng.integers(0, 2, ALL_USERS), rng.integers(0, 2, ALL_ITEMS)
    users = pl.DataFrame({"user_id": np.arange(ALL_USERS), "age": age})
    items = pl.DataFrame({"item_id": np.arange(ALL_ITEMS), "colour": colour})
    suits = age[:TRAINED_USERS, None] == colour[None, :TRAINED_ITEMS]
    taken = np.argwhere(suits & (rng.random(suits.shape) < 0.3))
    rows = pl.DataFrame({"user_id": taken[:, 0], "item_id": taken[:, 1]})
    category, ids = {"type": "category"}, {"id": {"dropout": 0.5}}
    features = {
        "user": {**ids, "age": category},
        "item": {**ids, "colour": category},
    }
    schema = Schema.fit(
        FeaturesConfig.model_validate(features if with_features else {}),
        interactions=rows,
        users=users,
        items=items,
    )
    return number_interactions(
        rows, EntityTable(schema, "user", users), EntityTable(schema, "item", items)
    )


def right_among_cold(model: NeuralCF, train: Interactions) -> float:
    """Of each cold user's ten best cold items, the share that suits; chance: about a half."""
    users = torch.arange(train.users.end_warm, len(train.users))
    items = torch.arange(train.items.end_warm, len(train.items))
    best = scores(model, train, users, items).topk(10).indices.numpy()
    people, things = (t.frame[t.end_warm :] for t in (train.users, train.items))
    suits = things["colour"].to_numpy()[best] == people["age"].to_numpy()[:, None]
    return float(suits.mean())


def test_crossed_features_of_cold_users_and_cold_items_are_ranked_right() -> None:
    train = crossed(with_features=True)
    assert len(train.users) - train.users.end_warm == ALL_USERS - TRAINED_USERS
    model = fitted(train, epochs=10, users=6, hidden=[32, 16])
    assert right_among_cold(model, train) > 0.9


def test_ids_alone_say_nothing_of_cold_pairs() -> None:
    train = crossed(with_features=False)
    assert 0.3 < right_among_cold(fitted(train, epochs=4), train) < 0.7


# --- training reads what serving reads ---


def queries_in_training(model: NeuralCF, train: Interactions, batch: Any) -> tuple[Tensor, Tensor]:
    """The query states of a batch's targets, and the targets."""
    objective = RankingObjective(model, train, device=CPU)
    rows, _ = batch.mask.nonzero(as_tuple=True)
    target = batch.item_num[batch.mask]
    counts = objective.user_positives
    positives = None if counts is None else counts.of(batch.user_num)
    items = objective._encode(target[:, None], positives, batch)
    return objective._query_states(batch, rows, target, items, positives), target


@pytest.mark.parametrize("again", [0, 1, 3])
def test_a_target_is_not_among_its_users_positives(again: int) -> None:
    train = planted({}, np.random.default_rng(0))
    few = train.take(np.arange(0, len(train), 3))
    for _ in range(again):  # a third of the rows is there again
        train = train.append(few)
    model = NeuralCF(RankerConfig(embedding_dim=8), train.users.schema).eval()
    ranker = NeuralRanker.build(model, train.items)
    batch = next(iter(UserBatches(train, batch_size=5, seed=0).epoch(0)))
    found, targets = queries_in_training(model, train, batch)
    rows, _ = batch.mask.nonzero(as_tuple=True)
    seen = train.by_user()
    for place, (row, target) in enumerate(zip(rows.tolist(), targets.tolist(), strict=True)):
        user = int(batch.user_num[row])
        lists = seen.take(np.array([user]))
        kept = lists.values[lists.values != target]
        without = type(lists)(np.array([0, len(kept)]), kept)
        asked = Queries(train.users.gather(torch.tensor([user])), {}, None, without)
        torch.testing.assert_close(found[place], ranker.query_states(asked)[0])


def timed() -> Interactions:
    """Twelve users with six events each, with an event type and a context."""
    rng = np.random.default_rng(0)
    rows = pl.DataFrame(
        {
            "user_id": np.repeat(np.arange(12), 6),
            "item_id": rng.integers(0, 20, 72),
            "timestamp": np.arange(72) * 3600,
            "event_type": rng.choice(["view", "buy"], 72),
            "device": rng.choice(["phone", "desk"], 72),
        }
    )
    features = {
        "user": {"history": {"type": "history", "max_length": 8}},
        "context": {"device": {"type": "category"}},
    }
    schema = Schema.fit(
        FeaturesConfig.model_validate(features), interactions=rows, users=None, items=None
    )
    return number_interactions(
        rows, EntityTable(schema, "user", None), EntityTable(schema, "item", None)
    )


def test_the_newest_place_of_a_history_is_what_serving_reads() -> None:
    train = timed()
    config = RankerConfig(embedding_dim=8, user_positives=False)
    model = NeuralCF(config, train.users.schema).eval()
    ranker = NeuralRanker.build(model, train.items)
    batch = next(iter(SequenceBatches(train, batch_size=12, seed=0, max_length=8).epoch(0)))
    found, _ = queries_in_training(model, train, batch)
    order = np.argsort(train.user_num, kind="stable")
    last = {
        int(user): order[6 * place : 6 * place + 6]
        for place, user in enumerate(np.unique(train.user_num))
    }
    for row, user in enumerate(batch.user_num.tolist()):
        before = train.take(last[user][:-1]).histories().latest(np.array([user]), 8)
        context = taken(train.context, last[user][-1:])
        asked = Queries(train.users.gather(torch.tensor([user])), context, before)
        torch.testing.assert_close(found[6 * row + 5], ranker.query_states(asked)[0])


def test_it_trains_on_histories_and_contexts() -> None:
    train = timed()
    model = NeuralCF(RankerConfig(embedding_dim=8, num_negatives=2), train.users.schema)
    objective = RankingObjective(model, train, device=CPU)
    batch = next(iter(SequenceBatches(train, batch_size=12, seed=0, max_length=8).epoch(0)))
    objective.loss(batch).backward()  # type: ignore[no-untyped-call]
    silent = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    # A softmax over places does not hear what all have in common, and no device is missing.
    silent = [name for name in silent if not name.startswith("history.body")]
    assert silent == ["context_part.encoders.0.missing"]


def test_few_items_are_encoded_one_by_one_and_many_all_at_once() -> None:
    train = planted({}, np.random.default_rng(0))
    model = NeuralCF(RankerConfig(embedding_dim=8, user_positives=False), train.users.schema).eval()
    objective = RankingObjective(model, train, device=CPU)
    batch = next(iter(UserBatches(train, batch_size=5, seed=0).epoch(0)))
    few, many = torch.tensor([[3, 9, 3]]), torch.arange(2, 42).repeat(1, 2)
    alone, all_of_them = (objective._encode(nums, None, batch) for nums in (few, many))
    assert (alone.nums is not None, all_of_them.nums is None) == (True, True)
    for nums in (few, torch.tensor([[9, 3]])):
        torch.testing.assert_close(
            F.embedding(alone.rows(nums), alone.made.states),
            F.embedding(all_of_them.rows(nums), all_of_them.made.states),
        )


# --- negatives, loss ---


@pytest.mark.parametrize(("hard_share", "hard"), [(0.0, 0), (0.25, 2), (1.0, 8)])
def test_the_chosen_share_of_negatives_is_hard(hard_share: float, hard: int) -> None:
    train = planted({}, np.random.default_rng(0))
    pool = np.full((len(train.users), 3), -1)
    pool[:, :2] = [[7, 8]]
    config = RankerConfig(num_negatives=8, hard_share=hard_share)
    mixer = NegativeMixer(train, config, pool, CPU)
    users = torch.arange(2, 402)
    drawn = mixer.draw(users)
    assert drawn.shape == (400, 8)
    from_pool = torch.isin(drawn[:, :hard], torch.tensor([7, 8]))
    # A third of the pool is empty, there a uniform one stands in.
    if hard:
        assert 0.6 < float(from_pool.float().mean()) < 0.75
    owned = mixer.known.contains(users[:, None].expand(-1, 8), drawn)
    assert not owned[:, hard:].any()


@pytest.mark.parametrize("hard_share", [0.0, 0.25, 1.0])
def test_negatives_are_drawn_as_often_as_their_q_says(hard_share: float) -> None:
    train = planted({}, np.random.default_rng(0))
    user = 2
    free = np.setdiff1d(np.arange(2, 42), train.by_user()[user])
    pool = np.full((len(train.users), 3), -1)
    pool[user, :2] = free[:2]
    config = RankerConfig(num_negatives=8, hard_share=hard_share)
    mixer = NegativeMixer(train, config, pool, CPU)
    users = torch.full((20_000,), user)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = mixer.draw(users)
    q = mixer.logq(users[:1], torch.from_numpy(free)[None]).exp()[0].numpy()
    # A uniform draw is among the items that the user does not have, q counts all of the 40.
    hard = np.where(np.isin(free, free[:2]), round(8 * hard_share) / 3, 0.0)
    expected = hard + (q - hard) * 40 / len(free)
    found = np.array([float((drawn == item).float().sum(dim=1).mean()) for item in free])
    np.testing.assert_allclose(found, expected, rtol=0.08)
    assert found.sum() == pytest.approx(8)


@pytest.mark.parametrize("hard_share", [0.0, 0.5, 1.0])
def test_one_negative_is_an_item_that_the_user_dislikes(hard_share: float) -> None:
    train = planted({}, np.random.default_rng(0))
    user, other = 2, 3
    free = np.setdiff1d(np.arange(2, 42), train.by_user()[user])
    disliked = Ragged.group(np.full(2, user), free[-2:], len(train.users))
    pool = np.full((len(train.users), 2), -1)
    pool[user] = free[:2]
    config = RankerConfig(num_negatives=5, hard_share=hard_share)
    mixer = NegativeMixer(train, config, pool, CPU, disliked)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = mixer.draw(torch.full((60_000,), user))
        assert mixer.draw(torch.full((100,), other)).shape == (100, 5)
    assert torch.isin(drawn[:, -1], torch.from_numpy(free[-2:])).all()
    assert not mixer.known.contains(torch.full((60_000, 5), user), drawn).any()
    q = mixer.logq(torch.tensor([user]), torch.from_numpy(free)[None]).exp()[0].numpy()
    own = np.where(np.isin(free, free[-2:]), 0.5, 0.0)
    own += np.where(np.isin(free, free[:2]), mixer.num_hard / 2, 0.0)
    # A uniform draw is among the items that the user does not have, q counts all of the 40.
    expected = own + (q - own) * 40 / len(free)
    found = np.array([float((drawn == item).float().sum(dim=1).mean()) for item in free])
    np.testing.assert_allclose(found, expected, rtol=0.08)
    assert found.sum() == pytest.approx(5)
    # Of a user without dislikes all are others, and so they are without any dislikes.
    of_other = mixer.logq(torch.tensor([other]), torch.arange(2, 42)[None]).exp()
    assert float(of_other.sum()) == pytest.approx(5)


def test_sampled_softmax_by_hand() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    logq = torch.log(torch.tensor([[0.5, 0.25], [0.1, 0.1]]))
    first = np.log(np.exp(2) + np.exp(1) / 0.5 + 1 / 0.25) - 2
    second = np.log(1 + 10 + 10)
    found = sampled_softmax(logits, logq, torch.tensor([1.0, 3.0]))
    assert float(found) == pytest.approx((first + 3 * second) / 4, rel=1e-6)
    assert float(sampled_softmax(logits, logq, torch.zeros(2))) == 0


# --- what it is made of ---


def test_the_same_seed_makes_the_same_model_and_leaves_global_randomness_alone() -> None:
    train = planted({}, np.random.default_rng(0))
    state = torch.get_rng_state()
    first, second, third = (
        NeuralCF(RankerConfig(), train.users.schema, seed=seed).state_dict() for seed in (4, 4, 5)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, third[name]) for name, tensor in first.items())


def test_id_dropout_trains_the_row_of_unknown_users() -> None:
    train = planted({}, np.random.default_rng(0))
    made = NeuralCF(RankerConfig(embedding_dim=16, dropout=0.0), train.users.schema)
    name = "user_part.encoders.0.table.weight"
    before, after = made.state_dict()[name][1], fitted(train, epochs=2).state_dict()[name][1]
    assert float((after - before).norm()) > 0.05
