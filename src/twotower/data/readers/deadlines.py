"""Deadlines for calls of PostgreSQL, on the side of the client: a server that hangs keeps none."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import sqlalchemy as sa

log = logging.getLogger(__name__)

CHECK_SECONDS = 0.1
"""How often deadlines are looked at."""


class Deadlines:
    """Ends calls of a PostgreSQL driver that take too long, by shutting down their connection: a
    server that hangs neither answers nor closes it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._running: dict[object, tuple[float, Any]] = {}
        self._thread: threading.Thread | None = None

    def limit(self, connection: sa.Connection) -> AbstractContextManager[None]:
        """Give what is done with a connection `seconds` from now."""
        return self.until(connection, time.monotonic() + self.seconds)

    @contextmanager
    def until(self, connection: sa.Connection, deadline: float) -> Iterator[None]:
        """Give what is done with a connection until a time of `time.monotonic`."""
        call = object()
        driver = connection.connection.driver_connection
        with self._lock:
            self._running[call] = (deadline, driver)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._running.pop(call, None)

    def _watch(self) -> None:
        while True:
            time.sleep(CHECK_SECONDS)
            now = time.monotonic()
            with self._lock:
                # Under the lock: a call that ends meanwhile keeps its connection open.
                late = [call for call, (deadline, _) in self._running.items() if deadline < now]
                for call in late:
                    shut_down(self._running.pop(call)[1])


def shut_down(driver: Any) -> None:
    """Close both directions of a driver's connection; who waits for an answer gets an error."""
    try:
        with socket.socket(fileno=os.dup(driver.fileno())) as copy:
            copy.shutdown(socket.SHUT_RDWR)
    except Exception as error:
        # The driver's own errors, too: the connection is gone already. The thread has to go on, or
        # no later call would have a deadline.
        log.debug("connection_not_shut_down", extra={"error": str(error)})
