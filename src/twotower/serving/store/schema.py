"""The tables of a store, and the migration of a store that an earlier version created.

A new store is created from the tables below. A store of an earlier version is brought to them by
`MIGRATIONS`; a test holds that both have the same columns, constraints and indexes.

All tables are named `twotower_...`, so that a store can share a database with other tables.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from twotower.errors import StoreError, explain
from twotower.serving.store.database.column_types import (
    JsonText,
    SetText,
    experiment_document,
    read_experiment,
)
from twotower.serving.store.protocol import Counters

MIGRATIONS: list[tuple[str, ...]] = [
    (
        "ALTER TABLE twotower_items ADD COLUMN partial BOOLEAN NOT NULL DEFAULT FALSE",
        "ALTER TABLE twotower_items ADD COLUMN hidden BOOLEAN",
        "ALTER TABLE twotower_deployments ADD COLUMN rollback_to BIGINT",
    ),
]
"""Number n of them (from 1) makes version n + 1 of version n: DDL that both SQLite and PostgreSQL
understand, never edited once released."""

_ADVISORY_LOCK: Final = 0x74776F746F776572
"""Held during a migration on PostgreSQL: "twotower" in ASCII."""

METADATA = sa.MetaData()
VERSION = sa.Table("twotower_store", METADATA, sa.Column("version", sa.Integer))


def _key(name: str) -> sa.Column[int]:
    """A number given by the store. In SQLite a key of type INTEGER is the row id itself."""
    whole = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column(name, whole, primary_key=True, autoincrement=False)


def _id(name: str, *, nullable: bool = False, unique: bool = False) -> tuple[sa.Column[Any], ...]:
    """An id, as text and a flag for those that were integers: it is found by either spelling, and
    returned as it was given."""
    return (
        sa.Column(name, sa.Text, nullable=nullable, unique=unique),
        sa.Column(integer_flag(name), sa.Boolean, nullable=False),
    )


def integer_flag(id_column: str) -> str:
    """The column that says whether an id was an integer."""
    return id_column.removesuffix("_id") + "_whole"


COUNTER = sa.Table(
    "twotower_counters",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)
EVENT = sa.Table(
    "twotower_events",
    METADATA,
    _key("sequence"),
    sa.Column("event_id", sa.Text, nullable=False, unique=True),
    *_id("user_id"),
    *_id("item_id"),
    sa.Column("timestamp", sa.BigInteger, nullable=False),
    sa.Column("event_type", sa.Text),
    sa.Column("weight", sa.DOUBLE_PRECISION),
    sa.Column("request_id", sa.Text),
    sa.Column("variant", sa.Text),
    sa.Column("context", JsonText(dict, dict, empty_as_null=True)),
    sa.Index("twotower_events_user", "user_id", "timestamp", "sequence"),
)
IMPRESSION = sa.Table(
    "twotower_impressions",
    METADATA,
    _key("sequence"),
    sa.Column("request_id", sa.Text, nullable=False, unique=True),
    *_id("user_id", nullable=True),
    sa.Column("item_ids", JsonText(list, tuple), nullable=False),
    sa.Column("scores", JsonText(list, tuple, empty_as_null=True)),
    sa.Column("model_version", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("timestamp", sa.BigInteger, nullable=False),
    sa.Column("variant", sa.Text),
    sa.Index("twotower_impressions_user", "user_id"),
)
ITEM = sa.Table(
    "twotower_items",
    METADATA,
    _key("sequence"),
    *_id("item_id", unique=True),
    sa.Column("document", JsonText(dict, dict), key="columns"),
    sa.Column("partial", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("hidden", sa.Boolean),
)
FORGOTTEN = sa.Table(
    "twotower_forgotten",
    METADATA,
    _key("sequence"),
    *_id("user_id", unique=True),
    sa.Column("timestamp", sa.BigInteger, nullable=False),
)
DEPLOYMENT = sa.Table(
    "twotower_deployments",
    METADATA,
    _key("revision"),
    sa.Column("active", sa.Text),
    sa.Column("previous", sa.Text),
    sa.Column("experiment", JsonText(experiment_document, read_experiment)),
    sa.Column("changed", sa.BigInteger, nullable=False),
    sa.Column("rollback_to", sa.BigInteger),
)
KEY = sa.Table(
    "twotower_keys",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sa.Column("scopes", SetText, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("revoked", sa.BigInteger),
)


def migrate(connection: sa.Connection, name: str) -> None:
    """Bring a store to the newest version, in the transaction of `connection`; a database without
    one gets an empty store. Two processes that open it at once do so one after the other.

    Args:
        connection: in SQLite it holds the write lock already.
        name: the store in error messages.

    Raises:
        StoreError: the store was created by a newer version of twotower.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    newest = len(MIGRATIONS) + 1
    VERSION.create(connection, checkfirst=True)
    version = connection.scalar(sa.select(VERSION.c.version))
    if version is None:
        _create(connection)
        connection.execute(sa.insert(VERSION).values(version=newest))
        return
    if version > newest:
        raise StoreError(
            explain(
                f"event store of version {version}, but this version of twotower reads versions "
                f"up to {newest}",
                file=name,
                fix="upgrade twotower",
            )
        )
    for number, statements in enumerate(MIGRATIONS[version - 1 :], start=version + 1):
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.execute(sa.update(VERSION).values(version=number))


def _create(connection: sa.Connection) -> None:
    """Create the tables of an empty store."""
    tables = [table for table in METADATA.sorted_tables if table is not VERSION]
    # Tables of these names that are not a store's are an error, not a store.
    METADATA.create_all(connection, tables, checkfirst=False)
    counters = [{"name": counter, "value": 0} for counter in Counters._fields]
    connection.execute(sa.insert(COUNTER), counters)
    connection.execute(sa.insert(DEPLOYMENT).values(revision=0, changed=0))
