"""Batched logging of impressions: a request does not wait until its impression is stored."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

from twotower.errors import StoreError
from twotower.serving.store.protocol import EventStore, Impression
from twotower.web.metrics import Metrics

log = logging.getLogger(__name__)

EVERY_SECONDS = 0.25
MAX_HELD = 20_000
"""Impressions kept in memory; the oldest are dropped first if the store cannot be written."""
MAX_HELD_ITEMS = 400_000
"""Items of these impressions."""
PAGE = 1000
PAGE_ITEMS = 2000
"""Items of the impressions that are checked and stored at once, unless a single one has more."""


class ImpressionLog:
    """Buffers impressions and stores them every `EVERY_SECONDS`."""

    def __init__(self, store: EventStore, metrics: Metrics, report: Callable[[str], None]) -> None:
        """Take the store, the metrics, and what is called with the problem of each write, which is
        empty after one that succeeds."""
        self._store = store
        self._metrics = metrics
        self._report = report
        self._held: deque[Impression] = deque()
        self._held_items = 0
        self._task = asyncio.create_task(self._run())

    def add(self, impression: Impression) -> None:
        """Add an impression to the buffer."""
        self._held.append(impression)
        self._held_items += len(impression.item_ids)
        while len(self._held) > MAX_HELD or self._held_items > MAX_HELD_ITEMS:
            self._take()
            self._metrics.impressions.labels("lost").inc()

    def _take(self) -> Impression:
        """Take the oldest out of the buffer."""
        oldest = self._held.popleft()
        self._held_items -= len(oldest.item_ids)
        return oldest

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Store the buffered impressions; those that cannot be stored stay in the buffer."""
        while self._held:
            page = self._next_page()
            try:
                await self._store_page(page)
                self._report("")
            except StoreError as error:
                self._report(f"impressions are not stored: {error}")
                log.error("impressions_not_stored", extra={"error": str(error)})
                self._held.extendleft(reversed(page))
                self._held_items += sum(len(one.item_ids) for one in page)
                return

    def _next_page(self) -> list[Impression]:
        page: list[Impression] = []
        items = 0
        while self._held and items < PAGE_ITEMS and len(page) < PAGE:
            page.append(self._take())
            items += len(page[-1].item_ids)
        return page

    async def _store_page(self, page: Sequence[Impression]) -> None:
        """Store impressions; one that the store refuses is dropped, so that it holds up no other.

        Raises:
            StoreError: the store cannot be written; all of the page may be stored again.
        """
        try:
            await asyncio.wrap_future(self._store.submit_impressions(page))
            self._metrics.impressions.labels("stored").inc(len(page))
        except StoreError:
            raise
        except Exception as error:
            if len(page) > 1:
                for impression in page:
                    await self._store_page([impression])
            else:
                self._metrics.impressions.labels("refused").inc()
                log.error("impression_refused", extra={"error": str(error)})

    async def close(self) -> None:
        """Store the buffered impressions and stop."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.flush()
