"""The event store in an SQLite file: the default, for one machine with any number of processes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from twotower.errors import StoreError, explain, nearest
from twotower.serving.store.protocol import Id, Removed
from twotower.serving.store.sql_store import SqlEventStore

LOCK_TIMEOUT_SECONDS: Final = 30
"""How long a writer waits for those of other processes."""

_PRAGMAS: Final = (
    # Committed is on the disk, not only with the operating system; on macOS past the disk's cache.
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    # What is deleted is overwritten with zeros: `forget_user` means it.
    "PRAGMA secure_delete = ON",
)


class SqliteEventStore(SqlEventStore):
    """An event store in a file."""

    def forget_user(self, user_id: Id) -> Removed:
        """As in the protocol; the write-ahead log, which may still hold the rows, is emptied as
        far as readers allow."""
        removed = super().forget_user(user_id)
        self._read(lambda connection: connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)"))
        return removed


def open_sqlite(path: Path, *, create: bool = True) -> SqliteEventStore:
    """Open the store in a file.

    Args:
        path: on a disk of this machine: the write-ahead log needs memory that the processes share.
        create: make the file where there is none.

    Raises:
        StoreError: there is no such file, it is no SQLite database, or of a newer twotower.
    """
    name = str(path)
    if not (path if not create else path.parent).exists():
        place = path if path.parent.is_dir() else path.parent
        there = [entry.name for entry in place.parent.iterdir()] if place.parent.is_dir() else []
        kind = "file of an event store" if place == path else "folder for an event store"
        raise StoreError(explain(f"no such {kind}{nearest(place.name, there)}", file=place))
    engine = sa.create_engine(
        # Absolute: a process that changes its folder goes on with the same file.
        sa.URL.create("sqlite", database=str(path.absolute())),
        connect_args={"timeout": LOCK_TIMEOUT_SECONDS},
    )
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    _switch_to_wal(engine, name)
    return SqliteEventStore(engine, name)


def _prepare(connection: Any, _record: object) -> None:
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin(connection: sa.Connection) -> None:
    """A transaction takes the lock of the one writer at its start: a reader that becomes a writer
    half-way would fail where another has written in between."""
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _switch_to_wal(engine: sa.Engine, name: str) -> None:
    """Make the write-ahead log the file's mode, which stays with it; readers and the writer do not
    wait for each other then."""
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while True:
        try:
            with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
                mode = connection.exec_driver_sql("PRAGMA journal_mode = WAL").scalar()
            break
        except sa.exc.DBAPIError as error:
            # SQLite does not wait by itself where two processes switch at once.
            if "locked" not in str(error.orig) or time.monotonic() > deadline:
                raise StoreError(
                    explain(
                        f"cannot be used as an event store: {error.orig}",
                        file=name,
                        fix="name a file of your own that can be written; twotower makes it",
                    )
                ) from None
            time.sleep(0.01)
    if mode != "wal":
        raise StoreError(
            explain(
                "cannot keep a write-ahead log",
                file=name,
                value=mode,
                fix="name a file on a disk of this machine",
            )
        )
