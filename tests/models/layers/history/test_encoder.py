"""The history tower: it never sees what comes later, and it learns what comes next."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from twotower.config import Config, HistoryConfig
from twotower.data.batches.batches import Batch, SequenceBatches
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.interactions import Interactions
from twotower.data.dataset.splits import Parts
from twotower.data.features.histories import Histories, History, HistoryFeature
from twotower.data.features.vocabulary import Vocabulary
from twotower.data.tables.tables import Tables
from twotower.models.layers.history.encoder import HistoryEncoder, alike_in_length
from twotower.models.layers.history.view import log_ages
from twotower.models.retriever.objective import RetrievalObjective
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.bundle.query_encoder import encode_items
from twotower.workflow.training.fit import fit

CPU = torch.device("cpu")
ENCODERS = ("mean", "attention", "transformer")
HOUR = 3600


def config(encoder: str, **sections: Any) -> Config:
    history = {"type": "history", "encoder": encoder, "max_length": 8, "dropout": 0.0}
    user = {"id": {"enabled": False}, "history": {**history, **sections.pop("history", {})}}
    document = {
        "data": {"interactions": "log.csv"},
        "features": {"user": user, **sections.pop("features", {})},
        "retriever": {"embedding_dim": 16, **sections.pop("retriever", {})},
    }
    return Config.model_validate({**document, **sections})


def dataset(log: pl.DataFrame, settings: Config, items: pl.DataFrame | None = None) -> Dataset:
    parts = Parts(log, log.clear(), log.clear(), "given", "")
    return Dataset.from_parts(settings, Tables(log, items=items), parts)


def cycle(num_users: int = 120, length: int = 7, num_items: int = 12) -> pl.DataFrame:
    """After item i comes i + 1: only the last item tells the next one."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, num_items, num_users)
    step = np.arange(length)
    return pl.DataFrame(
        {
            "user_id": np.repeat(np.arange(num_users), length),
            "item_id": ((first[:, None] + step) % num_items).ravel(),
            "timestamp": (step * HOUR + np.zeros((num_users, 1), dtype=np.int64)).ravel(),
        }
    )


def encoder(kind: str, **settings: Any) -> tuple[HistoryEncoder, HistoryFeature]:
    declared = config(kind, history={"max_length": 16, **settings}).features.history
    assert declared is not None
    types = Vocabulary.build(pl.Series(["click", "buy"]))
    feature = HistoryFeature(declared, types, has_times=True)
    made = HistoryEncoder(feature, 16, torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    return made, feature


def history(length: int = 6) -> History:
    time = torch.arange(length)[None] * 5 * HOUR
    item_num = torch.arange(length)[None] + 1
    item_num[:, 0] = 0
    types = torch.arange(length)[None] % 2 + 2
    return History(item_num, torch.ones(1, length, dtype=torch.bool), time, types)


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_place_sees_itself_and_what_was_before(kind: str) -> None:
    made, _ = encoder(kind)
    tokens = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(2), requires_grad=True)
    for place in range(6):
        (gradient,) = torch.autograd.grad(made(tokens, history())[0, place].sum(), tokens)
        reached = gradient[0].abs().sum(dim=1) > 1e-7
        assert reached[1 : place + 1].all()
        assert not reached[place + 1 :].any()


@pytest.mark.parametrize("kind", ENCODERS)
def test_later_times_and_types_change_nothing(kind: str) -> None:
    made, _ = encoder(kind)
    tokens = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(2))
    told = history()
    assert told.time is not None
    assert told.event_num is not None
    time, event_num = told.time.clone(), told.event_num.clone()
    time[:, 4:] += 900 * HOUR
    event_num[:, 4:] = 3
    other = told._replace(time=time, event_num=event_num)
    before, after = made(tokens, told), made(tokens, other)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 5], after[:, 5])


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("ages", [True, False])
def test_the_newest_place_alone_is_the_same(kind: str, ages: bool) -> None:
    made, _ = encoder(kind, ages=ages)
    lengths = torch.tensor([[1], [2], [4], [6]])
    one = history()
    told = History(*(column.repeat(4, 1) for column in one if column is not None))
    told = told._replace(mask=torch.arange(6) < lengths)
    tokens = torch.randn(4, 6, 16, generator=torch.Generator().manual_seed(2))
    places = made(tokens, told)
    expected = torch.stack([places[row, length - 1] for row, (length,) in enumerate(lengths)])
    torch.testing.assert_close(made(tokens, told, newest=True), expected)


