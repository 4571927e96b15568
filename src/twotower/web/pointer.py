"""The `current` pointer of a folder of bundles: followed, and written after an activation."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from twotower.serving.live.versions import Pool
from twotower.serving.store.protocol import Deployment
from twotower.web.errors import ApiError

log = logging.getLogger(__name__)

MOST_SECONDS = 60.0
"""Longest pause before a version that could not be activated is tried again."""


class Activate(Protocol):
    """Activates a version, if the gate passes and `still` says that it is still wanted."""

    def __call__(
        self, version: str, *, force: bool, still: Callable[[], bool]
    ) -> Awaitable[object]:
        """Do so."""
        ...


class Pointer:
    """The pointer of a pool of versions.

    Attributes:
        problem: why it is not followed, or could not be written; empty if all is well.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._seen: str | None = None
        self.problem = ""

    async def follow(
        self, activate: Activate, deployment: Callable[[], Awaitable[Deployment]], seconds: float
    ) -> None:
        """Activate the version that the pointer names whenever it changes.

        Runs until cancelled. The gate applies, also at the start. A pointer that is older than the
        last activation or rollback is not followed: where the folder is read-only, those cannot
        change it. A version that is not there or cannot be loaded is tried again, in growing
        pauses: it may be on its way. One that the gate refuses is not.

        Args:
            activate: see `Activate`.
            deployment: gives the current one.
            seconds: how often the pointer is looked at.
        """
        again, pause = float("inf"), seconds
        while True:
            named = await asyncio.to_thread(self._pool.pointed)
            if named != self._seen:
                pause = seconds
            if named is not None and (named != self._seen or time.monotonic() >= again):
                self._seen, again = named, float("inf")
                if not await self._activated(named, activate, deployment):
                    pause = min(2 * pause, max(MOST_SECONDS, seconds))
                    again = time.monotonic() + pause
            await asyncio.sleep(seconds)

    async def _activated(
        self, named: str, activate: Activate, deployment: Callable[[], Awaitable[Deployment]]
    ) -> bool:
        """Activate a version that the pointer names; returns False to try again."""
        pool = self._pool
        try:
            now = await deployment()
            if await asyncio.to_thread(pool.pointed_at) < now.changed:
                if named != now.active:
                    self.problem = (
                        f"the pointer names {named!r} and is not followed: {now.active!r} was "
                        "activated after it was written"
                    )
                    log.warning("pointer_not_followed", extra={"version": named})
                return True
            # An activation over HTTP updates the pointer as well: a name that was read before that
            # must not undo it.
            await activate(named, force=False, still=lambda: pool.pointed() == named)
            self.problem = ""
        except Exception as error:
            # Whatever a bundle brings: the next one that the pointer names is looked at again.
            text = str(error) or type(error).__name__
            self.problem = f"the version {named!r} was not activated: {text}"
            log.error("version_not_activated", extra={"version": named, "error": text})
            return isinstance(error, ApiError)
        return True

    async def write(self, version: str) -> None:
        """Have the pointer name a version that is active; where the folder is read-only, it stays
        as it is."""
        try:
            await asyncio.to_thread(self._pool.point, version)
            self._seen, self.problem = version, ""
        except OSError as error:
            self.problem = f"the pointer could not be changed to {version!r}: {error}"
            log.error("pointer_not_written", extra={"version": version, "error": str(error)})
