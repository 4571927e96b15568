"""Batches: everything once an epoch, the same epoch for the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.data.small_shop import TRAIN, config
from twotower.config import Config
from twotower.data.arrays.ragged_tensor import RaggedTensor
from twotower.data.batches.batches import (
    Batch,
    Batches,
    PairBatches,
    SequenceBatches,
    UserBatches,
)
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.entities import tensor_of
from twotower.data.dataset.interactions import Interactions
from twotower.data.dataset.splits import Parts
from twotower.data.tables.tables import Tables

IDS_ONLY = Config.model_validate({"data": {"interactions": "log.csv"}})


def interactions(rows: list[tuple[int, int]]) -> Interactions:
    """Rows of user and item; the weight tells the row."""
    log = pl.DataFrame(
        {
            "user_id": [user for user, _ in rows],
            "item_id": [item for _, item in rows],
            "weight": [float(row) for row in range(len(rows))],
        },
        schema={"user_id": pl.Int64, "item_id": pl.Int64, "weight": pl.Float32},
    )
    parts = Parts(log, log.clear(), log.clear(), "given", "")
    return Dataset.from_parts(IDS_ONLY, Tables(log), parts).train


def targets(batches: list[Batch]) -> Counter[tuple[int, int, float]]:
    """How often each (user_num, item_num, weight) is a target."""
    found: Counter[tuple[int, int, float]] = Counter()
    for batch in batches:
        users = batch.user_num[:, None].expand_as(batch.item_num)[batch.mask].tolist()
        items, weights = batch.item_num[batch.mask].tolist(), batch.weight[batch.mask].tolist()
        found.update(zip(users, items, weights, strict=True))
    return found


def rows_of(part: Interactions) -> Counter[tuple[int, int, float]]:
    columns = (part.user_num.tolist(), part.item_num.tolist(), part.weight.tolist())
    return Counter(zip(*columns, strict=True))


ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=60)
MAKERS: dict[str, Callable[[Interactions, int, int], Batches]] = {
    "pairs": lambda part, size, seed: PairBatches(part, batch_size=size, seed=seed),
    "users": lambda part, size, seed: UserBatches(part, batch_size=size, seed=seed),
    "users in threes": lambda part, size, seed: UserBatches(
        part, batch_size=size, seed=seed, max_targets=3
    ),
}
makers = pytest.mark.parametrize("make", list(MAKERS.values()), ids=list(MAKERS))


@makers
@given(ROWS, st.integers(1, 9), st.integers(0, 3))
def test_every_interaction_once_an_epoch(
    make: Callable[[Interactions, int, int], Batches],
    rows: list[tuple[int, int]],
    size: int,
    seed: int,
) -> None:
    part = interactions(rows)
    source = make(part, size, seed)
    for number in (0, 1):
        batches = list(source.epoch(number))
        assert len(batches) == len(source)
        assert targets(batches) == rows_of(part)
        assert all(len(batch) == size for batch in batches[:-1])
        assert sum(batch.num_targets for batch in batches) == len(rows)


@makers
@given(ROWS)
def test_shapes_types_and_padding(
    make: Callable[[Interactions, int, int], Batches], rows: list[tuple[int, int]]
) -> None:
    for batch in make(interactions(rows), 4, 0).epoch(0):
        assert batch.item_num.shape == batch.mask.shape == batch.weight.shape
        assert batch.user_num.shape == (len(batch),)
        assert batch.user_num.dtype == batch.item_num.dtype == torch.int64
        assert batch.mask.dtype == torch.bool
        assert batch.weight.dtype == torch.float32
        assert batch.mask[:, 0].all()  # no query without a target
        assert not batch.item_num[~batch.mask].any()
        assert not batch.weight[~batch.mask].any()
        assert batch.mask.any(dim=0).all()  # no wider than the longest list


@makers
def test_the_same_seed_and_number_give_the_same_epoch(
    make: Callable[[Interactions, int, int], Batches],
) -> None:
    part = interactions([(user, item) for user in range(20) for item in range(3)])

    def order(seed: int, number: int) -> list[int]:
        return torch.cat([batch.user_num for batch in make(part, 4, seed).epoch(number)]).tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_a_user_with_many_items_becomes_several_queries() -> None:
    part = interactions([(1, item) for item in range(7)] + [(2, 0)])
    (batch,) = UserBatches(part, batch_size=10, seed=0, max_targets=3).epoch(0)
    assert sorted(batch.mask.sum(dim=1).tolist()) == [1, 1, 3, 3]
    assert batch.item_num.shape == (4, 3)
    assert Counter(batch.user_num.tolist()) == {2: 3, 3: 1}


@makers
def test_no_interactions(make: Callable[[Interactions, int, int], Batches]) -> None:
    part = interactions([(1, 1)])
    empty = part.take(torch.zeros(0, dtype=torch.int64).numpy())
    assert len(make(empty, 4, 0)) == 0
    assert list(make(empty, 4, 0).epoch(0)) == []


@makers
def test_items_outside_the_catalogue_are_no_targets(
    make: Callable[[Interactions, int, int], Batches],
) -> None:
    part = interactions([(1, 1), (1, 2), (2, 1)])
    part.item_num[:] = [2, -1, -1]
    assert targets(list(make(part, 4, 0).epoch(0))) == Counter({(2, 2, 0.0): 1})


def test_pairs_carry_their_context() -> None:
    parts = Parts(TRAIN, TRAIN.clear(), TRAIN.clear(), "given", "")
    tagged = config(features={"context": {"device": {"type": "category"}}})
    train = Dataset.from_parts(tagged, Tables(TRAIN), parts).train
    for batch in PairBatches(train, batch_size=3, seed=0).epoch(0):
        devices = tensor_of(batch.context, "device")
        for user, item, device in zip(batch.user_num, batch.item_num[:, 0], devices, strict=True):
            row = (train.user_num == int(user)) & (train.item_num == int(item))
            assert train.context["device"][torch.from_numpy(row)].tolist() == [int(device)]


def test_lists_of_a_context_are_padded_in_a_batch_of_sequences() -> None:
    log = TRAIN.with_columns(
        tags=pl.Series([[f"t{n}" for n in range(place % 4)] for place in range(len(TRAIN))])
    )
    parts = Parts(log, log.clear(), log.clear(), "given", "")
    tagged = config(features={"context": {"tags": {"type": "categories"}}})
    train = Dataset.from_parts(tagged, Tables(log), parts).train
    column = train.context["tags"]
    assert isinstance(column, RaggedTensor)
    expected = {
        (user, item): tags
        for user, item, tags in zip(train.user_num, train.item_num, column.tolist(), strict=True)
    }
    for pair in PairBatches(train, batch_size=3, seed=0).epoch(0):
        keys = zip(pair.user_num.tolist(), pair.item_num[:, 0].tolist(), strict=True)
        assert pair.context["tags"].tolist() == [expected[key] for key in keys]
    for batch in SequenceBatches(train, batch_size=2, seed=0, max_length=8).epoch(0):
        read = tensor_of(batch.context, "tags")
        assert read.shape[:2] == batch.mask.shape
        for row, place in batch.mask.nonzero().tolist():
            key = (int(batch.user_num[row]), int(batch.item_num[row, place]))
            tags = expected[key]
            assert read[row, place].tolist() == tags + [0] * (read.shape[2] - len(tags))


def test_users_carry_no_context() -> None:
    part = interactions([(1, 1), (1, 2)])
    (batch,) = UserBatches(part, batch_size=3, seed=0).epoch(0)
    assert batch.context == {}
