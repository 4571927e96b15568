"""A database that hangs: every call has a deadline, and while the database is away, none waits."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from twotower.errors import StoreError

log = logging.getLogger(__name__)

CHECK_SECONDS = 0.1
"""How often deadlines are looked at."""
RETRY_SECONDS = 1.0
"""How often a database that is away is tried again."""


class Deadlines:
    """Ends calls of a PostgreSQL driver that take too long, by shutting down their connection: a
    server that hangs neither answers nor closes it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._running: dict[object, tuple[float, Any]] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def limit(self, connection: sa.Connection) -> Iterator[None]:
        """Give what is done with a connection `seconds` from now."""
        call = object()
        driver = connection.connection.driver_connection
        with self._lock:
            self._running[call] = (time.monotonic() + self.seconds, driver)
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


class Availability:
    """Whether a database can be reached. Once it cannot, calls fail at once, until a thread that
    tries it again succeeds."""

    def __init__(self, probe: Callable[[], None]) -> None:
        """Take a call that raises where the database is away."""
        self._probe = probe
        self._lock = threading.Lock()
        self._error: StoreError | None = None
        self._closed = threading.Event()

    def check(self) -> None:
        """Raise where the database is away.

        Raises:
            StoreError: the error by which that was noticed.
        """
        error = self._error
        if error is not None:
            raise StoreError(str(error))

    def lost(self, error: StoreError) -> None:
        """Note that the database is away."""
        with self._lock:
            if self._error is not None or self._closed.is_set():
                return
            self._error = error
            threading.Thread(target=self._retry, name="store-probe", daemon=True).start()

    def close(self) -> None:
        """Stop trying."""
        self._closed.set()

    def _retry(self) -> None:
        while not self._closed.wait(RETRY_SECONDS):
            try:
                self._probe()
            except Exception:
                continue
            self._error = None
            return
