"""Authorization by API keys with scopes, and rate limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from twotower.serving.store.keys import SCOPES, allows, find_key
from twotower.serving.store.protocol import EventStore, KeyRecord, Scope
from twotower.web.errors import ApiError

MAX_CALLERS = 10_000
"""Entries of each cache: keys, and callers whose rate is limited."""


@dataclass(frozen=True)
class Access:
    """What a request is allowed to do.

    Attributes:
        needed: whether the service requires a key.
        scopes: scopes of the request's key; all scopes if no key is required.
    """

    needed: bool
    scopes: tuple[Scope, ...]


class KeyAuth:
    """Authorizes requests by the stored keys, cached until any process creates or revokes a key.

    The counter of keys is read for each request, so that the next request with a revoked key is
    rejected, whichever process revoked it.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._counter: int | None = None
        self._required = True
        self._records: dict[str, KeyRecord | None] = {}

    def _refresh(self) -> None:
        """Clear the cache if a key has been created or revoked since.

        Raises:
            StoreError: the store cannot be read; the next request tries again.
        """
        counter = self._store.counters().keys
        if counter != self._counter:
            self._records.clear()
            self._required = bool(self._store.keys())
            self._counter = counter

    def authorize(self, request: Request, scope: Scope) -> str:
        """Check that a request may use a scope.

        Returns:
            the caller, for rate limits: the key's name, or the client address if the service has
            no keys.

        Raises:
            ApiError: the key is missing, unknown or revoked, or lacks the scope.
        """
        self._refresh()
        if not self._required:
            return address_of(request)
        record = self._record_of(request)
        if record is None:
            raise ApiError(
                "no_key",
                "a valid API key is required",
                "send 'Authorization: Bearer KEY' with a key that has not been revoked",
                {"WWW-Authenticate": "Bearer"},
            )
        if not allows(record, scope):
            raise ApiError(
                "wrong_scope",
                f"the API key does not have the scope {scope!r}",
                f"use a key with the scope {scope!r}",
            )
        return record.name

    def access(self, request: Request) -> Access:
        """What a request may do; an invalid key gives no scopes and no error."""
        self._refresh()
        if not self._required:
            return Access(needed=False, scopes=SCOPES)
        record = self._record_of(request)
        scopes = () if record is None else tuple(s for s in SCOPES if allows(record, s))
        return Access(needed=True, scopes=scopes)

    def _record_of(self, request: Request) -> KeyRecord | None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return self._find(key.strip()) if scheme.lower() == "bearer" else None

    def _find(self, key: str) -> KeyRecord | None:
        if key not in self._records:
            if len(self._records) >= MAX_CALLERS:
                self._records.clear()
            self._records[key] = find_key(self._store, key)
        return self._records[key]


def address_of(request: Request) -> str:
    """The client address of a request; empty if unknown."""
    return request.client.host if request.client else ""


class RateLimiter:
    """A token bucket per caller: `rate` requests per second, bursts of up to twice as many."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = max(1.0, 2 * rate)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def hit(self, caller: str) -> None:
        """Count a request of a caller.

        Raises:
            ApiError: the caller exceeds the rate; `Retry-After` says how long to wait.
        """
        if not self._rate:
            return
        now = self._clock()
        tokens, since = self._buckets.get(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        if tokens < 1:
            self._buckets[caller] = (tokens, now)
            wait = (1 - tokens) / self._rate
            raise ApiError(
                "rate_limited",
                f"more than {self._rate:g} requests per second",
                "slow down, or send several requests as one batch",
                {"Retry-After": str(max(1, round(wait)))},
            )
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.clear()
        self._buckets[caller] = (tokens - 1, now)
