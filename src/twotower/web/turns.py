"""Large requests of a process take turns and pause, so that small ones are answered in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")

FEW = 50
"""Events or items that are prepared and checked without a pause."""
PAUSE_SECONDS = 0.002
"""For others, after each `FEW` of many. A thread beside theirs would have them wait for its
turns all the time."""


class Turns:
    """Large requests of one kind, of which one at a time is worked on; small ones do not wait."""

    def __init__(self, timeout: float) -> None:
        """Name the seconds that a request waits for its turn."""
        self._timeout = timeout
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self, *, is_large: bool) -> AsyncIterator[None]:
        """The turn of a request.

        Raises:
            TimeoutError: it does not come.
        """
        if not is_large:
            yield
            return
        async with asyncio.timeout(self._timeout):
            await self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()


async def by_few(values: Sequence[T]) -> AsyncIterator[tuple[int, Sequence[T]]]:
    """The first place and the values of each `FEW`, with a pause between them for others."""
    for start in range(0, len(values), FEW):
        if start:
            await asyncio.sleep(PAUSE_SECONDS)
        yield start, values[start : start + FEW]
