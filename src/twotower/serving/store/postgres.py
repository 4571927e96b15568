"""The event store in PostgreSQL: for several servers."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from twotower.data.readers.databases import DatabaseSource, connect_arguments, parse_address
from twotower.errors import StoreError, explain
from twotower.serving.store.database.availability import Deadlines
from twotower.serving.store.sql_store import SqlEventStore

CONNECTIONS: Final = 5
"""Connections that a process keeps open; under load it opens up to twice as many more."""
LOCK_TIMEOUT_SECONDS: Final = 30
"""How long a writer waits for another one, and how long an idle transaction may hold its locks: the
transaction of a process that was suspended in the middle is rolled back."""


def open_postgres(uri: str, *, deadline: float | None = None) -> SqlEventStore:
    """Open the store in a database, in the first schema of the search path.

    Args:
        uri: `postgresql://USER:PASSWORD@HOST:PORT/DB`.
        deadline: seconds that a call may take; default: without end.

    Raises:
        DataError: not a valid address.
        StoreError: the database cannot be reached, its encoding is not UTF-8, the package psycopg
            is not installed, or the store was created by a newer version of twotower. Passwords are
            not shown.
    """
    source = parse_address(uri)
    engine = _make_engine(source, deadline)
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(
        engine, "connect", lambda connection, _: _check_encoding(connection, source.shown)
    )
    deadlines = None if deadline is None else Deadlines(deadline)
    return SqlEventStore(engine, source.shown, source.hide, deadlines=deadlines)


def _make_engine(source: DatabaseSource, deadline: float | None) -> sa.Engine:
    arguments = connect_arguments(source.url)
    if deadline is not None and arguments:
        arguments = {"connect_timeout": max(2, round(deadline))}
    try:
        return sa.create_engine(
            source.url,
            isolation_level="READ COMMITTED",
            connect_args=arguments,
            pool_size=CONNECTIONS,
            pool_timeout=30 if deadline is None else deadline,
            max_overflow=2 * CONNECTIONS,
        )
    except ModuleNotFoundError:
        raise StoreError(
            explain(
                "an event store in PostgreSQL needs the package psycopg, which is not installed",
                file=source.shown,
                fix="pip install 'twotower[postgres]'",
            )
        ) from None


def _check_encoding(connection: Any, shown: str) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreError(
            explain(
                "the encoding of the database does not cover all characters of ids",
                file=shown,
                value=encoding,
                fix="create one: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0",
            )
        )


def _prepare(connection: Any, _record: object) -> None:
    """Set the timeouts that neither the server nor the role sets, and have commits wait for the
    disk in any case."""
    timeout = f"{LOCK_TIMEOUT_SECONDS}s"
    settings = (
        ("synchronous_commit", "off", "on"),
        ("lock_timeout", "0", timeout),
        ("idle_in_transaction_session_timeout", "0", timeout),
    )
    with connection.cursor() as cursor:
        for name, unwanted, wanted in settings:
            cursor.execute(
                "SELECT set_config(%s, %s, false) WHERE current_setting(%s) = %s",
                (name, wanted, name, unwanted),
            )
    connection.commit()
