"""While a database is away, no call waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from twotower.errors import StoreError

RETRY_SECONDS = 1.0
"""How often a database that is away is tried again."""


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
