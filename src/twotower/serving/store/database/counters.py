"""The counters of a store, read before each answer: on a connection of their own, by the driver
itself, which takes a fraction of the time that a statement of SQLAlchemy takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa

from twotower.serving.store.protocol import Counters

_STATEMENT = "SELECT name, value FROM twotower_counters"


class CountersReader:
    """Reads the counters; threads take turns."""

    def __init__(
        self, engine: sa.Engine, limit: Callable[[sa.Connection], AbstractContextManager[None]]
    ) -> None:
        """Connect at the first `read`.

        Args:
            engine: its connections are in autocommit, so that each read sees the newest commit.
            limit: the deadline of what is done with a connection.
        """
        self._engine = engine
        self._limit = limit
        self._lock = threading.Lock()
        self._connection: sa.Connection | None = None

    def read(self) -> Counters:
        """The counters; a lost connection is replaced once.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database cannot be reached or read.
        """
        with self._lock:
            try:
                return self._read()
            except sa.exc.SQLAlchemyError:
                raise
            except Exception:
                # The driver's own error: read again by SQLAlchemy, whose errors callers handle.
                self._disconnect()
                with self._engine.connect() as connection, self._limit(connection):
                    return to_counters(connection.exec_driver_sql(_STATEMENT).all())

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._disconnect()

    def _read(self) -> Counters:
        if self._connection is None:
            self._connection = self._engine.connect()
        with self._limit(self._connection):
            cursor = self._connection.connection.cursor()
            try:
                cursor.execute(_STATEMENT)
                return to_counters(cursor.fetchall())
            finally:
                cursor.close()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()


def to_counters(rows: Iterable[Any]) -> Counters:
    """The counters from their rows; one that a newer version has added is passed over."""
    return Counters(**{name: value for name, value in rows if name in Counters._fields})
