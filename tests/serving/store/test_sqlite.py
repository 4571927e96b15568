"""The event store in an SQLite file."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.contracts.event_store_contract import EventStoreContract, event, impression
from twotower.errors import StoreError
from twotower.serving.store import log, sqlite
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import Counters, EventStore, StoredEvent
from twotower.serving.store.sqlite import SqliteEventStore, open_sqlite


class TestSqlite(EventStoreContract):
    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        return str(tmp_path / "events.db")

    @pytest.fixture
    def other_address(self, tmp_path: Path) -> str:
        return str(tmp_path / "other.db")

    def url(self, address: str) -> sa.URL:
        return sa.URL.create("sqlite", database=address)

    def test_every_commit_is_synced(self, address: str) -> None:
        """Also where the defaults of SQLite, which its build decides, are not safe."""
        pragmas = ("journal_mode", "synchronous", "fullfsync", "secure_delete")
        safe, unsafe = ("wal", 2, 1, 1), ("delete", 0, 0, 0)

        def values(connection: Any) -> tuple[Any, ...]:
            rows = [connection.execute(f"PRAGMA {pragma}").fetchone() for pragma in pragmas]
            return tuple(row[0] for row in rows)

        def make_unsafe(connection: Any, _: object) -> None:
            for pragma in pragmas[1:]:
                connection.execute(f"PRAGMA {pragma} = OFF")
            defaults.append(values(connection))

        def note(connection: sa.Connection) -> None:
            commits.append(values(connection.connection.driver_connection))

        defaults: list[tuple[Any, ...]] = []
        commits: list[tuple[Any, ...]] = []
        sa.event.listen(sa.Pool, "connect", make_unsafe)
        try:
            store = open_sqlite(Path(address))
            sa.event.listen(store._engine, "commit", note)
            assert store.append([event(1)]) == ["accepted"]
            store._engine.dispose()
            store.log_impressions([impression(1)])
            store.change_deployment(store.deployment().activated("v1"))
            store.forget_user("u1")
            store.close()
        finally:
            sa.event.remove(sa.Pool, "connect", make_unsafe)
        assert defaults[0] == unsafe
        assert commits == [safe] * 4

    def test_a_writer_that_waits_too_long(
        self, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite, "LOCK_TIMEOUT_SECONDS", 0.2)
        store = open_store(address)
        with closing(sqlite3.connect(address, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            begin = time.monotonic()
            with pytest.raises(StoreError) as caught:
                store.append([event(1)])
            assert time.monotonic() - begin < 4
        assert str(caught.value) == (
            f"{address}: the event store cannot be used: database is locked."
        )
        assert store.append([event(1)]) == ["accepted"]
        store.close()

    def test_a_lost_connection_of_the_counters(self, store: EventStore) -> None:
        assert isinstance(store, SqliteEventStore)
        assert store.append([event(1)]) == ["accepted"]
        assert store.counters() == Counters(events=1)
        connection = store._counters._connection
        assert connection is not None
        driver_connection = connection.connection.driver_connection
        assert driver_connection is not None
        driver_connection.close()
        assert store.counters() == Counters(events=1)

    def test_a_full_disk(self, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite, "_PRAGMAS", (*sqlite._PRAGMAS, "PRAGMA max_page_count = 80"))
        store = open_store(address)
        acknowledged: list[int] = []

        def fill() -> None:
            while True:
                start = len(acknowledged)
                numbers = range(start, start + 50)
                store.append([event(number) for number in numbers])
                acknowledged.extend(numbers)

        with pytest.raises(StoreError) as caught:
            fill()
        assert str(caught.value) == (
            f"{address}: the event store cannot be used: database or disk is full."
        )
        assert store.counters().events == len(acknowledged) > 0
        store.close()
        monkeypatch.undo()
        again = open_store(address)
        assert len(again.events_after(0, 10_000)) == len(acknowledged)
        assert again.append([event(len(acknowledged))]) == ["accepted"]
        again.close()

    def test_nothing_of_a_forgotten_user_is_left_in_the_files(
        self, store: EventStore, address: str
    ) -> None:
        store.append([event(1, user_id="u", event_id="erase-me-1", context={"a": "erase-me-2"})])
        store.append([event(2, user_id="other", event_id="keep-me")])
        store.log_impressions([impression(1, user_id="u", item_ids=("erase-me-3",))])
        store.forget_user("u")
        kept = b"".join(path.read_bytes() for path in Path(address).parent.iterdir())
        assert b"keep-me" in kept
        assert b"erase-me" not in kept


def test_a_uri(tmp_path: Path) -> None:
    places: list[str | Path] = [f"sqlite:///{tmp_path}/a.db", tmp_path / "a.db"]
    for number, where in enumerate(places):
        store = open_store(where)
        assert store.append([event(number)]) == ["accepted"]
        assert store.counters() == Counters(events=number + 1)
        store.close()


def message(where: Path, *, create: bool = True) -> str:
    with pytest.raises(StoreError) as caught:
        open_store(where, create=create)
    return str(caught.value)


def test_a_file_that_is_not_to_be_made(tmp_path: Path) -> None:
    open_store(tmp_path / "events.db").close()
    assert message(tmp_path / "event.db", create=False) == (
        f"{tmp_path}/event.db: no such event store, did you mean 'events.db'?"
    )
    assert message(tmp_path / "shop" / "events.db") == (
        f"{tmp_path}/shop: no such folder for an event store."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["events.db"]
    open_store(tmp_path / "events.db", create=False).close()


def test_a_uri_that_is_not_to_be_created(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(f"sqlite:///{tmp_path}/event.db", create=False)
    assert str(caught.value) == f"{tmp_path}/event.db: no such event store."
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_a_write_ahead_log() -> None:
    with pytest.raises(StoreError) as caught:
        sqlite._switch_to_wal(sa.create_engine("sqlite://"), "events.db")
    assert str(caught.value) == (
        "events.db: the file system does not support a write-ahead log (found 'memory'). Fix: "
        "choose a file on a local disk."
    )


def test_a_file_that_stays_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE other (a)")
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite, "LOCK_TIMEOUT_SECONDS", 0.2)
        begin = time.monotonic()
        assert message(path) == (
            f"{path}: cannot be used as an event store: database is locked. Fix: choose a new file "
            "in a writable folder; twotower creates it."
        )
        assert 0.2 <= time.monotonic() - begin < 4


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.write_text("user_id,item_id\n" * 100, encoding="utf-8")
    assert message(path) == (
        f"{path}: cannot be used as an event store: file is not a database. Fix: choose a new file "
        "in a writable folder; twotower creates it."
    )
    path.unlink()
    path.mkdir()
    assert message(path) == (
        f"{path}: cannot be used as an event store: unable to open database file. Fix: choose a "
        "new file in a writable folder; twotower creates it."
    )


def test_beside_other_tables(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE events (a); INSERT INTO events VALUES (1)")
    store = open_store(path)
    store.append([event(1)])
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM events").fetchall() == [(1,)]


def test_a_clock_that_is_set_back_makes_nobody_less_forgotten(tmp_path: Path) -> None:
    store = open_store(tmp_path / "events.db")
    assert isinstance(store, SqliteEventStore)
    store._write(lambda connection: log.forget(connection, "u", lambda: 1_800_000_000))
    store._write(lambda connection: log.forget(connection, "u", lambda: 1_700_000_000))
    (user,) = [one for _, one in store.forgotten_after(0)]
    assert user.timestamp == 1_800_000_000
    late = StoredEvent("e1", "u", "i", 1_750_000_000)
    assert store.append([late]) == ["forgotten"]
    store.close()
