"""The event store in a real PostgreSQL server."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
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

    def test_a_slow_statement_is_cancelled_by_the_server(self, address: str) -> None:
        store = open_postgres(address, deadline=1.0)
        self.rows(address, "ALTER TABLE twotower_keys RENAME TO fast_keys")
        slow = "CREATE VIEW twotower_keys AS SELECT fast_keys.* FROM fast_keys, pg_sleep(20)"
        self.rows(address, slow)
        start = time.monotonic()
        with pytest.raises(StoreError) as caught:
            store.keys()
        assert 0.7 < time.monotonic() - start < 5
        assert str(caught.value).endswith(
            "the event store cannot be used: canceling statement due to statement timeout."
        )
        running = (
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
            "AND strpos(query, 'twotower_keys') > 0 AND pid <> pg_backend_pid()"
        )
        assert self.rows(address, running) == [(0,)]
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:  # until the store has noticed that the database answers
            try:
                assert store.append([event(1)]) == ["accepted"]
                break
            except StoreError:
                time.sleep(0.1)
        assert store.counters() == Counters(events=1)
        store.close()

    @pytest.mark.parametrize("deadline", [None, 2.5])
    def test_the_timeouts_of_a_connection(self, address: str, deadline: float | None) -> None:
        self.rows(address, "ALTER ROLE postgres SET lock_timeout = '7s'")
        try:
            store = open_postgres(f"{address}&keepalives_count=9", deadline=deadline)
            with store._engine.connect() as connection:
                settings = {
                    name: connection.exec_driver_sql(f"SHOW {name}").scalar()
                    for name in ("statement_timeout", "lock_timeout")
                }
            store.close()
        finally:
            self.rows(address, "ALTER ROLE postgres RESET lock_timeout")
        expected = "0" if deadline is None else "2s"
        assert settings == {"statement_timeout": expected, "lock_timeout": "7s"}

    @pytest.mark.skipif(sys.platform != "linux", reason="reads socket options of Linux")
    @pytest.mark.parametrize(("deadline", "unacknowledged"), [(None, 60_000), (2.5, 2_500)])
    def test_a_host_that_is_gone_is_noticed(
        self, address: str, deadline: float | None, unacknowledged: int
    ) -> None:
        with over_tcp(address) as tcp:
            store = open_postgres(tcp, deadline=deadline)
            with store._engine.connect() as connection:
                driver: Any = connection.connection.driver_connection
                with socket.socket(fileno=os.dup(driver.fileno())) as copy:
                    found = {
                        "unacknowledged": copy.getsockopt(socket.IPPROTO_TCP, 18),
                        "keepalive": copy.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                        "idle": copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                        "interval": copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
                        "count": copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
                    }
            store.close()
        assert found == {
            "unacknowledged": unacknowledged,
            "keepalive": 1,
            "idle": 30,
            "interval": 10,
            "count": 3,
        }


@contextmanager
def over_tcp(address: str) -> Iterator[str]:
    """The address of a port that passes on to a server's socket in the file system."""
    query = parse_address(address).url.query
    file = f"{query['host']}/.s.PGSQL.5432"

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # the other side has hung up
            while content := source.recv(65536):
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                ends.callback(client.close)
                ends.callback(server.close)
                server.connect(file)
                for pair in ((client, server), (server, client)):
                    start(pass_on, *pair)

    def start(function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        thread.start()
        ends.callback(thread.join, 10)

    with ExitStack() as ends, socket.create_server(("127.0.0.1", 0)) as listener:
        start(accept)
        port = listener.getsockname()[1]
        yield f"postgresql://postgres:@127.0.0.1:{port}/postgres?options={query['options']}"
        listener.shutdown(socket.SHUT_RDWR)


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
