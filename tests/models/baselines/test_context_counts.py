"""What is popular in a context, by hand, and how it falls back on what is popular at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pytest
import torch

from twotower.config import parse_config
from twotower.data.dataset.dataset import number_interactions
from twotower.data.dataset.entities import EntityTable, Features
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.schema import Schema
from twotower.models.baselines.context_counts import PRIOR_ROWS, ContextCounts
from twotower.models.baselines.popularity_ranker import PopularityRanker

DEVICE = {"device": {"type": "category"}, "price": {"type": "number"}}


def log(
    rows: Sequence[tuple[str, str | None]], context: Mapping[str, object] = DEVICE
) -> Interactions:
    """Rows of item and device, each by a user of its own."""
    frame = pl.DataFrame(
        {
            "user_id": np.arange(len(rows)),
            "item_id": [item for item, _ in rows],
            "device": [device for _, device in rows],
            "price": np.ones(len(rows)),
        }
    )
    config = parse_config({"data": {"interactions": "log.csv"}, "features": {"context": context}})
    schema = Schema.fit(config.features, interactions=frame, users=None, items=None)
    return number_interactions(
        frame, EntityTable(schema, "user", None), EntityTable(schema, "item", None)
    )


def asked(train: Interactions, *devices: str | None) -> Features:
    feature = train.users.schema.features["context"]["device"]
    return {"device": torch.from_numpy(feature.encode(pl.Series("device", devices, pl.String)))}


def first(train: Interactions, *devices: str | None) -> list[str]:
    nobody = np.full(len(devices), -1)
    context = asked(train, *devices) if devices else None
    found = PopularityRanker.fit(train).top_k(nobody, 1, context=context, mask_seen=False)
    ids: list[str] = train.items.ids.gather(found.item_nums[:, 0]).to_list()
    return ids


MANY = log([("a", "phone")] * 300 + [("b", "desk")] * 500 + [("c", None)] * 10)


def test_each_context_has_its_own_favourite() -> None:
    assert first(MANY, "phone", "desk", "phone", None, "watch") == ["a", "b", "a", "b", "b"]


def test_by_hand() -> None:
    counts = ContextCounts.fit(MANY)
    assert counts is not None
    nums = MANY.items.nums(pl.Series(["a", "b", "c"]))
    phone = MANY.users.schema.features["context"]["device"].encode(pl.Series(["phone"]))[0]
    lift = counts.lift((("device", int(phone)),), MANY.item_counts())[nums]
    shares = np.array([300, 500, 10]) / 810
    told = (np.array([300, 0, 0]) + PRIOR_ROWS * shares) / (300 + PRIOR_ROWS)
    assert lift == pytest.approx(told / shares)
    assert counts.lift((), MANY.item_counts())[nums].tolist() == [1, 1, 1]


def test_a_value_with_few_rows_leaves_it_to_the_whole_log() -> None:
    few = log([("a", "watch")] + [("b", "desk")] * 500)
    assert first(few, "watch", "desk") == ["b", "b"]


def test_two_categories_count_each_on_its_own() -> None:
    rows = [("a", "phone")] * 300 + [("b", "desk")] * 500
    both = {**DEVICE, "again": {"type": "category", "column": "device"}}
    train = log(rows, both)
    device = asked(train, "phone")["device"]
    found = PopularityRanker.fit(train).reasons(
        train.items.nums(pl.Series(["a"])), {"device": device, "again": device}
    )
    assert found == [
        "popular where device is phone: taken 300 times, where again is phone: taken 300 times; "
        "300 in all"
    ]


def test_reasons() -> None:
    nums = MANY.items.nums(pl.Series(["a", "b"]))
    popularity = PopularityRanker.fit(MANY)
    assert popularity.reasons(nums, asked(MANY, "phone")) == [
        "popular where device is phone: taken 300 times; 300 in all",
        "popular where device is phone: taken 0 times; 500 in all",
    ]
    bare = ["popular: taken 300 times", "popular: taken 500 times"]
    assert popularity.reasons(nums, None) == bare
    assert popularity.reasons(nums, asked(MANY, None)) == bare


def test_a_context_without_a_category_counts_nothing() -> None:
    assert ContextCounts.fit(log([("a", None)], {"price": {"type": "number"}})) is None
    assert ContextCounts.fit(log([("a", None)], {})) is None


def test_no_row_tells_its_device() -> None:
    silent = log([("a", None), ("b", None), ("b", None)])
    assert first(silent, "phone", None) == ["b", "b"]
