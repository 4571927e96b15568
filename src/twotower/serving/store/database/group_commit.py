"""Group commit: one thread writes for all others. Writes that arrive while the disk is busy share
the next transaction, so that many small writes share one flush to the disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from twotower.errors import StoreError, explain
from twotower.serving.store.protocol import Impression, StoredEvent

MAX_ROWS = 10_000
"""Rows of a transaction, unless a single write has more."""


@dataclass(frozen=True)
class PendingWrite:
    """Rows that are stored together, all or none.

    Attributes:
        events, impressions: the rows.
        future: done when the rows are durable, or could not be stored.
    """

    events: Sequence[StoredEvent] = ()
    impressions: Sequence[Impression] = ()
    future: Future[Any] = field(default_factory=Future)

    @property
    def num_rows(self) -> int:
        """Events and impressions together."""
        return len(self.events) + len(self.impressions)


class GroupCommit:
    """Collects writes and commits them in groups, in the order of their arrival."""

    def __init__(
        self, commit: Callable[[Sequence[PendingWrite]], Sequence[Any]], name: str
    ) -> None:
        """Start no thread before the first write.

        Args:
            commit: stores the rows of a group in one transaction, and returns the result of each
                write once they are durable.
            name: the store in error messages.
        """
        self._commit = commit
        self._name = name
        self._waiting: deque[PendingWrite] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, write: PendingWrite) -> None:
        """Queue a write.

        Raises:
            StoreError: after `close`.
        """
        with self._changed:
            if self._closed:
                raise StoreError(explain("the event store is closed", file=self._name))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="twotower-events", daemon=True
                )
                self._thread.start()
            self._waiting.append(write)
            self._changed.notify()

    def close(self) -> None:
        """Commit what was submitted, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while group := self._next_group():
            self._complete(group)

    def _next_group(self) -> list[PendingWrite]:
        """Wait for writes and take up to MAX_ROWS rows of them; none: closed, and all is done."""
        with self._changed:
            while True:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                group = self._take()
                if group or self._closed:
                    return group

    def _take(self) -> list[PendingWrite]:
        group: list[PendingWrite] = []
        num_rows = 0
        while self._waiting and (not group or num_rows + self._waiting[0].num_rows <= MAX_ROWS):
            write = self._waiting.popleft()
            # False where the caller has cancelled; after this it no longer can.
            if write.future.set_running_or_notify_cancel():
                group.append(write)
                num_rows += write.num_rows
        return group

    def _complete(self, group: Sequence[PendingWrite]) -> None:
        """Commit a group. If that fails, each write is committed alone, so that the rows of one
        do not fail the others. A database that cannot be used fails the whole group at once."""
        try:
            results = self._commit(group)
        except StoreError as error:
            for write in group:
                write.future.set_exception(error)
        except Exception as error:
            if len(group) == 1:
                group[0].future.set_exception(error)
            else:
                for write in group:
                    self._complete([write])
        else:
            for write, result in zip(group, results, strict=True):
                write.future.set_result(result)
