"""The event store in PostgreSQL: for several servers."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from twotower.data.readers.databases import DatabaseSource, connect_arguments, parse_address
from twotower.data.readers.deadlines import Deadlines
from twotower.errors import StoreError, explain
from twotower.serving.store.sql_store import SqlEventStore

CONNECTIONS: Final = 5
"""Connections that a process keeps open; under load it opens up to twice as many more."""
LOCK_TIMEOUT_SECONDS: Final = 30
"""How long a writer waits for another one, and how long an idle transaction may hold its locks: the
transaction of a process that was suspended in the middle is rolled back."""
STATEMENT_SHARE: Final = 0.8
"""Of the deadline of a call: when the server cancels a statement. It does so before the connection
is given up, after which the server would go on with it to the end."""
UNACKNOWLEDGED_SECONDS: Final = 60
"""How long what was sent may stay unacknowledged where calls have no deadline: the host is gone."""
KEEPALIVES: Final = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""An idle connection to a host that is gone is noticed after a minute, not after two hours."""


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
    sa.event.listen(engine, "connect", lambda connection, _: _prepare(connection, deadline))
    sa.event.listen(
        engine, "connect", lambda connection, _: _check_encoding(connection, source.shown)
    )
    deadlines = None if deadline is None else Deadlines(deadline)
    return SqlEventStore(engine, source.shown, source.hide, deadlines=deadlines)


def _make_engine(source: DatabaseSource, deadline: float | None) -> sa.Engine:
    try:
        return sa.create_engine(
            source.url,
            isolation_level="READ COMMITTED",
            connect_args=_connection_timeouts(source.url, deadline),
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


def _connection_timeouts(url: sa.URL, deadline: float | None) -> dict[str, Any]:
    """Options of the driver, but for those that the address sets."""
    seconds = UNACKNOWLEDGED_SECONDS if deadline is None else deadline
    own = {**connect_arguments(url), "tcp_user_timeout": round(1000 * seconds), **KEEPALIVES}
    if deadline is not None:
        own["connect_timeout"] = max(2, round(deadline))
    return {name: value for name, value in own.items() if name not in url.query}


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


def _prepare(connection: Any, deadline: float | None) -> None:
    """Set the timeouts that neither the server nor the role sets, and have commits wait for the
    disk in any case."""
    timeout = f"{LOCK_TIMEOUT_SECONDS}s"
    settings = [
        ("synchronous_commit", "off", "on"),
        ("lock_timeout", "0", timeout),
        ("idle_in_transaction_session_timeout", "0", timeout),
    ]
    if deadline is not None:
        milliseconds = max(1, round(1000 * STATEMENT_SHARE * deadline))
        settings.append(("statement_timeout", "0", f"{milliseconds}ms"))
    with connection.cursor() as cursor:
        for name, unwanted, wanted in settings:
            cursor.execute(
                "SELECT set_config(%s, %s, false) WHERE current_setting(%s) = %s",
                (name, wanted, name, unwanted),
            )
    connection.commit()
