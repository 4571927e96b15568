"""What an event store holds, and the protocol that every store implements.

Everything that was acknowledged is on disk. Each table has a sequence that only grows, and rows
become visible in the order of their numbers: a reader that has seen number n has seen every row up
to n. A worker therefore keeps up with all others by reading `counters()` before an answer, and
`..._after(n)` where a counter has grown.

Ids are text or 64-bit integers, and are returned as they were given. An integer and its decimal
text (7 and "7") name the same user or item, as they do in the tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from twotower.serving.store.experiments import ABExperiment

Id = str | int

Outcome = Literal["accepted", "duplicate", "forgotten"]
"""Of an appended event: stored now; a duplicate by its id, of which the first one is kept; or not
stored, because its user was forgotten at its timestamp or later."""
Scope = Literal["read", "write", "admin"]

T = TypeVar("T")


@dataclass(frozen=True)
class StoredEvent:
    """Something a user did with an item.

    Attributes:
        event_id: unique; the same event sent again is not stored again. At most
            `MAX_ID_LENGTH` characters, as for all ids; see `data/values/ids.py`.
        user_id, item_id: the raw ids.
        timestamp: seconds since 1970 UTC.
        event_type: such as "click"; None where the data has no types.
        weight: such as a rating; None where the data has no weights.
        request_id: the answer that led to it (see `Impression`), or None if unknown.
        variant: the user's variant of the running experiment, or None.
        context: values of context features by column: text, numbers, booleans, None, or lists of
            these.
    """

    event_id: str
    user_id: Id
    item_id: Id
    timestamp: int
    event_type: str | None = None
    weight: float | None = None
    request_id: str | None = None
    variant: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Impression:
    """An answer that was served.

    Attributes:
        request_id: unique; of two impressions with the same id the first one is kept.
        user_id: None for an answer without a user.
        item_ids: the recommended items, position 1 first.
        scores: one per item, or empty if they are not stored.
        model_version: the bundle that answered.
        path: the step of the fallback chain that answered.
        timestamp: seconds since 1970 UTC.
        variant: the variant of the running experiment, or None.
    """

    request_id: str
    user_id: Id | None
    item_ids: tuple[Id, ...]
    model_version: str
    path: str
    timestamp: int
    scores: tuple[float, ...] = ()
    variant: str | None = None


@dataclass(frozen=True)
class ItemChange:
    """An item that was added, changed or removed at run time.

    Attributes:
        item_id: the raw id.
        columns: the values of the item's row by column (JSON values); None if it was removed.
        partial: whether the columns replace single values, and those that are not named stay as the
            bundle has them; otherwise they are the whole row.
        hidden: True: not recommended until it is shown again. In a change, False shows it again and
            None leaves it as it is.
    """

    item_id: Id
    columns: Mapping[str, Any] | None
    partial: bool = False
    hidden: bool | None = None

    def after(self, before: ItemChange | None) -> ItemChange | None:
        """The change that is stored of an item for which `before` is stored; None if the item was
        removed, which has no single values to change."""
        if self.columns is None:
            return ItemChange(self.item_id, None)
        if before is None:
            return replace(self, hidden=self.hidden or None)
        if before.columns is None and self.partial:
            return None
        hidden = before.hidden if self.hidden is None else self.hidden or None
        if not self.partial:
            return replace(self, hidden=hidden)
        columns = {**(before.columns or {}), **self.columns}
        return ItemChange(self.item_id, columns, before.partial, hidden)


@dataclass(frozen=True)
class Deployment:
    """The versions that answer, the same for all workers.

    Attributes:
        revision: grows by 1 with each change; 0 before the first one.
        active: the version that answers users outside an experiment.
        previous: the version that was active before, to roll back to.
        experiment: the running A/B experiment, or None.
        changed: when it was stored, seconds since 1970 UTC; the store sets it.
        rollback_to: revision of the deployment that a rollback restores, or None; see
            `serving/live/rollback.py`.
    """

    revision: int = 0
    active: str | None = None
    previous: str | None = None
    experiment: ABExperiment | None = None
    changed: int = field(default=0, compare=False)
    rollback_to: int | None = None

    def activated(self, version: str) -> Deployment:
        """With another active version: the current one becomes `previous`, an experiment ends."""
        if version == self.active:
            return replace(self, experiment=None)
        return replace(
            self,
            active=version,
            previous=self.active,
            experiment=None,
            rollback_to=None if self.active is None else self.revision,
        )


@dataclass(frozen=True)
class ForgottenUser:
    """A user whose data was erased on request, and who is excluded from every later training.

    Attributes:
        user_id: the raw id, which training needs to exclude the user's rows of other files.
        timestamp: seconds since 1970 UTC; events and impressions up to it are not stored again.
    """

    user_id: Id
    timestamp: int


class Removed(NamedTuple):
    """How many rows `forget_user` or `prune` removed."""

    events: int
    impressions: int


@dataclass(frozen=True)
class KeyRecord:
    """A bearer key, without the key.

    Attributes:
        name: unique, such as "shop-frontend".
        digest: SHA-256 of the key in hexadecimal.
        scopes: what it permits.
        created: seconds since 1970 UTC.
        revoked: when it was revoked, seconds since 1970 UTC, or None.
    """

    name: str
    digest: str
    scopes: frozenset[Scope]
    created: int
    revoked: int | None = None


class Counters(NamedTuple):
    """The last number of each table: there is nothing new in a table whose counter is unchanged.

    Attributes:
        events: of `events_after`.
        impressions: of `impressions_after`.
        items: of `item_changes_after`.
        forgotten: of `forgotten_after`. Read first, so that these users leave histories in memory.
        deployment: the revision of `deployment()`.
        keys: grows with every key that is added or revoked.
    """

    events: int = 0
    impressions: int = 0
    items: int = 0
    forgotten: int = 0
    deployment: int = 0
    keys: int = 0


class Numbered(NamedTuple, Generic[T]):
    """A row with its number in its table's sequence."""

    sequence: int
    value: T


