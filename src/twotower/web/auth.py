"""Who may do what: bearer keys with scopes, and limits on how often."""

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
    """What a request may do.

    Attributes:
        needed: whether the service wants keys at all.
        scopes: those that the request's key has; all where none is needed.
    """

    needed: bool
    scopes: tuple[Scope, ...]


class Keys:
    """The keys of the store, cached until any process creates or revokes one.

    The counter of keys is read for each request, so that the next request with a revoked key is
    rejected, whichever process revoked it.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._counter: int | None = None
        self._required = True
        self._records: dict[str, KeyRecord | None] = {}

    def _refresh(self) -> None:
        """Drop what was cached before the last change of a key.

        Raises:
            StoreError: the store cannot be read; the next request tries again.
        """
        counter = self._store.counters().keys
        if counter != self._counter:
            self._records.clear()
            self._required = bool(self._store.keys())
            self._counter = counter

    def allow(self, request: Request, scope: Scope) -> str:
        """Let a request pass.

        Returns:
            whose it is, for limits: the key's name, or the address where there are no keys.

        Raises:
            ApiError: without a valid key, or with one that lacks the scope.
        """
        self._refresh()
        if not self._required:
            return address_of(request)
        record = self._sent(request)
        if record is None:
            raise ApiError(
                "no_key",
                "a valid key is needed",
                "send 'Authorization: Bearer KEY' with a key that is not revoked",
                {"WWW-Authenticate": "Bearer"},
            )
        if not allows(record, scope):
            raise ApiError(
                "wrong_scope", f"the key may not {scope}", f"use a key with the scope {scope!r}"
            )
        return record.name

    def access(self, request: Request) -> Access:
        """What a request may do, without refusing anything."""
        self._refresh()
        if not self._required:
            return Access(needed=False, scopes=SCOPES)
        record = self._sent(request)
        scopes = () if record is None else tuple(s for s in SCOPES if allows(record, s))
        return Access(needed=True, scopes=scopes)

    def _sent(self, request: Request) -> KeyRecord | None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return self._record(key.strip()) if scheme.lower() == "bearer" else None

    def _record(self, key: str) -> KeyRecord | None:
        if key not in self._records:
            if len(self._records) >= MAX_CALLERS:
                self._records.clear()
            self._records[key] = find_key(self._store, key)
        return self._records[key]


def address_of(request: Request) -> str:
    """Where a request comes from; empty where that is not known."""
    return request.client.host if request.client else ""


class RateLimit:
    """A bucket of tokens for each caller: `rate` a second, twice as many at once."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = max(1.0, 2 * rate)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> None:
        """Count a request.

        Raises:
            ApiError: the caller asks too often.
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
                f"more than {self._rate:g} requests a second",
                "send requests more slowly, or several at a time",
                {"Retry-After": str(max(1, round(wait)))},
            )
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.clear()
        self._buckets[caller] = (tokens - 1, now)
