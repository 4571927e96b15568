"""The history of a user from the bundle, the event store and the request, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.data.small_shop import ITEMS, TRAIN, USERS, features
from twotower.config import PositiveConfig
from twotower.data.arrays.ragged import Ragged
from twotower.data.features.histories import Histories
from twotower.data.features.schema import Schema
from twotower.serving.answer.requests import HistoryItem
from twotower.serving.answer.user_history import HistoryReader, UserHistory
from twotower.serving.store.protocol import StoredEvent

BUY, VIEW, OTHER, NONE = 2, 3, 1, 0
"""Nums of event types: training saw `buy` and `view`."""
SCHEMA = Schema.fit(
    features(user={"history": {"type": "history"}}),
    interactions=TRAIN.with_columns(event_type=pl.Series(["buy", "view", "buy", "view"])),
    users=USERS,
    items=ITEMS,
)
LISTS = Ragged.group(np.array([2, 2, 2, 3]), np.array([10, 11, 12, 10]), 4)
TIMES = np.array([100, 160, 280, 50])
TYPES = np.array([BUY, VIEW, BUY, VIEW])


def reader(histories: Histories | None = None, **positive: Any) -> HistoryReader:
    """By default of histories with times, usually 90 seconds apart, and types."""
    histories = Histories(LISTS, TIMES, TYPES) if histories is None else histories
    return HistoryReader(histories, SCHEMA, PositiveConfig(**positive))


def rows(history: UserHistory) -> list[tuple[int, int, int]]:
    assert [column.dtype for column in history] == [np.dtype(np.int64)] * 3
    return list(zip(*(column.tolist() for column in history), strict=True))


def event(item: str, time: int, event_type: str | None = None, **more: Any) -> StoredEvent:
    return StoredEvent(f"{item}@{time}", "u", item, time, event_type=event_type, **more)


def test_of_the_bundle() -> None:
    assert rows(reader().of_bundle(2)) == [(10, 100, BUY), (11, 160, VIEW), (12, 280, BUY)]
    assert rows(reader().of_bundle(3)) == [(10, 50, VIEW)]
    assert rows(reader().of_bundle(0)) == rows(reader().of_bundle(1)) == []
    assert rows(reader().of_bundle(-1)) == rows(reader().of_bundle(4)) == []
    bare = reader(Histories(LISTS))
    assert rows(bare.of_bundle(2)) == [(10, 0, 0), (11, 0, 0), (12, 0, 0)]
    assert bare.of_bundle(3).items.tolist() == [10]


def test_of_the_store() -> None:
    events = [
        event("gone", 1, "buy"),
        event("a", 2, "buy"),
        event("b", 3, "cart"),
        event("c", 4),
        event("d", 5, "hide"),
        event("e", 6, "view", weight=-1.0),
    ]
    found = reader(negative_event_types=("hide",)).of_events(events, [-1, 20, 21, 22, 23, 24])
    assert rows(found) == [(20, 2, BUY), (21, 3, OTHER), (22, 4, NONE)]
    assert rows(reader().of_events([event("gone", 1)], [-1])) == []


def test_of_the_request() -> None:
    items = [
        HistoryItem("a", "view"),
        HistoryItem("gone"),
        HistoryItem("b", "buy", 500),
        HistoryItem("c", "hide"),
        HistoryItem("d"),
    ]
    found = reader(negative_event_types=("hide",)).of_request(items, [20, -1, 21, 22, 23], 280)
    assert rows(found) == [(20, 370, VIEW), (21, 500, BUY), (23, 680, NONE)]
    assert rows(reader().of_request([], [], 0)) == []


def test_dislikes() -> None:
    events = [event("a", 1, "hide"), event("b", 2, "buy"), event("gone", 3, "hide")]
    assert reader(negative_event_types=("hide",)).disliked(events, [20, 21, -1]) == [20]
    assert reader().disliked(events, [20, 21, -1]) == []


def test_an_event_from_two_sources_counts_once() -> None:
    bundle = reader().of_bundle(2)
    events = [
        event("eleven", 160, "view"),
        event("ten", 160, "buy"),
        event("ten", 200, "buy"),
        event("nine", 90, "buy"),
    ]
    later = reader().of_events(events, [11, 10, 10, 9])
    joined = reader().joined([bundle, UserHistory(*(c[:0] for c in bundle)), later])
    assert rows(joined) == [
        (9, 90, BUY),
        (10, 100, BUY),
        (11, 160, VIEW),
        (10, 160, BUY),
        (10, 200, BUY),
        (12, 280, BUY),
    ]
    assert reader().joined([bundle]) is bundle
    assert rows(reader().joined([])) == []


def test_without_times_all_events_are_kept_in_order() -> None:
    bare = reader(Histories(LISTS))
    parts = [bare.of_bundle(2), bare.of_events([event("ten", 7), event("nine", 3)], [10, 9])]
    assert bare.joined(parts).items.tolist() == [10, 11, 12, 10, 9]


def test_many_users_together() -> None:
    read = reader()
    users = [read.of_bundle(3), read.of_bundle(0), read.of_bundle(2)]
    found = read.together(users)
    assert [found.items[row].tolist() for row in range(3)] == [[10], [], [10, 11, 12]]
    assert found.items.values.dtype == np.int32
    assert found.time is not None
    assert found.event_num is not None
    assert found.time.tolist() == [50, 100, 160, 280]
    assert found.event_num.tolist() == [VIEW, BUY, VIEW, BUY]
    bare = reader(Histories(LISTS)).together(users)
    assert bare.time is None
    assert bare.event_num is None
    assert len(read.together([]).items) == 0


@pytest.mark.parametrize(
    ("positive", "known"),
    [
        ({}, {"buy", "view"}),
        ({"event_types": ("buy", "cart")}, {"buy", "view", "cart"}),
        ({"event_weights": {"rent": 2.0}}, {"buy", "view", "rent"}),
        ({"negative_event_types": ("hide",)}, {"buy", "view", "hide"}),
    ],
)
def test_event_types_that_are_known(positive: dict[str, Any], known: set[str]) -> None:
    assert reader(**positive).known_types == known


def test_where_there_are_no_event_types_none_is_unknown() -> None:
    bare = Schema.fit(features(), interactions=TRAIN, users=USERS, items=ITEMS)
    histories = Histories(LISTS)
    assert HistoryReader(histories, bare, PositiveConfig()).known_types == set()
    dislikes = PositiveConfig(negative_event_types=("hide",))
    assert HistoryReader(histories, bare, dislikes).known_types == set()
    named = PositiveConfig(event_types=("buy",), negative_event_types=("hide",))
    assert HistoryReader(histories, bare, named).known_types == {"buy", "hide"}
    assert HistoryReader(histories, bare, named).type_names == {}