class EventStore(Protocol):
    """A durable store that several threads and processes use at once.

    Every method may raise StoreError: the store cannot be reached, read or written, or is closed.
    A write that was not acknowledged may then be stored or not; it is safe to send it again.
    """

    def append(self, events: Sequence[StoredEvent]) -> list[Outcome]:
        """Store events, all or none; once it returns they survive `kill -9` and a power failure.

        Small calls of many threads share one flush to the disk.

        Returns:
            the outcome of each event, in their order. Of two events with one id in a call the
            second is a duplicate.

        Raises:
            DataError: an event cannot be stored; `row` counts from 1. Nothing was stored.
        """
        ...

    def submit(
        self, events: Sequence[StoredEvent], *, checked: bool = False
    ) -> Future[list[Outcome]]:
        """`append` without waiting, for `asyncio.wrap_future`: the future is done once the events
        are durable.

        Args:
            events: all or none are stored.
            checked: whether `check_events` has seen them, so that it need not here.

        Raises:
            DataError: as `append`, before it returns a future.
        """
        ...

    def counters(self) -> Counters:
        """The last number of each table in one small query."""
        ...

    def events_after(
        self, sequence: int, limit: int = 1000, *, with_context: bool = True
    ) -> list[Numbered[StoredEvent]]:
        """At most `limit` events with greater numbers, ascending. Numbers of removed events stay
        unused. Contexts may be long: without them, all are empty."""
        ...

    def users_after(self, sequence: int, limit: int = 1000) -> list[tuple[int, str]]:
        """The numbers of the events that `events_after` gives, each with its user's id as text."""
        ...

    def events_of(
        self, user_id: Id, limit: int = 1000, *, with_context: bool = True
    ) -> list[StoredEvent]:
        """The newest `limit` events of a user by timestamp, oldest first; contexts as in
        `events_after`."""
        ...

    def log_impressions(self, impressions: Sequence[Impression]) -> None:
        """Store impressions; durable once it returns.

        Raises:
            DataError: an impression cannot be stored. Nothing was stored.
        """
        ...

    def submit_impressions(self, impressions: Sequence[Impression]) -> Future[None]:
        """`log_impressions` without waiting."""
        ...

    def impressions_after(self, sequence: int, limit: int = 1000) -> list[Numbered[Impression]]:
        """At most `limit` impressions with greater numbers, ascending."""
        ...

    def find_impression(self, request_id: str) -> Impression | None:
        """The impression of a request, or None."""
        ...

    def change_items(self, changes: Sequence[ItemChange]) -> int:
        """Put, change and remove items, all or none; durable once it returns. What is stored of an
        item afterwards says `ItemChange.after`.

        Returns:
            `Counters.items` afterwards.

        Raises:
            DataError: a change cannot be stored. Nothing was stored.
        """
        ...

    def item_changes_after(self, sequence: int, limit: int = 1000) -> list[Numbered[ItemChange]]:
        """At most `limit` changes with greater numbers, ascending; only the state of each item
        after its last one."""
        ...

    def deployment(self) -> Deployment:
        """The current deployment."""
        ...

    def deployments(self) -> list[Deployment]:
        """All deployments since revision 0, oldest first."""
        ...

    def change_deployment(self, wanted: Deployment) -> Deployment:
        """Compare and set: `wanted.revision` is the revision that it was made from.

        Returns:
            the stored deployment, with the next revision.

        Raises:
            ConflictError: another revision is stored by now; nothing was changed.
        """
        ...

    def forget_user(self, user_id: Id) -> Removed:
        """Erase all events and impressions of a user.

        The id, known or not, is put on the list of `forgotten_after`, and the user is excluded from
        later training. Events with a later timestamp are stored and used for answers, but not
        exported for training.
        """
        ...

    def forgotten_after(self, sequence: int, limit: int = 1000) -> list[Numbered[ForgottenUser]]:
        """At most `limit` forgotten users with greater numbers, ascending; each with the last time
        only."""
        ...

    def prune(self, before: int) -> Removed:
        """Remove the events and impressions with a timestamp below `before` (seconds since 1970
        UTC), in short transactions, while others write.

        Forgotten users, items, deployments and keys stay. A removed event that is posted again is
        stored again: its id is not known any more.
        """
        ...

    def add_key(self, key: KeyRecord) -> None:
        """Store a new key.

        Raises:
            ConflictError: a key has this name, revoked or not.
        """
        ...

    def find_key(self, digest: str) -> KeyRecord | None:
        """The key with a digest, revoked or not, or None."""
        ...

    def keys(self) -> list[KeyRecord]:
        """All keys, by name."""
        ...

    def revoke_key(self, name: str) -> bool:
        """Revoke a key; it cannot be undone. False if no key has this name."""
        ...

    def close(self) -> None:
        """Commit what was submitted, then disconnect. A second call does nothing."""
        ...
