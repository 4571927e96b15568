"""Batched logging of impressions: a request does not wait until its impression is stored."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from twotower.errors import StoreError
from twotower.serving.store.protocol import EventStore, Impression
from twotower.web.metrics import Metrics

log = logging.getLogger(__name__)

EVERY_SECONDS = 0.25
MAX_HELD = 20_000
"""Impressions kept in memory; the oldest are dropped first if the store cannot be written."""
PAGE = 1000
PAGE_ITEMS = 2000
"""Items of the impressions that are checked and stored at once, unless a single one has more."""


class ImpressionLog:
    """Buffers impressions and stores them every `EVERY_SECONDS`."""

    def __init__(self, store: EventStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._held: deque[Impression] = deque()
        self.problem = ""
        """Why impressions are not stored, while they are not."""
        self._task = asyncio.create_task(self._run())

    def add(self, impression: Impression) -> None:
        """Add an impression to the buffer."""
        if len(self._held) >= MAX_HELD:
            self._held.popleft()
            self._metrics.impressions.labels("lost").inc()
        self._held.append(impression)

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
                self.problem = ""
            except StoreError as error:
                self.problem = f"impressions are not stored: {error}"
                log.error("impressions_not_stored", extra={"error": str(error)})
                self._held.extendleft(reversed(page))
                return

    def _next_page(self) -> list[Impression]:
        page: list[Impression] = []
        items = 0
        while self._held and items < PAGE_ITEMS and len(page) < PAGE:
            page.append(self._held.popleft())
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
