"""What is popular in a context, by hand, and how it falls back on what is popular at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pytest

from twotower.config import parse_config
from twotower.data.dataset.dataset import number_interactions
from twotower.data.dataset.entities import EntityTable, Features, tensor_of, to_column
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
    return {"device": to_column(feature.encode(pl.Series("device", devices, pl.String)))}


def first(train: Interactions, *devices: str | None) -> list[str]:
    nobody = np.full(len(devices), -1)
    context = asked(train, *devices) if devices else None
    found = PopularityRanker.fit(train).top_k(nobody, 1, context=context, mask_seen=False)
    ids: list[str] = train.items.ids.gather(found.item_nums[:, 0]).to_list()
    return ids


MANY = log([("a", "phone")] * 300 + [("b", "desk")] * 500 + [("c", None)] * 10)


def test_each_context_has_its_own_favourite() -> None:
    assert first(MANY, "phone", "desk", "phone", None, "watch") == ["a", "b", "a", "b", "b"]


def known_context(device: str) -> tuple[tuple[str, int], ...]:
    return (("device", int(tensor_of(asked(MANY, device), "device"))),)


def test_by_hand() -> None:
    counts = ContextCounts.fit(MANY)
    assert counts is not None
    nums = MANY.items.nums(pl.Series(["a", "b", "c"]))
    lift = counts.lift(known_context("phone"), MANY.item_counts())[nums]
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
    popularity, counts = PopularityRanker.fit(train), train.item_counts()
    one, both_values = (
        popularity.values(context)
        for context in ({"device": device}, {"device": device, "again": device})
    )
    there = counts > 0
    lift = one[there] / counts[there]
    assert lift.max() > 1.5
    assert both_values[there] == pytest.approx(counts[there] * lift**2)


def test_the_context_of_a_request_is_that_of_known_values() -> None:
    popularity = PopularityRanker.fit(MANY)
    assert popularity.context_of(asked(MANY, "phone")) == known_context("phone")
    assert popularity.context_of(asked(MANY, None)) == popularity.context_of(None) == ()
    assert popularity.values(None).tolist() == MANY.item_counts().tolist()


def test_items_that_come_and_go_keep_the_order_of_the_others() -> None:
    popularity = PopularityRanker.fit(MANY)
    removed = MANY.items.nums(pl.Series(["b"]))
    first = len(MANY.items)
    over = popularity.over(removed, np.array([first + 1]), first + 2)
    kept = [num for num in popularity.order.tolist() if num not in removed]
    assert over.order.tolist() == [*kept, first + 1]
    nobody = np.array([-1])
    for context in (None, asked(MANY, "phone"), asked(MANY, "desk")):
        found = over.top_k(nobody, 9, context=context, mask_seen=False)
        before = popularity.top_k(nobody, 9, context=context, mask_seen=False)
        expected = [num for num in before.item_nums[0].tolist() if num >= 0 and num not in removed]
        assert [num for num in found.item_nums[0].tolist() if num >= 0] == [*expected, first + 1]
    assert popularity.order.tolist() == PopularityRanker.fit(MANY).order.tolist()


def test_a_context_without_a_category_counts_nothing() -> None:
    assert ContextCounts.fit(log([("a", None)], {"price": {"type": "number"}})) is None
    assert ContextCounts.fit(log([("a", None)], {})) is None


def test_no_row_tells_its_device() -> None:
    silent = log([("a", None), ("b", None), ("b", None)])
    assert first(silent, "phone", None) == ["b", "b"]
