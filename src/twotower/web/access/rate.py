"""A limit on the requests of each caller, shared by the worker processes of a service."""

from __future__ import annotations

import ipaddress
import logging
import math
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request

from twotower.web.errors import ApiError

log = logging.getLogger(__name__)

FORGET_SECONDS = 10.0
"""How often callers that have their whole burst again are deleted."""
BUSY_SECONDS = 0.5
"""How long a process waits while another one counts."""

# A caller's whole bucket is one time: when it will be full. A request moves it by 1 / rate seconds,
# and is refused if it would then be further away than an empty bucket takes to fill.
_CREATE = "CREATE TABLE IF NOT EXISTS callers (caller TEXT PRIMARY KEY, full REAL) WITHOUT ROWID"
_HIT = """\
INSERT INTO callers VALUES (:caller, :now + :each) ON CONFLICT (caller) DO UPDATE
SET full = max(full, :now) + :each WHERE max(full, :now) + :each <= :now + :empty RETURNING full"""
_WAIT = "SELECT full + :each - :empty - :now FROM callers WHERE caller = :caller"
_FORGET = "DELETE FROM callers WHERE full < :now"


class RateLimiter:
    """A token bucket per caller: `rate` requests per second, and as many at once.

    The buckets are in an SQLite file that all processes of a service open.
    """

    def __init__(
        self,
        rate: float,
        file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the file, or create it.

        Args:
            rate: requests per second of each caller; 0: no limit.
            file: what the processes share; None: this process alone.
            clock: seconds, the same for all processes.
        """
        self._rate = rate
        self._clock = clock
        self._forgotten = clock()
        self._shared: sqlite3.Connection | None = None
        if rate:
            self._shared = sqlite3.connect(
                ":memory:" if file is None else file,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            # Nothing has to survive the service: no write waits for the disk.
            self._shared.execute("PRAGMA journal_mode = WAL")
            self._shared.execute("PRAGMA synchronous = OFF")
            self._shared.execute(_CREATE)

    def hit(self, caller: str) -> None:
        """Count a request of a caller.

        Raises:
            ApiError: the caller exceeds the rate; `Retry-After` says how long to wait.
        """
        if self._shared is None:
            return
        try:
            wait = self._wait(self._shared, caller)
        except sqlite3.Error as error:
            # A full disk or a deleted folder is no reason to answer nobody.
            log.error("rate_not_counted", extra={"error": str(error)})
            return
        if wait > 0:
            raise ApiError(
                "rate_limited",
                f"more than {self._rate:g} requests per second",
                "slow down, or send several requests as one batch",
                {"Retry-After": str(math.ceil(wait))},
            )

    def _wait(self, shared: sqlite3.Connection, caller: str) -> float:
        """Count a request; returns the seconds until the next one may come, or 0 if it may now."""
        now = self._clock()
        each = 1 / self._rate
        values = {"caller": caller, "now": now, "each": each, "empty": max(1.0, each)}
        if now - self._forgotten > FORGET_SECONDS:
            self._forgotten = now
            shared.execute(_FORGET, values)
        if shared.execute(_HIT, values).fetchone() is not None:
            return 0.0
        found = shared.execute(_WAIT, values).fetchone()
        return 0.0 if found is None else float(found[0])

    def close(self) -> None:
        """Close the file."""
        if self._shared is not None:
            self._shared.close()


def address_of(request: Request) -> str:
    """The client address of a request, or its network of 64 bits: who has one address of IPv6 has
    many. Empty if unknown."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address), 64), strict=False))
