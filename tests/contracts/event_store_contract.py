"""The contract of every event store, run on a real database."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.serving.store import version_1
from twotower.errors import ConflictError, DataError, StoreError
from twotower.serving.store import pruning, schema
from twotower.serving.store.database.group_commit import PendingWrite
from twotower.serving.store.experiments import ABExperiment, ExperimentVariant
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import (
    Counters,
    Deployment,
    EventStore,
    ForgottenUser,
    Impression,
    ItemChange,
    KeyRecord,
    Numbered,
    StoredEvent,
)
from twotower.serving.store.schema import DEPLOYMENT, EVENT, FORGOTTEN, IMPRESSION, ITEM, KEY
from twotower.serving.store.sql_store import SqlEventStore

NOW = 1_700_000_000
HOSTILE = [
    "'; DROP TABLE twotower_events; --",
    '"',
    "%s",
    ":user_id",
    "{0}",
    "\\",
    "a\nb",
    "é",
    "𝄞",
    "x" * 500,
    "𝄞" * 500,
    "NULL",
    "None",
    "-1",
    "1e3",
    "007",
    " 7",
]

# Two processes that write the same ids at once, a few events a call.
WRITE = """
import json, sys
from twotower.serving.store.protocol import StoredEvent
from twotower.serving.store.opening import open_store
store = open_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
accepted = []
for start in range(0, 300, 3):
    numbers = range(start, start + 3)
    events = [StoredEvent(f"e{n}", n % 7, "i", 1_700_000_000 + n) for n in numbers]
    outcomes = store.append(events)
    pairs = zip(events, outcomes)
    accepted += [event.event_id for event, outcome in pairs if outcome == "accepted"]
store.close()
print(json.dumps(accepted))
"""

# A process under load, which names each event as soon as it was acknowledged.
LOAD = """
import os, sys, threading
from twotower.serving.store.protocol import StoredEvent
from twotower.serving.store.opening import open_store
store = open_store(sys.argv[1])
def work(thread):
    for call in range(1_000_000):
        names = [f"{thread}-{call}-{place}" for place in range(1 + call % 5)]
        store.append([StoredEvent(name, "u", "i", 1_700_000_000) for name in names])
        os.write(1, "".join(name + "\\n" for name in names).encode())
for thread in range(8):
    threading.Thread(target=work, args=(thread,)).start()
