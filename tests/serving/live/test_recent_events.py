"""The events that are held in memory are those of the store, however many came at once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from twotower.serving.live.recent_events import MANY, PAGE, RecentEvents, UserEvents
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


@pytest.mark.parametrize(("long_id", "num_events"), [("u", 400), ("💥" * 490, 400), ("u", 1)])
def test_memory_is_bounded_in_bytes(store: EventStore, long_id: str, num_events: int) -> None:
    users = [f"{long_id}{n}" for n in range(20)]
    for place, user in enumerate(users):
        store.append([event(1000 * place + n, user) for n in range(num_events)])
    one_user = UserEvents(store.events_of(users[0])).size()
    recent = RecentEvents(store, max_bytes=5 * one_user)
    tracemalloc.start()
    try:
        for user in users:
            assert len(recent.of(user)) == num_events
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert recent.users.cache_info().currsize <= 5 * one_user
    assert taken < 7 * one_user + 100_000
    # The last users are in memory, the first are not.
    misses = recent.users.cache_info().misses
    recent.of(users[-1])
    assert recent.users.cache_info().misses == misses
    recent.of(users[0])
    assert recent.users.cache_info().misses == misses + 1


def test_what_events_take_is_counted_as_they_come_and_go(store: EventStore) -> None:
    held = UserEvents([])
    empty = held.size()
    for number in range(1100):
        held.add(event(number, "u" * (number % 400 + 1)))
    assert held.size() == UserEvents(list(held.events)).size() > empty
    assert len(held.events) == 1000


@pytest.mark.parametrize("count", [1, MANY + 1])
def test_events_are_seen_though_those_before_them_lie_in_the_future(
    store: EventStore, count: int
) -> None:
    """As after a clock was set back: other processes follow numbers, not times."""
    year = 31_536_000
    store.append([StoredEvent("future", "asked", 0, 100 + 10 * year)])
    recent = RecentEvents(store)
    assert len(recent.of("asked")) == 1
    store.append([event(1 + n, "asked") for n in range(count)])
    recent.follow(store.counters())
    assert [one.event_id for one in recent.of("asked")] == [
        *(f"e{1 + n}" for n in range(count)),
        "future",
    ]
