"""The event store in a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa

from tests.contracts.event_store_contract import EventStoreContract, event
from twotower.data.readers.databases import parse_address
from twotower.errors import DataError, StoreError
from twotower.serving.store import postgres
from twotower.serving.store.opening import open_store
from twotower.serving.store.postgres import open_postgres
from twotower.serving.store.protocol import Counters, EventStore

_NUMBERS = count(1)


class TestPostgres(EventStoreContract):
    @pytest.fixture
    def address(self, postgresql_server: Any) -> Iterator[str]:
        with empty_schema(postgresql_server) as address:
            yield address

    @pytest.fixture
    def other_address(self, postgresql_server: Any) -> Iterator[str]:
        with empty_schema(postgresql_server) as address:
            yield address

    def url(self, address: str) -> sa.URL:
        return parse_address(address).url

    def test_connections_that_were_lost_are_replaced(self, store: EventStore, address: str) -> None:
        kill = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        assert store.append([event(1)]) == ["accepted"]
        for number in (2, 3):
            store.counters()
            self.rows(address, kill)
            assert store.append([event(number)]) == ["accepted"]
            self.rows(address, kill)
            assert store.counters() == Counters(events=number)
            self.rows(address, kill)
            assert len(store.events_after(0)) == number

    def test_a_writer_that_waits_too_long(
        self, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres, "LOCK_TIMEOUT_SECONDS", 1)
        store = open_store(address)
        engine = sa.create_engine(self.url(address))
        with engine.begin() as other:
            other.exec_driver_sql("SELECT * FROM twotower_counters FOR UPDATE")
            with pytest.raises(StoreError) as caught:
                store.append([event(1)])
        engine.dispose()
        assert str(caught.value) == (
            f"{address.replace('postgres:@', 'postgres:***@')}: the event store cannot be used: "
            "canceling statement due to lock timeout."
        )
        assert store.append([event(1)]) == ["accepted"]
        store.close()

    def test_commits_wait_for_the_disk_though_the_role_does_not(self, address: str) -> None:
        self.rows(address, "ALTER ROLE postgres SET synchronous_commit = off")
        try:
            store = open_postgres(address)
            with store._engine.connect() as connection:
                setting = connection.exec_driver_sql("SHOW synchronous_commit").scalar()
            store.close()
        finally:
            self.rows(address, "ALTER ROLE postgres RESET synchronous_commit")
        assert setting == "on"


@contextmanager
def empty_schema(server: Any) -> Iterator[str]:
    """The address of a schema that is dropped afterwards."""
    name = f"store_{next(_NUMBERS)}"
    server.psql(f"CREATE SCHEMA {name};")
    yield f"{server.get_uri()}&options=-csearch_path%3D{name}"
    server.psql(f"DROP SCHEMA {name} CASCADE;")


def message(address: str) -> str:
    with pytest.raises((DataError, StoreError)) as caught:
        open_store(address)
    return str(caught.value)


def test_a_database_of_another_encoding(postgresql_server: Any) -> None:
    postgresql_server.psql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0;")
    address = postgresql_server.get_uri().replace("/postgres?", "/latin?")
    assert message(address) == (
        f"{address.replace('postgres:@', 'postgres:***@')}: the encoding of the database "
        "does not cover all characters of ids (found 'LATIN1'). Fix: create one: CREATE DATABASE "
        "name ENCODING 'UTF8' TEMPLATE template0."
    )


def test_a_server_that_is_not_there() -> None:
    assert message("postgresql://writer:secret@127.0.0.1:1/shop") == (
        "postgresql://writer:***@127.0.0.1:1/shop: the event store cannot be used: connection "
        'failed: connection to server at "127.0.0.1", port 1 failed: Connection refused.'
    )


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://writer:secret@127.0.0.1:1/shop",
        "postgresql://writer:a#secret@127.0.0.1:1/shop",
        "postgresql://writer:secret@127.0.0.1:x/shop",
        "postgresql://127.0.0.1:1/shop?password=secret",
        "mysql://writer:secret@127.0.0.1/shop",
    ],
)
def test_a_password_is_never_shown(address: str) -> None:
    found = message(address)
    assert "secret" not in found
    assert "***" in found


def test_another_database() -> None:
    assert message("mysql://host/db") == (
        "mysql://host/db: is not a database that can be used (found 'mysql'). Fix: write "
        "sqlite:///FILE or postgresql://USER@HOST/DB."
    )