"""


WEIGHTS = [(1, 0.5), (2, 0.5), (3, 1.5)]
"""Numbers of events, and weights of which two are alike."""


def event(number: int, **changes: Any) -> StoredEvent:
    made = StoredEvent(f"e{number}", f"u{number % 3}", number, NOW + number)
    return replace(made, **changes)


def impression(number: int, **changes: Any) -> Impression:
    made = Impression(f"r{number}", f"u{number % 3}", (1, "a"), "v1", "known", NOW + number)
    return replace(made, **changes)


# Every method that writes, adding 1 to one counter.
WRITES: list[Any] = [
    pytest.param(lambda store: store.append([event(1)]), id="append"),
    pytest.param(lambda store: store.submit([event(1)]).result(30), id="submit"),
    pytest.param(lambda store: store.log_impressions([impression(1)]), id="log_impressions"),
    pytest.param(
        lambda store: store.submit_impressions([impression(1)]).result(30), id="submit_impressions"
    ),
    pytest.param(lambda store: store.change_items([ItemChange("i", {})]), id="change_items"),
    pytest.param(
        lambda store: store.change_deployment(store.deployment().activated("v1")),
        id="change_deployment",
    ),
    pytest.param(lambda store: store.forget_user("u"), id="forget_user"),
    pytest.param(
        lambda store: store.add_key(KeyRecord("new", "b" * 64, frozenset(["read"]), NOW)),
        id="add_key",
    ),
    pytest.param(lambda store: store.revoke_key("old"), id="revoke_key"),
]


def engine_of(store: EventStore) -> sa.Engine:
    assert isinstance(store, SqlEventStore)
    return store._engine


def shown(address: str) -> str:
    """An address as messages show it."""
    return address.replace("postgres:@", "postgres:***@")


def all_events(store: EventStore, limit: int = 1000) -> list[Numbered[StoredEvent]]:
    found: list[Numbered[StoredEvent]] = []
    while more := store.events_after(found[-1].sequence if found else 0, limit):
        found += more
    return found


class EventStoreContract:
    """Inherited by the tests of each database; each address is that of an empty one."""

    @pytest.fixture
    def address(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def other_address(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def store(self, address: str) -> Iterator[EventStore]:
        opened = open_store(address)
        yield opened
        opened.close()

    # --- events -------------------------------------------------------------------------------

    def test_events_come_back_as_they_were_given(self, store: EventStore, address: str) -> None:
        given = [
            StoredEvent("e1", 7, "i", NOW),
            StoredEvent(
                "e2",
                "u",
                -(2**63),
                NOW,
                event_type="buy",
                weight=2.5,
                request_id="r1",
                variant="b",
                context={"device": "phone", "hour": 3, "sale": True, "x": None, "tags": ["a", 1]},
            ),
        ]
        assert store.append(given) == ["accepted", "accepted"]
        assert store.events_after(0) == [Numbered(1, given[0]), Numbered(2, given[1])]
        assert isinstance(store.events_after(0)[0].value.user_id, int)
        assert store.counters() == Counters(events=2)
        store.close()
        again = open_store(address)
        assert [entry.value for entry in again.events_after(0)] == given
        again.close()

    def test_an_event_is_stored_once(self, store: EventStore, address: str) -> None:
        assert store.append([event(1), event(2), event(1, item_id=9)]) == [
            "accepted",
            "accepted",
            "duplicate",
        ]
        assert store.append([event(2, item_id=9), event(3)]) == ["duplicate", "accepted"]
        with_other = open_store(address)
        assert with_other.append([event(3, item_id=9)]) == ["duplicate"]
        with_other.close()
        assert [entry.value for entry in store.events_after(0)] == [event(1), event(2), event(3)]

    def test_a_row_that_the_database_refuses_holds_up_no_other(
        self, store: EventStore, address: str
    ) -> None:
        engine = sa.create_engine(self.url(address))
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE UNIQUE INDEX one_each ON twotower_events (weight)")
        engine.dispose()
        writes = [store.submit([event(number, weight=weight)]) for number, weight in WEIGHTS]
        assert writes[0].result(10) == writes[2].result(10) == ["accepted"]
        with pytest.raises(DataError, match="the event store refuses a row: "):
            writes[1].result(10)
        assert store.append([event(9)]) == ["accepted"]

    def test_no_events(self, store: EventStore) -> None:
        assert store.append([]) == []
        store.log_impressions([])
        assert store.counters() == Counters()
        assert store.events_after(0) == []
        assert store.events_of("u") == []

    def test_events_are_paged(self, store: EventStore) -> None:
        store.append([event(number) for number in range(1, 11)])
        assert [entry.sequence for entry in store.events_after(4, 3)] == [5, 6, 7]
        assert [entry.sequence for entry in all_events(store, limit=3)] == list(range(1, 11))
        assert store.events_after(10) == []

    def test_the_users_of_events_are_paged_as_they_are(self, store: EventStore) -> None:
        store.append([event(1), event(2, user_id=7), event(3)])
        assert store.users_after(0, 2) == [(1, str(event(1).user_id)), (2, "7")]
        assert store.users_after(2) == [(3, str(event(3).user_id))]
        assert store.users_after(3) == []

    def test_many_events_in_one_call(self, store: EventStore) -> None:
        given = [event(number) for number in range(2500)]
        assert store.append(given) == ["accepted"] * 2500
        assert store.append([*given, event(2500)]) == ["duplicate"] * 2500 + ["accepted"]
        assert store.counters().events == 2501

    def test_the_newest_events_of_a_user_oldest_first(self, store: EventStore) -> None:
        times = [5, 1, 9, 1, 7]
        store.append(
            [
                StoredEvent(f"e{place}", "u", place, NOW + second)
                for place, second in enumerate(times)
            ]
            + [event(100, user_id="other")]
        )
        assert [entry.item_id for entry in store.events_of("u")] == [1, 3, 0, 4, 2]
        assert [entry.item_id for entry in store.events_of("u", 2)] == [4, 2]
        assert store.events_of("nobody") == []

    def test_an_integer_and_its_spelling_are_one_user(self, store: EventStore) -> None:
        store.append([event(1, user_id=7), event(2, user_id="7"), event(3, user_id="007")])
        assert [entry.user_id for entry in store.events_of("7")] == [7, "7"]
        assert store.events_of(7) == store.events_of("7")
        assert [entry.user_id for entry in store.events_of("007")] == ["007"]

    def test_ids_that_look_like_something_else(self, store: EventStore) -> None:
        given = [
            StoredEvent(
                text,
                text,
                text,
                NOW,
                event_type=text,
                request_id=text,
                variant=text,
                context={text: text},
            )
            for text in HOSTILE
        ]
        assert store.append(given) == ["accepted"] * len(HOSTILE)
        assert [entry.value for entry in store.events_after(0)] == given
        for text, one in zip(HOSTILE, given, strict=True):
            assert store.events_of(text) == [one]
            assert store.forget_user(text) == (1, 0)
        assert store.events_after(0) == []

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            (
                {"user_id": "a\0b"},
                "row 2, column 'user_id': contains a null character or an unpaired surrogate "
                "(found 'a\\x00b'). Fix: send valid Unicode text without null characters.",
            ),
            (
                {"item_id": "x" * 10_000},
                "row 2, column 'item_id': has 10,000 characters; the maximum is 500 (found "
                f"'{'x' * 37}...{'x' * 37}').",
            ),
        ],
    )
    def test_all_events_of_a_call_are_stored_or_none(
        self, store: EventStore, changes: dict[str, Any], expected: str
    ) -> None:
        with pytest.raises(DataError) as caught:
            store.append([event(1), event(2, **changes)])
        assert str(caught.value) == expected
        assert store.counters() == Counters()

    def test_submitting_does_not_wait(self, store: EventStore) -> None:
        futures = [store.submit([event(number), event(number)]) for number in range(50)]
        assert [future.result(30) for future in futures] == [["accepted", "duplicate"]] * 50
        assert store.submit([]).result(0) == []
        assert store.submit_impressions([]).result(0) is None
        assert store.submit_impressions([impression(1)]).result(30) is None
        assert store.counters() == Counters(events=50, impressions=1)

    def test_each_write_of_a_group_gets_its_own_outcomes(self, store: EventStore) -> None:
        from twotower.serving.store import log

        store.forget_user(8)
        writes = [
            PendingWrite(events=[event(1), event(1)]),
            PendingWrite(impressions=[impression(1)]),
            PendingWrite(events=[event(2, user_id=8)]),
            PendingWrite(events=[event(1), event(3), event(4)]),
        ]
        assert isinstance(store, SqlEventStore)
        assert store._write(lambda connection: log.store_writes(connection, writes)) == [
            ["accepted", "duplicate"],
            None,
            ["forgotten"],
            ["duplicate", "accepted", "accepted"],
        ]

    def test_a_lost_connection_is_replaced_once(self, store: EventStore) -> None:
        lost = sa.exc.OperationalError("", {}, Exception("gone"), connection_invalidated=True)
        attempts: list[int] = []

        def lose(times: int) -> Callable[[sa.Connection], None]:
            def fail(_: sa.Connection) -> None:
                attempts.append(times)
                if attempts.count(times) <= times:
                    raise lost

            return fail

        for times in (1, 2):
            listener = lose(times)
            sa.event.listen(engine_of(store), "commit", listener)
            if times == 1:
                assert store.append([event(times)]) == ["accepted"]
            else:
                with pytest.raises(StoreError, match=r"the event store cannot be used: gone\.$"):
                    store.append([event(times)])
            sa.event.remove(engine_of(store), "commit", listener)
        assert attempts == [1, 1, 2, 2]
        assert store.counters() == Counters(events=1)

    def test_an_error_of_the_connection_pool(self, store: EventStore, address: str) -> None:
        def fail(_: sa.Connection) -> None:
            raise sa.exc.TimeoutError("QueuePool limit reached")

        sa.event.listen(engine_of(store), "commit", fail)
        with pytest.raises(StoreError) as caught:
            store.append([event(1)])
        assert str(caught.value) == (
            f"{shown(address)}: the event store cannot be used: QueuePool limit reached."
        )

    def test_counters_are_read_on_one_connection(self, store: EventStore) -> None:
        checkouts: list[int] = []
        sa.event.listen(engine_of(store), "checkout", lambda *_: checkouts.append(1))
        for _ in range(5):
            assert store.counters() == Counters()
        assert len(checkouts) == 1

    def test_a_process_that_does_not_close_its_store_ends(self, address: str) -> None:
        program = """
