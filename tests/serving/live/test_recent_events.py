"""The events that are held in memory are those of the store, however many came at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from twotower.serving.live.recent_events import MANY, PAGE, RecentEvents
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import Counters, EventStore, StoredEvent


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = open_store(tmp_path / "events.sqlite")
    yield opened
    opened.close()


def event(number: int, user_id: str) -> StoredEvent:
    return StoredEvent(f"e{number}", user_id, number, 100 + number)


@pytest.mark.parametrize("count", [1, MANY, MANY + 1, PAGE, PAGE + 1, 2 * PAGE + MANY])
def test_what_was_stored_meanwhile_is_seen(store: EventStore, count: int) -> None:
    store.append([event(0, "asked"), event(1, "other")])
    recent = RecentEvents(store)
    assert [one.item_id for one in recent.of("asked")] == [0]
    assert [one.item_id for one in recent.of("other")] == [1]
    store.append([event(2 + n, "asked" if n % 2 else f"u{n}") for n in range(count)])
    recent.follow(store.counters())
    for user in ("asked", "other", "u0"):
        stored = store.events_of(user)
        assert [one.event_id for one in recent.of(user)] == [one.event_id for one in stored]
    recent.follow(store.counters())
    store.append([event(9999, "other")])
    recent.follow(store.counters())
    assert [one.item_id for one in recent.of("other")] == [1, 9999]


def test_many_events_do_not_push_other_users_out_of_memory(store: EventStore) -> None:
    store.append([event(0, "asked")])
    recent = RecentEvents(store)
    recent.of("asked")
    store.append([event(1 + n, f"u{n}") for n in range(MANY + 1)])
    recent.follow(store.counters())
    misses = recent.users.cache_info().misses
    recent.of("asked")
    assert recent.users.cache_info().misses == misses


def test_numbers_of_removed_events_are_passed_over(store: EventStore) -> None:
    recent = RecentEvents(store)
    store.append([event(n, "gone") for n in range(MANY + 1)])
    store.forget_user("gone")
    recent.follow(store.counters())
    store.append([event(1000, "stays")])
    recent.follow(store.counters())
    assert recent.of("gone") == []
    assert [one.item_id for one in recent.of("stays")] == [1000]
    assert store.counters() == Counters(events=MANY + 2, forgotten=1)
