"""The tables of a store, and how an older store becomes one of today.

A migration is plain DDL that SQLite and PostgreSQL both understand, never edited once released.
All tables are named `twotower_...`, so that a store may live in a database of other tables.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from twotower.errors import StoreError, explain

COUNTERS: Final = ("events", "impressions", "items", "forgotten", "deployment", "keys")
"""One row each in `twotower_counters`; also the order in which a writer locks them."""

_FIRST: Final = (
    "CREATE TABLE twotower_counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
    *(f"INSERT INTO twotower_counters (name, value) VALUES ('{name}', 0)" for name in COUNTERS),
    """CREATE TABLE twotower_events (
        sequence {whole} PRIMARY KEY,
        event_id TEXT NOT NULL UNIQUE,
        user_id TEXT NOT NULL,
        user_whole BOOLEAN NOT NULL,
        item_id TEXT NOT NULL,
        item_whole BOOLEAN NOT NULL,
        timestamp BIGINT NOT NULL,
        event_type TEXT,
        weight DOUBLE PRECISION,
        request_id TEXT,
        variant TEXT,
        context TEXT
    )""",
    "CREATE INDEX twotower_events_user ON twotower_events (user_id, timestamp, sequence)",
    """CREATE TABLE twotower_impressions (
        sequence {whole} PRIMARY KEY,
        request_id TEXT NOT NULL UNIQUE,
        user_id TEXT,
        user_whole BOOLEAN NOT NULL,
        item_ids TEXT NOT NULL,
        scores TEXT,
        model_version TEXT NOT NULL,
        path TEXT NOT NULL,
        timestamp BIGINT NOT NULL,
        variant TEXT
    )""",
    "CREATE INDEX twotower_impressions_user ON twotower_impressions (user_id)",
    """CREATE TABLE twotower_items (
        sequence {whole} PRIMARY KEY,
        item_id TEXT NOT NULL UNIQUE,
        item_whole BOOLEAN NOT NULL,
        document TEXT
    )""",
    """CREATE TABLE twotower_forgotten (
        sequence {whole} PRIMARY KEY,
        user_id TEXT NOT NULL UNIQUE,
        user_whole BOOLEAN NOT NULL,
        timestamp BIGINT NOT NULL
    )""",
    """CREATE TABLE twotower_deployments (
        revision {whole} PRIMARY KEY,
        active TEXT,
        previous TEXT,
        experiment TEXT,
        changed BIGINT NOT NULL
    )""",
    "INSERT INTO twotower_deployments (revision, changed) VALUES (0, 0)",
    """CREATE TABLE twotower_keys (
        name TEXT PRIMARY KEY,
        digest TEXT NOT NULL UNIQUE,
        scopes TEXT NOT NULL,
        created BIGINT NOT NULL,
        revoked BIGINT
    )""",
)

MIGRATIONS: list[tuple[str, ...]] = [_FIRST]
"""Number n of them (from 1) makes version n of version n - 1. `{whole}` is the type of a number
that is a primary key."""

_ADVISORY_LOCK: Final = 0x74776F746F776572
"""Of migrations on PostgreSQL: "twotower" in ASCII."""

# What the newest version has, for statements.
_META = sa.MetaData()
VERSION = sa.Table("twotower_store", _META, sa.Column("version", sa.Integer))
COUNTER = sa.Table(
    "twotower_counters",
    _META,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger),
)
EVENT = sa.Table(
    "twotower_events",
    _META,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("event_id", sa.Text),
    sa.Column("user_id", sa.Text),
    sa.Column("user_whole", sa.Boolean),
    sa.Column("item_id", sa.Text),
    sa.Column("item_whole", sa.Boolean),
    sa.Column("timestamp", sa.BigInteger),
    sa.Column("event_type", sa.Text),
    sa.Column("weight", sa.Double),
    sa.Column("request_id", sa.Text),
    sa.Column("variant", sa.Text),
    sa.Column("context", sa.Text),
)
IMPRESSION = sa.Table(
    "twotower_impressions",
    _META,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("request_id", sa.Text),
    sa.Column("user_id", sa.Text),
    sa.Column("user_whole", sa.Boolean),
    sa.Column("item_ids", sa.Text),
    sa.Column("scores", sa.Text),
    sa.Column("model_version", sa.Text),
    sa.Column("path", sa.Text),
    sa.Column("timestamp", sa.BigInteger),
    sa.Column("variant", sa.Text),
)
ITEM = sa.Table(
    "twotower_items",
    _META,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("item_id", sa.Text),
    sa.Column("item_whole", sa.Boolean),
    sa.Column("document", sa.Text),
)
FORGOTTEN = sa.Table(
    "twotower_forgotten",
    _META,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("user_id", sa.Text),
    sa.Column("user_whole", sa.Boolean),
    sa.Column("timestamp", sa.BigInteger),
)
DEPLOYMENT = sa.Table(
    "twotower_deployments",
    _META,
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("active", sa.Text),
    sa.Column("previous", sa.Text),
    sa.Column("experiment", sa.Text),
    sa.Column("changed", sa.BigInteger),
)
KEY = sa.Table(
    "twotower_keys",
    _META,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text),
    sa.Column("scopes", sa.Text),
    sa.Column("created", sa.BigInteger),
    sa.Column("revoked", sa.BigInteger),
)


def migrate(connection: sa.Connection, shown: str) -> None:
    """Bring a store to the newest version, in the transaction of `connection`; a new database
    becomes an empty store. Two processes that open it at once do so one after the other.

    Args:
        connection: SQLite holds the lock of the one writer already.
        shown: the store, for errors.

    Raises:
        StoreError: the store was written by a newer twotower.
    """
    dialect = connection.dialect.name
    if dialect == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    version = version_of(connection)
    if version > len(MIGRATIONS):
        raise StoreError(
            explain(
                f"is an event store of version {version}, and this twotower knows versions up to "
                f"{len(MIGRATIONS)}",
                file=shown,
                fix="upgrade twotower",
            )
        )
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        for statement in statements:
            whole = "BIGINT" if dialect == "postgresql" else "INTEGER"
            connection.exec_driver_sql(statement.replace("{whole}", whole))
        connection.execute(sa.update(VERSION).values(version=number))


def version_of(connection: sa.Connection) -> int:
    """The version of a store, 0 where there is none yet; its row is made."""
    VERSION.create(connection, checkfirst=True)
    version = connection.scalar(sa.select(VERSION.c.version))
    if version is None:
        connection.execute(sa.insert(VERSION).values(version=0))
    return version or 0
