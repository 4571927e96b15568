"""Held-out rows that are given as a frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import polars as pl
import pytest

import twotower as tt
from twotower.data.synthetic.shop import generate
from twotower.errors import DataError
from twotower.models.baselines import BASELINES
from twotower.workflow.evaluate_bundle import evaluate_bundle

KINDS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "polars": lambda frame: frame,
    "lazy": lambda frame: frame.lazy(),
    "pandas": lambda frame: pd.DataFrame({n: frame[n].to_list() for n in frame.columns}),
    "arrow": lambda frame: frame.to_arrow(),
    "hugging face": lambda frame: datasets.Dataset(frame.to_arrow()),
}


@pytest.fixture(name="data", scope="module")
def fixture_data() -> tt.Dataset:
    shop = generate(num_users=80, num_items=50, num_interactions=1000)
    return tt.Dataset.from_frames(
        shop.interactions,
        features={"context": {"device": {"type": "category"}}},
        retriever={"embedding_dim": 8},
    )


@pytest.fixture(name="recommender", scope="module")
def fixture_recommender(data: tt.Dataset) -> tt.Recommender:
    model = tt.fit(tt.TwoTower(data.config.retriever, data.schema), data.train, epochs=2)
    return tt.Recommender.build(model, data.train, data.config)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_measured_as_the_part_of_its_rows(
    kind: str, data: tt.Dataset, recommender: tt.Recommender
) -> None:
    found = tt.evaluate(recommender, KINDS[kind](data.parts.test), k=5)
    assert found.to_json() == tt.evaluate(recommender, data.test, k=5).to_json()


def test_unknown_users_and_items_are_counted(data: tt.Dataset, recommender: tt.Recommender) -> None:
    before = len(recommender.users)
    known = data.parts.train["user_id"][0]
    frame = pl.DataFrame(
        {
            "user_id": ["new", "new", known],
            "item_id": ["i00001", "unheard of", "i00002"],
            "timestamp": [1_800_000_000] * 3,
            "device": ["phone", None, "desktop"],
        }
    )
    found = tt.evaluate(recommender, frame, k=5)
    assert found.paths == {"known": 1, "history": 0, "features": 0, "popular": 1}
    assert found.counts["users_unknown_to_training"] == 1
    assert found.counts["rows_with_items_outside_the_catalogue"] == 1
    assert len(recommender.users) == before


def test_the_config_of_training_reads_the_frame() -> None:
    log = pl.DataFrame(
        {
            "customer": [n % 9 for n in range(90)],
            "item_id": [n * 7 % 23 for n in range(90)],
            "weight": [1 + n % 3 for n in range(90)],
        }
    )
    data = tt.Dataset.from_frames(
        log,
        columns={"user_id": "customer"},
        positive={"min_weight": 2},
        retriever={"embedding_dim": 4},
    )
    model = tt.fit(tt.TwoTower(data.config.retriever, data.schema), data.train, epochs=1)
    recommender = tt.Recommender.build(model, data.train, data.config)
    found = tt.evaluate(recommender, log[:20])
    assert len(found.user_num) == 6
    assert found.notes == (
        "test frame: 7 of 20 rows are below data.positive.min_weight = 2: they are not positives, "
        "and were dropped (data.positive.dislikes).",
    )


def test_an_error_names_the_frame(data: tt.Dataset, recommender: tt.Recommender) -> None:
    with pytest.raises(DataError) as caught:
        tt.evaluate(recommender, data.parts.test.drop("device", "item_id"))
    assert str(caught.value) == (
        "test frame, column 'item_id': no such column, did you mean 'user_id'? There are: "
        "user_id, timestamp. Fix: set data.columns.item_id to the name that this table uses.\n"
        "test frame, column 'device': no such column. There are: user_id, timestamp. "
        "Fix: correct the name of the column in the config."
    )


def test_a_baseline_is_measured_on_parts_alone(data: tt.Dataset) -> None:
    baseline = BASELINES["popularity"].fit(data.train)
    with pytest.raises(TypeError) as caught:
        tt.evaluate(baseline, data.parts.test)
    assert str(caught.value) == (
        f"A {type(baseline).__name__} is evaluated on a part of its dataset, such as data.test. "
        "Got DataFrame instead."
    )
    assert len(tt.evaluate(baseline, data.test).user_num)


def test_a_bundle_of_frames_is_measured_on_its_held_out_rows(
    data: tt.Dataset, recommender: tt.Recommender, tmp_path: Path
) -> None:
    recommender.save(tmp_path / "bundle", heldout=data.parts.test)
    found = evaluate_bundle(tmp_path / "bundle", k=5)
    assert found.metrics == tt.evaluate(recommender, data.test, k=5).metrics
    assert "popularity" in found.baselines
    loaded = tt.Recommender.load(tmp_path / "bundle")
    assert loaded.served.config.data.interactions == "interactions frame"
    assert tt.evaluate(loaded, data.parts.test, k=5).metrics == found.metrics
