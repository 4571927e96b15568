"""The sentence on what training does, and the rules behind it."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import twotower as tt
from twotower.data.synthetic.shop import generate_interactions
from twotower.models.retriever.losses.softmax import MAX_SCORES_PER_ROW
from twotower.models.retriever.two_tower import MAX_SMOOTHED_STEPS, smoothing_every
from twotower.workflow.training import fit_retriever
from twotower.workflow.training.fit_retriever import Batching, make_batches
from twotower.workflow.training.recipe import recipe_sentence, settled_loss

ROWS = generate_interactions(3_000, 200, 100, seed=0)
HISTORY = {"user": {"history": {"type": "history", "max_length": 5}}}
CONTEXT = {"context": {"timestamp": {"type": "timestamp"}}}


def dataset(rows: pl.DataFrame = ROWS, **settings: Any) -> tt.Dataset:
    return tt.Dataset.from_frames(rows, split={"method": "random"}, **settings)


def sentence(data: tt.Dataset) -> str:
    return recipe_sentence(data.train, data.config)


def test_small_data_get_all_items_and_smoothing_in_each_step() -> None:
    data = dataset()
    rows = len(data.train)
    assert sentence(data) == (
        f"{len(make_batches(data.train, data.config))} steps an epoch; softmax over all 100 items; "
        f"ids smoothed over {rows:,} interactions in each step; exact search"
    )


@pytest.mark.parametrize("features", [None, HISTORY, CONTEXT])
def test_an_epoch_is_as_large_as_its_batches(features: Any) -> None:
    data = dataset(features=features, training={"batch_size": 7})
    size = Batching.of(data.train, data.config).epoch_size(data.train)
    batches = list(make_batches(data.train, data.config).epoch(0))
    assert size.steps == len(batches)
    targets = sum(batch.num_targets for batch in batches)
    assert size.rows == len(data.train)
    if features is None:
        assert size.queries == sum(len(batch) for batch in batches) < targets == size.rows
    else:
        # The first row of a later window of a history is not a target.
        assert size.queries == size.rows >= targets


def test_what_the_config_says_holds_and_is_said() -> None:
    data = dataset(
        retriever={"max_full_softmax": 50, "num_negatives": 30, "smoothing_every": 2},
        index={"max_exact": 60},
    )
    assert sentence(data).split("; ")[1:] == [
        "softmax over 30 sampled items a step instead of all 100 (more than "
        "retriever.max_full_softmax = 50)",
        f"ids smoothed over {len(data.train):,} interactions every 2 steps",
        "index hnsw (more than index.max_exact = 60 items)",
    ]
    plain = dataset(retriever={"smoothing_layers": 0, "loss": "bpr"}, index={"kind": "ivfpq"})
    assert sentence(plain).split("; ")[1:] == ["loss bpr", "index ivfpq"]


def test_many_steps_are_smoothed_sixteen_times_an_epoch() -> None:
    config = tt.RetrieverConfig()
    assert smoothing_every(config, None) == 1
    assert smoothing_every(config, MAX_SMOOTHED_STEPS) == 1
    assert smoothing_every(config, MAX_SMOOTHED_STEPS + 1) == 4
    assert smoothing_every(config, 1_600) == 100
    data = dataset(training={"batch_size": 2})
    steps = len(make_batches(data.train, data.config))
    assert steps > MAX_SMOOTHED_STEPS
    assert (
        f"interactions every {-(-steps // 16)} steps: each would cost too much; exact search"
        in sentence(data)
    )


def test_batches_grow_while_that_keeps_the_steps_few(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = generate_interactions(3_000, 400, 100, seed=0)

    def size(**retriever: Any) -> int:
        data = dataset(rows, retriever=retriever)
        return Batching.of(data.train, data.config).size

    assert size() == 64
    monkeypatch.setattr(fit_retriever, "MAX_SMOOTHED_STEPS", 4)
    monkeypatch.setattr(fit_retriever, "MAX_SMOOTHED_USERS", 100)
    data = dataset(rows)
    grown = Batching.of(data.train, data.config)
    assert 64 < grown.size <= 100
    assert grown.epoch_size(data.train).steps == 4
    assert size(smoothing_layers=0) == size(smoothing_every=5) == 64
    monkeypatch.setattr(fit_retriever, "MAX_SMOOTHED_USERS", 90)
    assert size() == 64


def test_all_items_are_ranked_while_that_costs_little_for_each_row() -> None:
    # Each user has one row, so that each row costs a score of every item.
    number = MAX_SCORES_PER_ROW + 1
    alone = pl.DataFrame({"user_id": range(number), "item_id": range(number)})
    pairs = pl.concat([alone, alone.with_columns(pl.col("item_id").reverse())])
    for rows, ranks_all in ((alone, False), (pairs, True)):
        data = tt.Dataset.from_frames(rows, test=rows[:1], split={"validation_fraction": 0})
        loss = settled_loss(data.train, data.config)
        assert loss.ranks_all_items == ranks_all
        model = tt.TwoTower(schema=data.schema)
        assert model.ranks_all_items
        model.settle(Batching.of(data.train, data.config).epoch_size(data.train))
        assert model.ranks_all_items == ranks_all
    loss = settled_loss(
        tt.Dataset.from_frames(alone, test=alone[:1], split={"validation_fraction": 0}).train,
        data.config,
    )
    assert loss.sentence == (
        "softmax over 625 sampled items a step instead of all 5,001 (5,001 scores a training "
        "row: retriever.max_full_softmax = 5001 takes all)"
    )