import sys
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import StoredEvent
print(open_store(sys.argv[1]).append([StoredEvent("e", "u", "i", 0)]))
"""
        with start(program, address) as process:
            output, _ = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, "['accepted']\n")

    def test_tables_of_others_are_not_adopted(self, address: str) -> None:
        self.rows(address, "CREATE TABLE twotower_events (a INTEGER)")
        with pytest.raises(StoreError, match=r"the event store cannot be used: .*already exists"):
            open_store(address)

    def test_a_closed_store(self, store: EventStore, address: str) -> None:
        futures = [store.submit([event(number)]) for number in range(20)]
        store.close()
        store.close()
        assert [future.result(0) for future in futures] == [["accepted"]] * 20
        for call in (
            lambda: store.append([event(1)]),
            store.counters,
            lambda: store.forget_user("u"),
        ):
            with pytest.raises(StoreError) as caught:
                call()
            assert str(caught.value) == f"{shown(address)}: the event store is closed."

    # --- impressions ----------------------------------------------------------------------------

    def test_impressions_come_back_as_they_were_given(self, store: EventStore) -> None:
        given = [
            impression(1, user_id=7, item_ids=(3, "3", "x"), scores=(0.5, -1.0, 1e-9), variant="a"),
            impression(2, user_id=None, item_ids=()),
            impression(3, user_id="None"),
        ]
        store.log_impressions(given)
        store.log_impressions([impression(1, path="popular"), impression(4), impression(4)])
        assert store.impressions_after(0) == [
            Numbered(place, entry) for place, entry in enumerate([*given, impression(4)], 1)
        ]
        assert store.impressions_after(2, 1) == [Numbered(3, given[2])]
        assert store.find_impression("r2") == given[1]
        assert store.find_impression("r9") is None
        assert store.counters() == Counters(impressions=4)

    # --- items ----------------------------------------------------------------------------------

    def test_items_survive_a_restart_each_as_it_was_left(
        self, store: EventStore, address: str
    ) -> None:
        row = {"title": "Été", "price": 2.5, "genres": ["a", "b"], "stock": None}
        first = store.change_items([ItemChange("i1", row), ItemChange(2, {})])
        assert first == 2
        assert store.change_items([ItemChange("i1", None), ItemChange("i3", row)]) == 4
        assert store.change_items([ItemChange("i3", None), ItemChange("i3", {"a": 1})]) == 5
        store.close()
        again = open_store(address)
        assert again.item_changes_after(0) == [
            Numbered(2, ItemChange(2, {})),
            Numbered(3, ItemChange("i1", None)),
            Numbered(5, ItemChange("i3", {"a": 1})),
        ]
        assert again.item_changes_after(2, 1) == [Numbered(3, ItemChange("i1", None))]
        assert again.counters() == Counters(items=5)
        assert again.change_items([]) == 5
        again.close()

    def test_an_item_is_changed_in_part_hidden_and_shown(
        self, store: EventStore, address: str
    ) -> None:
        def part(item_id: str, hidden: bool | None = None, **columns: Any) -> ItemChange:
            return ItemChange(item_id, columns, partial=True, hidden=hidden)

        store.change_items([ItemChange("whole", {"a": 1, "b": 2}), ItemChange("gone", None)])
        store.change_items([part("whole", b=3, c=None), part("bundle", a=1), part("gone", a=1)])
        store.change_items([part("bundle", b=2), part("bundle", a=None), part("shy", hidden=True)])
        store.change_items([part("whole", hidden=True)])
        found = {one.value.item_id: one.value for one in store.item_changes_after(0)}
        assert found == {
            "whole": ItemChange("whole", {"a": 1, "b": 3, "c": None}, hidden=True),
            "bundle": part("bundle", a=None, b=2),
            "gone": ItemChange("gone", None),
            "shy": part("shy", hidden=True),
        }
        # A whole row leaves an item hidden; a removal and `hidden = False` do not.
        store.change_items([ItemChange("whole", {"a": 4}), part("shy", hidden=False)])
        store.change_items([ItemChange("gone", {}, hidden=True)])
        store.change_items([ItemChange("gone", None), ItemChange("gone", {"a": 5})])
        store.close()
        again = open_store(address)
        found = {one.value.item_id: one.value for one in again.item_changes_after(0)}
        assert found == {
            "whole": ItemChange("whole", {"a": 4}, hidden=True),
            "bundle": part("bundle", a=None, b=2),
            "gone": ItemChange("gone", {"a": 5}),
            "shy": part("shy"),
        }
        again.close()

    # --- the deployment -------------------------------------------------------------------------

    def test_the_deployment_is_compared_and_set(self, store: EventStore, address: str) -> None:
        assert store.deployment() == Deployment()
        assert store.deployment().changed == 0
        first = store.change_deployment(store.deployment().activated("v1"))
        assert first == Deployment(1, "v1", None, None)
        second = store.change_deployment(first.activated("v2"))
        assert second == Deployment(2, "v2", "v1", None, rollback_to=1)
        with pytest.raises(ConflictError) as caught:
            store.change_deployment(first.activated("v3"))
        assert str(caught.value) == (
            "the deployment has changed: revision 2 is stored, and this change was made from "
            "revision 1. Fix: look at what is active now, then decide again."
        )
        experiment = ABExperiment(
            "layout", (ExperimentVariant("a", "v2", 0.9), ExperimentVariant("b", "v3", 0.1))
        )
        third = store.change_deployment(replace(second, experiment=experiment))
        store.close()
        again = open_store(address)
        assert again.deployment() == third
        assert third == Deployment(3, "v2", "v1", experiment, rollback_to=1)
        assert again.counters() == Counters(deployment=3)
        assert again.deployments() == [Deployment(), first, second, third]
        times = [one.changed for one in again.deployments()]
        assert times == sorted(times)
        assert time.time() - 60 < times[1] <= time.time()
        again.close()

    def test_activating_a_version_ends_the_experiment(self) -> None:
        experiment = ABExperiment("layout", (ExperimentVariant("a", "v2", 1.0),))
        running = Deployment(3, "v2", "v1", experiment, NOW)
        assert running.activated("v2") == Deployment(3, "v2", "v1", None)
        assert running.activated("v3") == Deployment(3, "v3", "v2", None, rollback_to=3)

    def test_one_of_many_changes_at_once_wins(self, store: EventStore) -> None:
        seen = store.deployment()

        def change(number: int) -> bool:
            try:
                store.change_deployment(seen.activated(f"v{number}"))
            except ConflictError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(change, range(8))) == [False] * 7 + [True]
        assert store.deployment().revision == 1

    # --- forgetting -----------------------------------------------------------------------------

    def test_a_forgotten_user(self, store: EventStore) -> None:
        store.append([event(1, user_id=7), event(2, user_id="7"), event(3, user_id="8")])
        store.log_impressions(
            [impression(1, user_id=7), impression(2, user_id="8"), impression(3, user_id=None)]
        )
        before = int(time.time())
        assert store.forget_user("7") == (2, 1)
        [(sequence, forgotten)] = store.forgotten_after(0)
        assert (sequence, forgotten.user_id) == (1, "7")
        assert before <= forgotten.timestamp <= time.time()
        assert [entry.value.user_id for entry in store.events_after(0)] == ["8"]
        assert [entry.value.user_id for entry in store.impressions_after(0)] == ["8", None]
        assert store.events_of(7) == []
        assert store.counters() == Counters(events=3, impressions=3, forgotten=1)

    def test_what_comes_late_of_a_forgotten_user_is_not_stored(self, store: EventStore) -> None:
        store.forget_user(7)
        moment = store.forgotten_after(0)[0].value.timestamp
        late = [event(1, user_id="7"), event(4, user_id=7, timestamp=moment)]
        later = event(2, user_id=7, timestamp=moment + 1)
        assert store.append([*late, later, event(3)]) == ["forgotten"] * 2 + ["accepted"] * 2
        store.log_impressions(
            [
                impression(1, user_id=7),
                impression(2, user_id=7, timestamp=moment + 1),
                impression(3, user_id=None),
                impression(4, user_id=7, timestamp=moment),
            ]
        )
        assert store.events_of(7) == [later]
        found = [entry.value.request_id for entry in store.impressions_after(0)]
        assert found == ["r2", "r3"]

    def test_an_invalid_user_is_not_forgotten(self, store: EventStore) -> None:
        with pytest.raises(DataError) as caught:
            store.forget_user(" ")
        assert str(caught.value) == "column 'user_id': must not be empty (found ' ')."
        assert store.counters() == Counters()

    def test_an_impression_without_a_user_is_not_of_a_user_named_none(
        self, store: EventStore
    ) -> None:
        store.forget_user("None")
        store.log_impressions([impression(1, user_id=None), impression(2, user_id="None")])
        assert store.impressions_after(0) == [Numbered(1, impression(1, user_id=None))]

    def test_forgotten_again(self, store: EventStore) -> None:
        for user_id in (7, "unknown", "7"):
            assert store.forget_user(user_id) == (0, 0)
        found = store.forgotten_after(0)
        assert [(number, entry.user_id) for number, entry in found] == [(2, "unknown"), (3, "7")]
        assert store.forgotten_after(2, 5) == found[1:]
        assert store.forgotten_after(0, 1) == found[:1]
        assert all(isinstance(entry, ForgottenUser) for _, entry in found)

    # --- keys -----------------------------------------------------------------------------------

    def test_keys(self, store: EventStore, address: str) -> None:
        key = KeyRecord("shop", "d" * 64, frozenset(["read", "write"]), NOW)
        other = KeyRecord("ops", "e" * 64, frozenset(["admin"]), NOW)
        store.add_key(key)
        store.add_key(other)
        assert store.keys() == [other, key]
        assert store.find_key("d" * 64) == key
        assert store.find_key("f" * 64) is None
        with pytest.raises(ConflictError) as caught:
            store.add_key(replace(key, digest="f" * 64))
        assert str(caught.value) == (
            "a key with this name exists or was revoked (found 'shop'). Fix: choose another name: "
            "names are not reused, so that logs stay unambiguous."
        )
        assert store.counters() == Counters(keys=2)
        assert store.revoke_key("shop")
        assert not store.revoke_key("shops")
        revoked = store.find_key("d" * 64)
        assert revoked is not None
        assert revoked.revoked is not None
        assert store.revoke_key("shop")
        with_other = open_store(address)
        assert with_other.find_key("d" * 64) == revoked
        assert with_other.counters().keys == 4
        with_other.close()

    def test_revoking_a_key_leaves_the_others(self, store: EventStore) -> None:
        key = KeyRecord("shop", "d" * 64, frozenset(["read"]), NOW)
        other = KeyRecord("ops", "e" * 64, frozenset(["admin"]), NOW)
        store.add_key(key)
        store.add_key(other)
        before = int(time.time())
        assert store.revoke_key("shop")
        revoked = store.find_key(key.digest)
        assert revoked is not None
        assert revoked.revoked is not None
        assert before <= revoked.revoked <= time.time()
        assert store.keys() == [other, replace(key, revoked=revoked.revoked)]

    def test_a_key_keeps_the_time_of_its_first_revocation(
        self, store: EventStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.add_key(KeyRecord("shop", "d" * 64, frozenset(["read"]), NOW))
        for now in (NOW + 1, NOW + 2):
            monkeypatch.setattr(time, "time", lambda now=now: float(now))
            assert store.revoke_key("shop")
            [key] = store.keys()
            assert key.revoked == NOW + 1

    # --- several threads and processes ----------------------------------------------------------

    def test_threads_that_write_the_same_events(self, store: EventStore) -> None:
        """Each is accepted once, numbers have no gap, and a reader that follows misses none."""

        def write(_: int) -> int:
            outcomes = []
            for start in range(0, 200, 2):
                outcomes += store.append([event(start), event(start + 1)])
            return outcomes.count("accepted")

        with ThreadPoolExecutor(9) as pool:
            writers = [pool.submit(write, number) for number in range(8)]
            followed = self.follow(store, lambda: all(writer.done() for writer in writers))
            assert sum(writer.result() for writer in writers) == 200
        assert [entry.sequence for entry in followed] == list(range(1, 201))
        assert {entry.value.event_id for entry in followed} == {f"e{n}" for n in range(200)}

    def test_processes_that_write_the_same_events(self, store: EventStore, address: str) -> None:
        writers = [start(WRITE, address) for _ in range(2)]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        followed = self.follow(store, lambda: all(writer.poll() is not None for writer in writers))
        accepted: list[str] = []
        for writer in writers:
            output, _ = writer.communicate(timeout=60)
            assert writer.returncode == 0
            accepted += json.loads(output)
        assert sorted(accepted) == sorted(f"e{number}" for number in range(300))
        assert [entry.sequence for entry in followed] == list(range(1, 301))

    def follow(self, store: EventStore, finished: Any) -> list[Numbered[StoredEvent]]:
        """What a worker sees that reads the counters, then what is new."""
        found: list[Numbered[StoredEvent]] = []
        while True:
            last = finished()
            counter = store.counters().events
            if counter > (found[-1].sequence if found else 0):
                found += store.events_after(found[-1].sequence if found else 0)
                assert found[-1].sequence >= counter
            if last:
                return found
            time.sleep(0.001)

    def test_numbers_become_visible_in_their_order(self, store: EventStore, address: str) -> None:
        """A writer that has drawn a number and is slow to commit holds up the next one."""
        from twotower.serving.store import log

        slow = open_store(address)
        drawn, commit = threading.Event(), threading.Event()

        def write_slowly(connection: sa.Connection) -> None:
            last = log.lock(connection, "events")["events"]
            log.store_events(connection, [event(1)], last)
            drawn.set()
            assert commit.wait(30)

        thread = threading.Thread(target=lambda: slow._write(write_slowly))  # type: ignore[attr-defined]
        thread.start()
        assert drawn.wait(30)
        quick = store.submit([event(2)])
        time.sleep(0.2)
        assert not quick.done()
        assert store.counters() == Counters()
        assert store.events_after(0) == []
        commit.set()
        assert quick.result(30) == ["accepted"]
        thread.join()
        slow.close()
        assert store.events_after(0) == [Numbered(1, event(1)), Numbered(2, event(2))]

    def test_nothing_of_a_user_slips_in_while_being_forgotten(self, store: EventStore) -> None:
        def write(thread: int) -> list[str]:
            outcomes: list[str] = []
            for call in range(40):
                outcomes += store.append([event(1, event_id=f"{thread}-{call}", user_id="u")])
            return outcomes

        with ThreadPoolExecutor(4) as pool:
            writers = [pool.submit(write, number) for number in range(4)]
            while store.counters().events < 20:
                time.sleep(0.001)
            removed = store.forget_user("u")
            outcomes = [outcome for writer in writers for outcome in writer.result()]
        assert store.events_of("u") == []
        assert outcomes.count("accepted") == removed.events
        assert set(outcomes) <= {"accepted", "forgotten"}

    def test_what_was_acknowledged_survives_kill_9(self, store: EventStore, address: str) -> None:
        with start(LOAD, address) as loader:
            assert loader.stdout is not None
            deadline = time.monotonic() + 30
            while store.counters().events < 200 and time.monotonic() < deadline:
                time.sleep(0.01)
            loader.kill()
            acknowledged = loader.stdout.read().split("\n")[:-1]
        assert loader.returncode == -signal.SIGKILL
        again = open_store(address)
        kept = [entry.value.event_id for entry in all_events(again)]
        assert len(acknowledged) > 100
        assert set(acknowledged) <= set(kept)
        assert len(set(kept)) == len(kept)
        # A sender without an acknowledgement sends again: each event is stored once then.
        call = [StoredEvent(name, "u", "i", NOW) for name in {*acknowledged, "new"}]
        assert again.append(call).count("accepted") == 1
        again.close()

    @pytest.mark.parametrize("write", WRITES)
    def test_a_write_is_acknowledged_after_its_commit(
        self, store: EventStore, write: Callable[[EventStore], object]
    ) -> None:
        store.add_key(KeyRecord("old", "a" * 64, frozenset(["read"]), NOW))
        before = store.counters()
        committing, proceed = threading.Event(), threading.Event()

        def hold(_: sa.Connection) -> None:
            committing.set()
            assert proceed.wait(30)

        sa.event.listen(engine_of(store), "commit", hold)
        with ThreadPoolExecutor(1) as pool:
            acknowledged = pool.submit(write, store)
            assert committing.wait(30)
            time.sleep(0.1)
            assert not acknowledged.done()
            assert store.counters() == before
            proceed.set()
            acknowledged.result(30)
        assert sum(store.counters()) == sum(before) + 1

    @pytest.mark.parametrize("write", WRITES)
    def test_a_write_whose_commit_fails_is_not_acknowledged(
        self, store: EventStore, address: str, write: Callable[[EventStore], object]
    ) -> None:
        store.add_key(KeyRecord("old", "a" * 64, frozenset(["read"]), NOW))
        before = store.counters()

        def fail(_: sa.Connection) -> None:
            raise sa.exc.OperationalError("COMMIT", {}, Exception("disk I/O error"))

        sa.event.listen(engine_of(store), "commit", fail)
        with pytest.raises(StoreError) as caught:
            write(store)
        assert str(caught.value) == (
            f"{shown(address)}: the event store cannot be used: disk I/O error."
        )
        assert store.counters() == before
        sa.event.remove(engine_of(store), "commit", fail)
        write(store)
        assert sum(store.counters()) == sum(before) + 1

    # --- versions -------------------------------------------------------------------------------

    def test_an_older_store_is_migrated(
        self, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = open_store(address)
        old.append([event(1)])
        old.close()
        more = "ALTER TABLE twotower_events ADD COLUMN note TEXT DEFAULT 'old'"
        counter = "INSERT INTO twotower_counters (name, value) VALUES ('more', 5)"
        monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, (more, counter)])
        for number in (2, 3):
            store = open_store(address)
            assert store.append([event(number)]) == ["accepted"]
            assert len(store.events_after(0)) == number
            assert store.counters() == Counters(events=number)
            store.close()
        newest = len(schema.MIGRATIONS) + 1
        assert self.rows(address, "SELECT version FROM twotower_store") == [(newest,)]
        assert self.rows(address, "SELECT note FROM twotower_events") == [("old",)] * 3

    def test_a_newer_store_is_rejected(self, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            schema, "MIGRATIONS", [*schema.MIGRATIONS, ("CREATE TABLE twotower_more (a TEXT)",)]
        )
        open_store(address).close()
        monkeypatch.undo()
        with pytest.raises(StoreError) as caught:
            open_store(address)
        newest = len(schema.MIGRATIONS) + 1
        assert str(caught.value) == (
            f"{shown(address)}: event store of version {newest + 1}, but this version of twotower "
            f"reads versions up to {newest}. Fix: upgrade twotower."
        )

    def test_a_migration_that_fails_changes_nothing(
        self, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open_store(address).close()
        steps = ("CREATE TABLE twotower_more (a TEXT)", "CREATE NONSENSE")
        monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, steps])
        with pytest.raises(StoreError, match=r"the event store cannot be used: .*NONSENSE"):
            open_store(address)
        monkeypatch.undo()
        open_store(address).close()
        with pytest.raises(sa.exc.DBAPIError):
            self.rows(address, "SELECT * FROM twotower_more")

    def test_opened_by_several_at_once(self, address: str) -> None:
        with ThreadPoolExecutor(6) as pool:
            stores = list(pool.map(open_store, [address] * 6))
        for number, store in enumerate(stores):
            assert store.append([event(number)]) == ["accepted"]
        assert stores[0].counters() == Counters(events=6)
        for store in stores:
            store.close()

    def test_a_store_of_version_1_is_read(self, address: str) -> None:
        engine = sa.create_engine(self.url(address))
        version_1.create(engine, rows=True)
        engine.dispose()
        store = open_store(address)
        assert store.counters() == Counters(3, 2, 3, 1, 2, 3)
        assert store.events_after(0) == version_1.EVENTS
        assert store.impressions_after(0) == version_1.IMPRESSIONS
        assert store.item_changes_after(0) == version_1.ITEMS
        assert store.forgotten_after(0) == version_1.FORGOTTEN
        assert store.deployments() == version_1.DEPLOYMENTS
        changed = [deployment.changed for deployment in store.deployments()]
        assert changed == [deployment.changed for deployment in version_1.DEPLOYMENTS]
        assert store.keys() == version_1.KEYS
        assert store.append([event(3), event(4), event(5, user_id=8, timestamp=NOW)]) == [
            "duplicate",
            "accepted",
            "forgotten",
        ]
        assert store.events_after(3) == [Numbered(4, event(4))]
        store.close()

    def test_a_migrated_store_has_the_rows_of_a_new_one(
        self, address: str, other_address: str
    ) -> None:
        engine = sa.create_engine(self.url(address))
        version_1.create(engine, rows=True)
        engine.dispose()
        open_store(address).close()
        store = open_store(other_address)
        first, second = (one.value for one in version_1.EVENTS)
        assert store.append([first, event(0, user_id=8), second]) == ["accepted"] * 3
        store.log_impressions([one.value for one in version_1.IMPRESSIONS])
        store.change_items([one.value for one in version_1.ITEMS])
        store.forget_user(8)
        for deployment in version_1.DEPLOYMENTS[1:]:
            store.change_deployment(replace(deployment, revision=deployment.revision - 1))
        for key in version_1.KEYS:
            store.add_key(key)
        store.close()
        set_by_the_store = {DEPLOYMENT.c.changed, FORGOTTEN.c.timestamp}
        for table in (EVENT, IMPRESSION, ITEM, FORGOTTEN, DEPLOYMENT, KEY):
            names = [column.name for column in table.columns if column not in set_by_the_store]
            statement = f"SELECT {', '.join(names)} FROM {table.name} ORDER BY 1"
            rows = self.rows(other_address, statement)
            assert rows == self.rows(address, statement)
            assert rows

    def test_a_migrated_store_has_the_tables_of_a_new_one(
        self, address: str, other_address: str
    ) -> None:
        """Columns, types, keys, constraints and indexes."""
        engine = sa.create_engine(self.url(address))
        version_1.create(engine, rows=False)
        open_store(address).close()
        open_store(other_address).close()
        other = sa.create_engine(self.url(other_address))
        migrated, new = tables(engine), tables(other)
        engine.dispose()
        other.dispose()
        assert migrated == new
        assert new.keys() == schema.METADATA.tables.keys()

    # --- pruning --------------------------------------------------------------------------------

    def test_pruning_removes_what_is_older(
        self, store: EventStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In several transactions; numbers are not given again."""
        monkeypatch.setattr(pruning, "ROWS_PER_TRANSACTION", 4)
        # Events arrive in no order of time.
        store.append([event(number, timestamp=NOW + number * 7 % 30) for number in range(30)])
        store.log_impressions([impression(number) for number in range(30)])
        store.forget_user("u1")
        before = store.counters()
        kept = [one for one in all_events(store) if one.value.timestamp >= NOW + 20]
        assert store.prune(NOW) == (0, 0)
        remaining = len(all_events(store))
        assert store.prune(NOW + 20) == (remaining - len(kept), 13)
        assert 0 < len(kept) < remaining
        assert all_events(store) == kept
        assert [one.value.timestamp for one in store.impressions_after(0)] == [
            NOW + number for number in range(20, 30) if number % 3 != 1
        ]
        assert store.counters() == before
        assert [user.value.user_id for user in store.forgotten_after(0)] == ["u1"]
        assert store.append([event(99)]) == ["accepted"]
        assert all_events(store)[-1].sequence == 31

    def test_pruning_while_others_write(self, store: EventStore, address: str) -> None:
        store.append([event(number, timestamp=1) for number in range(1000)])
        other = open_store(address)
        outcomes: list[Any] = []

        def write() -> None:
            for number in range(1000, 1050):
                outcomes.extend(other.append([event(number)]))

        writer = threading.Thread(target=write)
        writer.start()
        removed = store.prune(NOW)
        writer.join()
        other.close()
        assert removed == (1000, 0)
        assert outcomes == ["accepted"] * 50
        assert [one.value.event_id for one in all_events(store)] == [
            f"e{number}" for number in range(1000, 1050)
        ]

    # --- helpers --------------------------------------------------------------------------------

    def url(self, address: str) -> sa.URL:
        """What SQLAlchemy connects to."""
        raise NotImplementedError

    def rows(self, address: str, statement: str) -> Sequence[Any]:
        """What a statement gives, past the store."""
        engine = sa.create_engine(self.url(address))
        try:
            with engine.begin() as connection:
                found = connection.exec_driver_sql(statement)
                return [tuple(row) for row in found] if found.returns_rows else []
        finally:
            engine.dispose()


def tables(engine: sa.Engine) -> dict[str, Any]:
    """What a database says of its tables."""
    inspector = sa.inspect(engine)
    found = {}
    for name in inspector.get_table_names():
        key = inspector.get_pk_constraint(name)["constrained_columns"]
        found[name] = {
            # SQLite lets a text key created without NOT NULL be NULL, which no store writes.
            "columns": [
                (
                    column["name"],
                    str(column["type"]),
                    column["nullable"] and column["name"] not in key,
                )
                for column in inspector.get_columns(name)
            ],
            "key": key,
            "unique": sorted(one["column_names"] for one in inspector.get_unique_constraints(name)),
            "indexes": sorted(
                (str(one["name"]), one["column_names"], bool(one["unique"]))
                for one in inspector.get_indexes(name)
            ),
        }
    return found


def start(program: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """A Python process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
