"""The head of a store, read before each answer: on a connection of its own, by the driver alone."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from twotower.serving.store.protocol import Counters

_STATEMENT = "SELECT name, value FROM twotower_counters"


class CountersReader:
    """Reads the counters; SQLAlchemy's way to a statement takes several times as long as SQLite."""

    def __init__(self, engine: sa.Engine) -> None:
        """Nothing is connected yet.

        Args:
            engine: its connections are in autocommit, so that each reading sees what is there now.
        """
        self._engine = engine
        self._lock = threading.Lock()
        self._connection: sa.Connection | None = None

    def read(self) -> Counters:
        """The head; a connection that was lost is replaced, once.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database cannot be reached or read.
        """
        with self._lock:
            try:
                return self._read()
            except sa.exc.SQLAlchemyError:
                raise
            except Exception:
                # The driver's own error: ask again in SQLAlchemy's way, which words it.
                self._drop()
                with self._engine.connect() as connection:
                    return to_counters(connection.exec_driver_sql(_STATEMENT).all())

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._drop()

    def _read(self) -> Counters:
        if self._connection is None:
            self._connection = self._engine.connect()
        cursor = self._connection.connection.cursor()
        try:
            cursor.execute(_STATEMENT)
            return to_counters(cursor.fetchall())
        finally:
            cursor.close()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()


def to_counters(rows: Iterable[Any]) -> Counters:
    """A head from the counters' rows; a newer version may have added others meanwhile."""
    return Counters(**{name: value for name, value in rows if name in Counters._fields})
