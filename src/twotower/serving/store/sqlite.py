"""The event store in an SQLite file: the default, for one machine with any number of processes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from twotower.atomic import replace_file
from twotower.errors import StoreError, explain, nearest
from twotower.serving.store.protocol import Id, Removed
from twotower.serving.store.sql_store import SqlEventStore

LOCK_TIMEOUT_SECONDS: Final = 30
"""How long a writer waits for writers of other processes."""

_PRAGMAS: Final = (
    # A commit waits until the data is on the disk; on macOS, past the cache of the disk.
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    # Deleted rows are overwritten with zeros, for `forget_user`.
    "PRAGMA secure_delete = ON",
)


class SqliteEventStore(SqlEventStore):
    """An event store in a file."""

    def forget_user(self, user_id: Id) -> Removed:
        """As in the protocol. The write-ahead log, which may still hold the rows, is truncated
        unless a reader needs it."""
        removed = super().forget_user(user_id)
        self._truncate_log()
        return removed

    def prune(self, before: int) -> Removed:
        """As in the protocol; the write-ahead log is truncated as in `forget_user`. The file keeps
        its size: its free pages are used by later rows."""
        removed = super().prune(before)
        self._truncate_log()
        return removed

    def back_up(self, copy: Path) -> None:
        """Write the state of one moment into a new file, while others read and write.

        Args:
            copy: a new file; it is complete and on the disk, or not there.

        Raises:
            StoreError: the file exists, or cannot be written.
        """
        if copy.exists():
            fix = "choose a new file; backups are not replaced"
            raise StoreError(explain("exists already", file=copy, fix=fix))
        try:
            with replace_file(copy) as aside:
                statement = sa.text("VACUUM INTO :file").bindparams(file=str(aside))
                self._read(lambda connection: connection.execute(statement))
        except OSError as error:
            raise StoreError(
                explain(f"cannot be written: {error}", file=copy, fix="choose another place")
            ) from None

    def _truncate_log(self) -> None:
        self._read(lambda connection: connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)"))


def open_sqlite(path: Path, *, create: bool = True) -> SqliteEventStore:
    """Open the store in a file.

    Args:
        path: on a local disk: processes share the write-ahead log through memory.
        create: create the file if it does not exist.

    Raises:
        StoreError: the file does not exist, is not an SQLite database, or was created by a newer
            version of twotower.
    """
    name = str(path)
    if not (path if not create else path.parent).exists():
        place = path if path.parent.is_dir() else path.parent
        there = [entry.name for entry in place.parent.iterdir()] if place.parent.is_dir() else []
        kind = "event store" if place == path else "folder for an event store"
        raise StoreError(explain(f"no such {kind}{nearest(place.name, there)}", file=place))
    engine = sa.create_engine(
        # Absolute: a process that changes its working directory stays with the same file.
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
    """Take the write lock when a transaction begins: one that began as a reader could not write
    after another process has."""
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _switch_to_wal(engine: sa.Engine, name: str) -> None:
    """Switch the file to a write-ahead log, for good: readers and the writer do not wait for each
    other then."""
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while True:
        try:
            with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
                mode = connection.exec_driver_sql("PRAGMA journal_mode = WAL").scalar()
            break
        except sa.exc.DBAPIError as error:
            # SQLite's own timeout does not cover two processes that switch at once.
            if "locked" not in str(error.orig) or time.monotonic() > deadline:
                raise StoreError(
                    explain(
                        f"cannot be used as an event store: {error.orig}",
                        file=name,
                        fix="choose a new file in a writable folder; twotower creates it",
                    )
                ) from None
            time.sleep(0.01)
    if mode != "wal":
        raise StoreError(
            explain(
                "the file system does not support a write-ahead log",
                file=name,
                value=mode,
                fix="choose a file on a local disk",
            )
        )