@pytest.mark.parametrize("kind", ENCODERS)
def test_padding_changes_nothing(kind: str) -> None:
    made, _ = encoder(kind)
    tokens = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(2))
    short = History(*(column[:, :4] for column in history() if column is not None))
    there = torch.arange(6)[None] < 4
    long = history()._replace(item_num=torch.where(there, history().item_num, 0), mask=there)
    torch.testing.assert_close(made(tokens[:, :4], short), made(tokens, long)[:, :4])


def test_the_mean_is_times_the_root_of_the_number_until_ages_are_learned() -> None:
    made, _ = encoder("mean", ages=False, event_types=False)
    tokens = torch.randn(1, 6, 16)
    untyped = history()._replace(event_num=None)
    vectors = made(tokens, untyped)
    torch.testing.assert_close(vectors[0, 0], made.beginning)
    torch.testing.assert_close(vectors[0, 4], tokens[0, 1:5].mean(dim=0) * 4**0.5)


def test_ages_are_those_before_the_place_that_looks() -> None:
    time = torch.tensor([[0, 0, 1 * HOUR, 7 * HOUR]])
    ages = log_ages(time)[0]
    assert ages[:3].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]]
    torch.testing.assert_close(ages[3], torch.tensor([3.0, 3.0, 2.8074, 0.0]), atol=1e-4, rtol=0)


def test_the_weight_of_an_event_falls_with_a_power_of_its_age() -> None:
    made, _ = encoder("mean", event_types=False)
    tokens = torch.randn(1, 6, 16)
    with torch.no_grad():
        made.body.get_parameter("slopes").fill_(0.5)
    hours = torch.tensor([15.0, 10.0, 5.0, 0.0])  # of places 1 to 4, seen from place 4
    weights = (1 + hours) ** (-0.5 / np.log(2))
    want = (weights / (weights**2).sum().sqrt()) @ tokens[0, 1:5]
    torch.testing.assert_close(made(tokens, history()._replace(event_num=None))[0, 4], want)


# --- batches ------------------------------------------------------------------------------------


def test_each_target_is_told_from_what_came_before_it() -> None:
    data = dataset(cycle(num_users=9, length=7), config("mean"))
    for batch in SequenceBatches(data.train, batch_size=4, seed=0, max_length=8).epoch(0):
        assert batch.history is not None
        assert batch.mask.all()
        assert torch.equal(batch.history.item_num[:, 1:], batch.item_num[:, :-1])
        assert not batch.history.item_num[:, 0].any()


def test_a_long_user_becomes_windows_and_every_event_but_their_first_is_a_target() -> None:
    data = dataset(cycle(num_users=1, length=20), config("mean"))
    batches = list(SequenceBatches(data.train, batch_size=8, seed=0, max_length=8).epoch(0))
    (batch,) = batches
    assert sorted(batch.mask.sum(dim=1).tolist()) == [4, 7, 7]
    latest = data.train.item_num[-8:]
    assert any(row.tolist() == latest[1:].tolist() for row in batch.item_num[:, 1:])


def test_without_times_the_order_is_drawn_anew() -> None:
    data = dataset(cycle(num_users=30).drop("timestamp"), config("mean"))
    made = SequenceBatches(data.train, batch_size=64, seed=0, max_length=8)
    first, again, second = (next(made.epoch(number)) for number in (0, 0, 1))
    assert torch.equal(first.item_num, again.item_num)

    def by_user(batch: Batch) -> dict[int, list[int]]:
        users = batch.user_num.tolist()
        return {user: row.tolist() for user, row in zip(users, batch.item_num, strict=True)}

    one, other = by_user(first), by_user(second)
    assert one != other
    assert {u: sorted(row) for u, row in one.items()} == {u: sorted(r) for u, r in other.items()}


def test_a_planted_leak_is_caught() -> None:
    """Were the target in its own history, nothing could be learned too well; the test of the tower
    is that it scores no better than chance on coins, whose past tells nothing."""
    rng = np.random.default_rng(0)
    coins = cycle(num_users=150).with_columns(item_id=pl.Series(rng.integers(0, 12, 150 * 7)))
    honest = dataset(coins, config("attention")).train
    assert last_loss(honest, leak=False) > 0.93 * np.log(12)
    assert last_loss(honest, leak=True) < 0.5 * np.log(12)


