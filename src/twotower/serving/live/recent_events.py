"""What users did since the bundle was made: in memory for those who were asked for lately, over the
store for all others."""

from __future__ import annotations

import sys
from bisect import insort

from cachetools import LRUCache, cached

from twotower.serving.store.protocol import Counters, EventStore, Id, StoredEvent

MAX_HELD_BYTES = 150 << 20
"""Of events in memory, of the users who were asked for lately. With short ids an event takes some
600 bytes, with ids of 500 characters up to 5,000."""
EVENT_BYTES = 500
"""Of an event or a user, besides the characters of ids and names."""
MAX_EVENTS = 1000
"""The newest events of a user that are looked at."""
PAGE = 1000
MANY = 50
"""More new events than this are not looked at one by one: their users are read again when they are
asked for. So a client that sends a thousand events holds up no answer."""


class UserEvents:
    """The newest events of one user, oldest first."""

    __slots__ = ("events", "ids", "nbytes")

    def __init__(self, events: list[StoredEvent]) -> None:
        self.events = events
        self.ids = {event.event_id for event in events}
        self.nbytes = EVENT_BYTES + sum(map(event_bytes, events))

    def size(self) -> int:
        """Bytes that they take."""
        return self.nbytes

    def add(self, event: StoredEvent) -> None:
        """Put an event in its place in time, once."""
        if event.event_id in self.ids:
            return
        self.ids.add(event.event_id)
        insort(self.events, event, key=lambda other: other.timestamp)
        self.nbytes += event_bytes(event)
        if len(self.events) > MAX_EVENTS:
            oldest = self.events.pop(0)
            self.ids.discard(oldest.event_id)
            self.nbytes -= event_bytes(oldest)


def event_bytes(event: StoredEvent) -> int:
    """Bytes that an event without context takes, at most."""
    names = f"{event.event_id}{event.user_id}{event.item_id}{event.event_type}{event.request_id}"
    return EVENT_BYTES + sys.getsizeof(f"{names}{event.variant}")


def forgotten_users(store: EventStore) -> frozenset[str]:
    """Ids of the users who were forgotten, as text."""
    return RecentEvents(store).forgotten


class RecentEvents:
    """Follows the store: each event that any process has stored is seen by the next answer.

    Not safe for several threads: one thread answers.

    Attributes:
        users: the events of a user; those that were asked for lately are in memory.
        from_memory: whether the store is not to be asked: users who are not in memory have no
            events then.
    """

    def __init__(self, store: EventStore, *, max_bytes: int = MAX_HELD_BYTES) -> None:
        self._store = store
        self.from_memory = False
        self._held: LRUCache[str, UserEvents] = LRUCache(max_bytes, UserEvents.size)

        @cached(self._held, key=str, info=True)
        def users(user_id: Id) -> UserEvents:
            return UserEvents(store.events_of(user_id, MAX_EVENTS, with_context=False))

        self.users = users
        self._forgotten: set[str] = set()
        self._head = Counters(events=store.counters().events)
        self._follow_forgotten(store.counters().forgotten)

    def follow(self, head: Counters) -> None:
        """Read what was stored up to `head`."""
        if head.forgotten > self._head.forgotten:
            self._follow_forgotten(head.forgotten)
        while (new := head.events - self._head.events) > 0:
            numbers = self._let_go() if new > MANY else self._add()
            # Numbers of removed events stay unused: there may be nothing up to the head.
            last = numbers[-1] if numbers else head.events
            last = last if len(numbers) == PAGE else max(last, head.events)
            self._head = self._head._replace(events=last)

    def _add(self) -> list[int]:
        """Add the next events to those of users in memory. Returns their numbers."""
        page = self._store.events_after(self._head.events, PAGE, with_context=False)
        for _, event in page:
            key = str(event.user_id)
            held = self._held.pop(key, None)
            if held is not None:
                held.add(event)
                # Put there again, so that its size is counted anew.
                self._held[key] = held
        return [number for number, _ in page]

    def _let_go(self) -> list[int]:
        """Keep the users of the next events in memory no longer. Returns the events' numbers."""
        page = self._store.users_after(self._head.events, PAGE)
        for _, user in page:
            self._held.pop(user, None)
        return [number for number, _ in page]

    def _follow_forgotten(self, until: int) -> None:
        while page := self._store.forgotten_after(self._head.forgotten, PAGE):
            for sequence, user in page:
                self._forgotten.add(str(user.user_id))
                self._held.pop(str(user.user_id), None)
                self._head = self._head._replace(forgotten=sequence)
        self._head = self._head._replace(forgotten=max(until, self._head.forgotten))

    def is_forgotten(self, user_id: Id) -> bool:
        """Whether what the bundle knows of a user must not be looked at any more."""
        return bool(self._forgotten) and str(user_id) in self._forgotten

    @property
    def forgotten(self) -> frozenset[str]:
        """Ids of the users who were forgotten, as text."""
        return frozenset(self._forgotten)

    def of(self, user_id: Id) -> list[StoredEvent]:
        """The newest events of a user, oldest first.

        Raises:
            StoreError: the store cannot be read.
        """
        if not self._head.events or (self.from_memory and str(user_id) not in self._held):
            return []
        return self.users(user_id).events
