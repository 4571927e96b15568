"""Authorization by API keys with scopes."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from starlette.requests import Request

from twotower.errors import StoreError
from twotower.serving.store.keys import KEY_LENGTH, SCOPES, allows, find_key
from twotower.serving.store.protocol import EventStore, KeyRecord, Scope
from twotower.web.access.browsers import BrowserCheck
from twotower.web.access.rate import address_of
from twotower.web.errors import ApiError

MAX_CALLERS = 10_000
"""Keys that are cached, known and unknown ones. Longer text than a key is not kept."""


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
    rejected, whichever process revoked it. Requests that wait share a reading.

    While the store is away, the keys in memory stay valid for at most `stale_seconds`.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        stale_seconds: float = 0.0,
        browsers: BrowserCheck | None = None,
        remote: bool = False,
    ) -> None:
        """Take a store.

        Args:
            store: holds the keys.
            stale_seconds: see above.
            browsers: checks requests without keys.
            remote: whether the store is a database server. It is then read on another thread; a
                file is read at once, which takes less time than to change threads.
        """
        self._store = store
        self._remote = remote
        self._browsers = browsers or BrowserCheck()
        self._stale_seconds = stale_seconds
        self._refreshed = time.monotonic()
        self._counter: int | None = None
        self._required = True
        self._records: dict[str, KeyRecord | None] = {}
        self._reading: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        # Neither the event loop nor the thread that answers waits for it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keys")

    async def _record(self, request: Request) -> KeyRecord | None:
        """The record of a request's key, if it has a valid one.

        Raises:
            StoreError: the store cannot be read; the next request tries again.
        """
        if not self._remote:
            self._refresh()
        else:
            if self._reading is None:
                self._reading = asyncio.ensure_future(self._read())
            await asyncio.shield(self._reading)
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key = key.strip()
        if not self._required or scheme.lower() != "bearer":
            return None
        if key in self._records:
            return self._records[key]
        if not self._remote:
            return self._find(key)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._find, key)

    async def _read(self) -> None:
        async with self._turn:
            # Whoever comes from now on needs a reading that begins later.
            self._reading = None
            await asyncio.get_running_loop().run_in_executor(self._thread, self._refresh)

    def _refresh(self) -> None:
        """Clear the cache if a key has been created or revoked since.

        Raises:
            StoreError: the store cannot be read, and what is in memory is too old.
        """
        try:
            counter = self._store.counters().keys
            if counter != self._counter:
                required = bool(self._store.keys())
                self._records = {}
                self._required, self._counter = required, counter
            self._refreshed = time.monotonic()
        except StoreError:
            age = time.monotonic() - self._refreshed
            if self._counter is None or age > self._stale_seconds:
                raise

    def _find(self, key: str) -> KeyRecord | None:
        """Look for a key in the store.

        Raises:
            StoreError: the store cannot be read.
        """
        records = self._records
        record = find_key(self._store, key)
        if len(records) >= MAX_CALLERS:
            records.clear()
        if len(key) <= KEY_LENGTH:
            records[key] = record
        return record

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def authorize(self, request: Request, scope: Scope) -> str:
        """Check that a request may use a scope.

        Returns:
            the caller, for rate limits: the key's name, or the client address if the service has
            no keys.

        Raises:
            ApiError: the key is missing, unknown or revoked, or lacks the scope; without keys, a
                web page of another origin sends the request.
        """
        record = await self._record(request)
        if not self._required:
            self._browsers.check(request)
            return f"address {address_of(request)}"
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
        return f"key {record.name}"

    async def access(self, request: Request) -> Access:
        """What a request may do; an invalid key gives no scopes and no error."""
        record = await self._record(request)
        if not self._required:
            return Access(needed=False, scopes=SCOPES)
        scopes = () if record is None else tuple(s for s in SCOPES if allows(record, s))
        return Access(needed=True, scopes=scopes)
