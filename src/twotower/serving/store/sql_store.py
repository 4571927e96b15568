"""The event store in an SQL database; `sqlite` and `postgres` create its engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from twotower.data.readers.deadlines import Deadlines
from twotower.errors import DataError, StoreError, explain
from twotower.serving.store import log, state
from twotower.serving.store.database.availability import Availability
from twotower.serving.store.database.counters import CountersReader
from twotower.serving.store.database.group_commit import GroupCommit, PendingWrite
from twotower.serving.store.protocol import (
    Counters,
    Deployment,
    ForgottenUser,
    Id,
    Impression,
    ItemChange,
    KeyRecord,
    Numbered,
    Outcome,
    Removed,
    StoredEvent,
)
from twotower.serving.store.pruning import remove_older
from twotower.serving.store.rows import (
    EVENTS,
    FORGOTTEN_USERS,
    IMPRESSIONS,
    ITEM_CHANGES,
    KEYS,
    Records,
)
from twotower.serving.store.schema import EVENT, IMPRESSION, KEY, migrate
from twotower.serving.store.validation import (
    check_changes,
    check_events,
    check_id,
    check_impressions,
    check_text,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
R = TypeVar("R", bound="DataclassInstance")


class SqlEventStore:
    """An `EventStore`. Any number of threads may share one; each process opens its own, also
    after a fork."""

    def __init__(
        self,
        engine: sa.Engine,
        name: str,
        redact: Callable[[object], str] = str,
        *,
        deadlines: Deadlines | None = None,
    ) -> None:
        """Migrate the store to the newest version.

        Args:
            engine: its transactions exclude other writers of a table's counter, and are durable
                once committed.
            name: the store in error messages, without a password.
            redact: a message of the database without the password.
            deadlines: of each call; without them calls wait as long as the database takes, and each
                tries it anew.

        Raises:
            StoreError: it cannot be reached, or was created by a newer version of twotower.
        """
        self.name = name
        self._engine = engine
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._deadlines = deadlines
        self._counters = CountersReader(self._reading, self._limit)
        self._availability = Availability(self._probe)
        self._redact = redact
        self._closed = threading.Event()
        self._group = GroupCommit(
            lambda writes: self._write(lambda connection: log.store_writes(connection, writes)),
            name,
        )
        try:
            self._write(lambda connection: migrate(connection, name))
        except StoreError:
            self.close()
            raise

    # --- events and impressions -----------------------------------------------------------------

    def append(self, events: Sequence[StoredEvent]) -> list[Outcome]:
        return self.submit(events).result()

    def submit(
        self, events: Sequence[StoredEvent], *, checked: bool = False
    ) -> Future[list[Outcome]]:
        if not checked:
            check_events(events)
        return self._submit(PendingWrite(events=tuple(events)), [])

    def log_impressions(self, impressions: Sequence[Impression]) -> None:
        self.submit_impressions(impressions).result()

    def submit_impressions(self, impressions: Sequence[Impression]) -> Future[None]:
        check_impressions(impressions)
        return self._submit(PendingWrite(impressions=tuple(impressions)), None)

    def counters(self) -> Counters:
        return self._run(nullcontext, lambda _: self._counters.read())

    def events_after(
        self, sequence: int, limit: int = 1000, *, with_context: bool = True
    ) -> list[Numbered[StoredEvent]]:
        return self._after(EVENTS, sequence, limit, _event_columns(with_context))

    def users_after(self, sequence: int, limit: int = 1000) -> list[tuple[int, str]]:
        query = (
            sa.select(EVENT.c.sequence, EVENT.c.user_id)
            .where(EVENT.c.sequence > sequence)
            .order_by(EVENT.c.sequence)
            .limit(limit)
        )
        return self._read(lambda connection: [(n, user) for n, user in connection.execute(query)])

    def events_of(
        self, user_id: Id, limit: int = 1000, *, with_context: bool = True
    ) -> list[StoredEvent]:
        query = (
            sa.select(*_event_columns(with_context))
            .where(EVENT.c.user_id == str(user_id))
            .order_by(EVENT.c.timestamp.desc(), EVENT.c.sequence.desc())
            .limit(limit)
        )
        rows = self._read(lambda connection: connection.execute(query).all())
        return EVENTS.from_rows(reversed(rows))

    def impressions_after(self, sequence: int, limit: int = 1000) -> list[Numbered[Impression]]:
        return self._after(IMPRESSIONS, sequence, limit)

    def find_impression(self, request_id: str) -> Impression | None:
        return self._find(IMPRESSIONS, IMPRESSION.c.request_id == request_id)

    def forget_user(self, user_id: Id) -> Removed:
        check_id(user_id, "user_id")
        return self._write(lambda connection: log.forget(connection, user_id))

    def forgotten_after(self, sequence: int, limit: int = 1000) -> list[Numbered[ForgottenUser]]:
        return self._after(FORGOTTEN_USERS, sequence, limit)

    def prune(self, before: int) -> Removed:
        return Removed(
            remove_older(self._read, self._write, "events", before),
            remove_older(self._read, self._write, "impressions", before),
        )

    # --- items, deployment, keys ----------------------------------------------------------------

    def change_items(self, changes: Sequence[ItemChange]) -> int:
        check_changes(changes)
        return self._write(lambda connection: state.store_item_changes(connection, changes))

    def item_changes_after(self, sequence: int, limit: int = 1000) -> list[Numbered[ItemChange]]:
        return self._after(ITEM_CHANGES, sequence, limit)

    def deployment(self) -> Deployment:
        return self._read(state.read_deployment)

    def deployments(self) -> list[Deployment]:
        return self._read(state.read_deployments)

    def change_deployment(self, wanted: Deployment) -> Deployment:
        return self._write(lambda connection: state.store_deployment(connection, wanted))

    def add_key(self, key: KeyRecord) -> None:
        check_text(key.name, "name")
        self._write(lambda connection: state.store_key(connection, key))

    def find_key(self, digest: str) -> KeyRecord | None:
        return self._find(KEYS, KEY.c.digest == digest)

    def keys(self) -> list[KeyRecord]:
        query = sa.select(KEY).order_by(KEY.c.name)
        return self._read(lambda connection: KEYS.from_rows(connection.execute(query)))

    def revoke_key(self, name: str) -> bool:
        return self._write(lambda connection: state.store_revocation(connection, name))

    def close(self) -> None:
        self._group.close()
        self._closed.set()
        self._availability.close()
        self._counters.close()
        self._engine.dispose()

    # --- transactions -----------------------------------------------------------------------------

    def _submit(self, write: PendingWrite, empty: list[Outcome] | None) -> Future[Any]:
        """Queue a write; one without rows is done at once, with the result `empty`."""
        if write.num_rows:
            self._group.submit(write)
        else:
            write.future.set_result(empty)
        return write.future

    def _after(
        self,
        records: Records[R],
        sequence: int,
        limit: int,
        columns: Sequence[sa.ColumnElement[Any]] | None = None,
    ) -> list[Numbered[R]]:
        table = records.table
        query = (
            sa.select(*(columns or table.c))
            .where(table.c.sequence > sequence)
            .order_by(table.c.sequence)
            .limit(limit)
        )
        rows = self._read(lambda connection: connection.execute(query).all())
        return [Numbered(row.sequence, records.from_row(row)) for row in rows]

    def _find(self, records: Records[R], condition: sa.ColumnElement[bool]) -> R | None:
        """The record of the one row that meets a condition, or None."""
        query = sa.select(records.table).where(condition)
        row = self._read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else records.from_row(row)

    def _read(self, work: Callable[[sa.Connection], T]) -> T:
        return self._run(self._reading.connect, work)

    def _write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run some work in a transaction; durable when this returns."""
        return self._run(self._engine.begin, work)

    def _run(self, open_connection: Callable[[], Any], work: Callable[[sa.Connection], T]) -> T:
        """Run some work. It is run again, once, where the connection was lost since its last use:
        everything that is written here is safe to write again.

        Raises:
            DataError: the database refuses a row, which holds up no other.
            StoreError: the database cannot be used.
        """
        if self._closed.is_set():
            raise StoreError(explain("the event store is closed", file=self.name))
        self._availability.check()
        start = time.monotonic()
        for is_last in (False, True):
            try:
                with open_connection() as connection, self._limit(connection):
                    return work(connection)
            except (sa.exc.IntegrityError, sa.exc.DataError) as error:
                # The database is there: it refuses what is written, and would again.
                reason = self._redact(error.orig or error)
                problem = f"the event store refuses a row: {reason}"
                raise DataError(explain(problem, file=self.name)) from None
            except sa.exc.DBAPIError as error:
                lost = error.connection_invalidated or isinstance(error, sa.exc.OperationalError)
                if is_last or not error.connection_invalidated or self._is_late(start):
                    raise self._store_error(error, lost=lost) from None
            except sa.exc.SQLAlchemyError as error:
                lost = isinstance(error, sa.exc.TimeoutError)
                raise self._store_error(error, lost=lost) from None
        raise AssertionError("the last attempt returns or raises")

    def _limit(self, connection: sa.Connection | None) -> AbstractContextManager[None]:
        """The deadline of what is done with a connection."""
        if self._deadlines is None or connection is None:
            return nullcontext()
        return self._deadlines.limit(connection)

    def _is_late(self, start: float) -> bool:
        return self._deadlines is not None and time.monotonic() - start > self._deadlines.seconds

    def _probe(self) -> None:
        with self._reading.connect() as connection, self._limit(connection):
            connection.exec_driver_sql("SELECT 1")

    def _store_error(self, error: sa.exc.SQLAlchemyError, *, lost: bool) -> StoreError:
        reason = self._redact(getattr(error, "orig", None) or error)
        found = StoreError(explain(f"the event store cannot be used: {reason}", file=self.name))
        if lost and self._deadlines is not None:
            self._availability.lost(found)
        return found


def _event_columns(with_context: bool) -> list[sa.ColumnElement[Any]]:
    """The columns of an event; without contexts, which may be long, each is empty."""
    empty = sa.literal({}, EVENT.c.context.type).label("context")
    return [empty if c is EVENT.c.context and not with_context else c for c in EVENT.c]
