"""One thread that writes for all others: what arrives while the disk is busy shares the next
transaction, so that many small calls cost one flush to the disk together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from twotower.errors import StoreError, explain
from twotower.serving.store.protocol import Impression, StoredEvent

MOST_ROWS = 10_000
"""Rows of a transaction, unless a single call has more."""


@dataclass(frozen=True)
class Call:
    """Rows that one caller wants stored together, and what it waits on."""

    events: Sequence[StoredEvent] = ()
    impressions: Sequence[Impression] = ()
    done: Future[Any] = field(default_factory=Future)

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.events) + len(self.impressions)


class GroupCommit:
    """Gathers calls and writes them in groups, in the order in which they came."""

    def __init__(self, write: Callable[[Sequence[Call]], Sequence[Any]], shown: str) -> None:
        """Nothing runs before the first call.

        Args:
            write: stores the rows of some calls in one transaction, and returns the result of each
                when they are durable.
            shown: the store, for errors.
        """
        self._write = write
        self._shown = shown
        self._calls: deque[Call] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, call: Call) -> None:
        """Take a call; its future is done when its rows are durable, or could not be stored.

        Raises:
            StoreError: after `close`.
        """
        with self._wake:
            if self._closed:
                raise StoreError(explain("the event store is closed", file=self._shown))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="twotower-events", daemon=True
                )
                self._thread.start()
            self._calls.append(call)
            self._wake.notify()

    def close(self) -> None:
        """Write what was taken, then stop."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while group := self._next_group():
            self._settle(group)

    def _next_group(self) -> list[Call]:
        """The calls that wait, in full or up to MOST_ROWS; none when all is done and closed."""
        with self._wake:
            while True:
                while not self._calls and not self._closed:
                    self._wake.wait()
                group = self._take()
                if group or self._closed:
                    return group

    def _take(self) -> list[Call]:
        group: list[Call] = []
        rows = 0
        while self._calls and (not group or rows + self._calls[0].rows <= MOST_ROWS):
            call = self._calls.popleft()
            # A caller that gave up before its turn; from here on it can no longer.
            if call.done.set_running_or_notify_cancel():
                group.append(call)
                rows += call.rows
        return group

    def _settle(self, group: Sequence[Call]) -> None:
        """Write a group; where it cannot be written, each call alone, so that one call's rows are
        not in the way of the others'. A database that cannot be reached fails them all at once."""
        try:
            results = self._write(group)
        except StoreError as error:
            for call in group:
                call.done.set_exception(error)
        except Exception as error:
            if len(group) == 1:
                group[0].done.set_exception(error)
            else:
                for call in group:
                    self._settle([call])
        else:
            for call, result in zip(group, results, strict=True):
                call.done.set_result(result)