class Leaking(SequenceBatches):
    """The history holds the target itself: what a mistake of one place would do."""

    def epoch(self, number: int) -> Any:
        for batch in super().epoch(number):
            assert batch.history is not None
            yield Batch(
                batch.user_num,
                batch.item_num,
                batch.mask,
                batch.weight,
                batch.context,
                batch.history._replace(
                    item_num=torch.cat(
                        [batch.history.item_num[:, :1], batch.item_num[:, 1:]], dim=1
                    )
                ),
            )


def last_loss(train: Interactions, *, leak: bool) -> float:
    settings = config("attention", retriever={"negative_weight": 1.0})
    model = TwoTower(settings.retriever, train.users.schema, seed=0)
    kind = Leaking if leak else SequenceBatches
    batches = kind(train, batch_size=50, seed=0, max_length=8)
    # Of a few coins, which ones a user never has would tell too much.
    objective = RetrievalObjective(
        model, train, batch_size=50, device=CPU, mask_known_positives=False
    )
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses: list[float] = []
    for number in range(15):
        losses = []
        for batch in batches.epoch(number):
            optimizer.zero_grad()
            loss = objective.loss(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
    return float(np.mean(losses))


# --- learning and serving -----------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax", "in_batch_softmax", "bce"])
def test_the_next_item_is_learned(loss: str) -> None:
    settings = config(
        "attention",
        retriever={"loss": loss, "num_negatives": 16},
        training={"epochs": 40, "batch_size": 32, "layer_learning_rate": 0.01},
        evaluation={"mask_seen": False},
    )
    data = dataset(cycle(), settings)
    model = fit(TwoTower(settings.retriever, data.schema), data.train, config=settings).eval()
    assert next_item_share(model, data) > 0.9


def test_the_mean_cannot_learn_an_order_and_the_transformer_can() -> None:
    shares = {}
    for kind in ("mean", "transformer"):
        settings = config(
            kind,
            history={"ages": False},
            training={"epochs": 40, "batch_size": 32, "layer_learning_rate": 0.01},
            evaluation={"mask_seen": False},
        )
        data = dataset(back_and_forth(), settings)
        model = fit(TwoTower(settings.retriever, data.schema), data.train, config=settings)
        shares[kind] = next_item_share(model.eval(), data, want=np.repeat([0, 1], 100) + 4)
    assert shares["transformer"] > 0.95
    assert shares["mean"] < 0.65


def back_and_forth() -> pl.DataFrame:
    """2 then 3 is followed by 5; 3 then 2 is followed by 4."""
    rows = [[3, 2, 4]] * 100 + [[2, 3, 5]] * 100
    return pl.DataFrame(
        {
            "user_id": np.repeat(np.arange(200), 3),
            "item_id": np.array(rows).ravel(),
            "timestamp": np.tile(np.arange(3), 200),
        }
    )


@torch.no_grad()
def next_item_share(model: TwoTower, data: Dataset, want: Any = None) -> float:
    """Share of users whose next item, or, with `want`, whose last one, is ranked first."""
    users = np.arange(data.users.first_known, len(data.users))
    histories = data.train.histories()
    if want is None:
        values = histories.items.values[histories.items.offsets[users + 1] - 1]
        last = data.items.ids.gather(values).to_numpy()
        want = (last + 1) % 12
    else:
        cut = data.train.take(np.flatnonzero(np.arange(len(data.train)) % 3 < 2))
        histories = cut.histories()
    states, _ = encode_items(model, data.items.features)
    told = histories.latest(users, 8)
    queries = model.query_vectors(
        data.users.gather(torch.from_numpy(users)), {}, read(states, told)
    )
    scores = queries @ model.vectors_of_states(states).T
    scores[:, : data.items.first_known] = -torch.inf
    best = data.items.ids.gather(scores.argmax(dim=1).numpy()).to_numpy()
    return float((best == want).mean())


def read(states: Tensor, told: History) -> tuple[Tensor, History]:
    return states[told.item_num], told


@torch.no_grad()
@pytest.mark.parametrize("kind", ENCODERS)
def test_what_is_served_is_what_was_trained(kind: str) -> None:
    """The vector of a request is that of the place behind its last event."""
    settings = config(kind)
    data = dataset(cycle(num_users=5), settings)
    model = TwoTower(settings.retriever, data.schema, seed=3).eval()
    states, _ = encode_items(model, data.items.features)
    batch = next(SequenceBatches(data.train, batch_size=5, seed=0, max_length=8).epoch(0))
    assert batch.history is not None
    users = data.users.gather(batch.user_num)
    trained = model.query_vectors_at_positions(users, {}, read(states, batch.history))
    for place in range(7):
        cut = data.train.take(np.flatnonzero(np.arange(len(data.train)) % 7 < place))
        told = cut.histories().latest(batch.user_num.numpy(), 8)
        served = model.query_vectors(users, {}, read(states, told))
        torch.testing.assert_close(served, trained[:, place], rtol=1e-4, atol=1e-5)


def test_only_the_newest_events_are_read() -> None:
    many = Histories.group(np.zeros(9, np.int64), np.arange(1, 10), 1, time=np.arange(9))
    told = many.latest(np.array([0, -1, 5]), 4)
    assert told.item_num.tolist() == [[0, 7, 8, 9], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert told.mask.tolist() == [[True] * 4, [True] + [False] * 3, [True] + [False] * 3]
    assert told.time is not None
    assert told.time[0].tolist() == [6, 6, 7, 8]


def test_what_an_item_says_once_taken_is_its_own_at_first_nothing() -> None:
    """Items that came after training have no vector of their own."""
    settings = config("mean")
    data = dataset(cycle(num_users=5), settings)
    tower = TwoTower(settings.retriever, data.schema, seed=3).eval().query_tower.history
    assert tower is not None
    assert tower.taken is not None
    states, told = (
        torch.randn(2, 3, tower.beginning.shape[0]),
        History(
            torch.tensor([[0, 3, 4], [0, 3, 1000]]), torch.ones(2, 3, dtype=torch.bool), None, None
        ),
    )
    before = tower(states, told)
    with torch.no_grad():
        tower.taken.weight[4] += 6.0
        tower.taken.weight[1] += 6.0
    change = tower(states, told) - before
    assert change[0, :2].abs().max() == 0
    torch.testing.assert_close(change[0, 2], torch.full_like(change[0, 2], 6.0 / 2**0.5))
    assert change[1].abs().max() == 0


def test_most_user_ids_are_dropped_beside_a_history_unless_the_config_says_so() -> None:
    for user, share in (({}, 0.8), ({"dropout": 0.2}, 0.2)):
        settings = config("mean", features={"user": {"id": user, "history": {"type": "history"}}})
        made = TwoTower(settings.retriever, dataset(cycle(), settings).schema)
        encoder_of_ids, encoder_of_items = made.id_encoders()
        assert encoder_of_ids.dropout == share
        assert encoder_of_items.dropout == 0.0


@pytest.mark.parametrize("encoder", ENCODERS)
def test_groups_of_like_length_are_encoded_as_all_at_once(encoder: str) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.permutation(np.repeat([0, 1, 3, 6, 20], 16))
    users = np.repeat(np.arange(80), lengths)
    log = Histories.group(
        users, rng.integers(3, 9, len(users)), 80, time=HOUR * np.arange(len(users))
    )
    history = log.latest(np.arange(80), 20)
    settings = HistoryConfig(type="history", encoder=encoder, dropout=0.0)
    model = HistoryEncoder(HistoryFeature(settings, None, True), 16, torch.Generator())
    items = torch.randn(*history.item_num.shape, 16, generator=torch.Generator().manual_seed(0))
    groups = alike_in_length(history)
    found = [(len(rows), longest) for rows, longest in groups]
    assert found == [(16, 20), (32, 7), (16, 2), (16, 1)]
    assert torch.cat([rows for rows, _ in groups]).sort().values.tolist() == list(range(80))
    for newest in (False, True):
        vectors = model(items, history, newest=newest)
        alone = [
            model(items[row : row + 1], history.of_rows(torch.tensor([row]), 20), newest=newest)
            for row in range(80)
        ]
        there = slice(None) if newest else history.mask
        assert torch.allclose(vectors[there], torch.cat(alone)[there], atol=1e-5)
