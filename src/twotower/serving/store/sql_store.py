"""The event store in an SQL database; `sqlite` and `postgres` make its engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from typing import Any, TypeVar

import sqlalchemy as sa

from twotower.errors import StoreError, explain
from twotower.serving.store import log, rows, state
from twotower.serving.store.counters import CountersReader
from twotower.serving.store.group_commit import Call, GroupCommit
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
from twotower.serving.store.schema import EVENT, FORGOTTEN, IMPRESSION, ITEM, KEY, migrate
from twotower.serving.store.validation import (
    check_changes,
    check_events,
    check_id,
    check_impressions,
    check_text,
)

T = TypeVar("T")


class SqlEventStore:
    """An `EventStore`. Any number of threads may use one; each process opens its own (after a
    fork, too)."""

    def __init__(self, engine: sa.Engine, shown: str, hide: Callable[[object], str] = str) -> None:
        """Bring the store to the newest version.

        Args:
            engine: its transactions are exclusive among writers of a table's counter, and durable
                when committed.
            shown: the store as messages name it, without a password.
            hide: a message of the database's, without the password.

        Raises:
            StoreError: it cannot be reached, or was written by a newer twotower.
        """
        self.shown = shown
        self._engine = engine
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._counters = CountersReader(self._reading)
        self._hide = hide
        self._closed = threading.Event()
        self._group = GroupCommit(
            lambda calls: self._write(lambda connection: log.write_calls(connection, calls)),
            shown,
        )
        try:
            self._write(lambda connection: migrate(connection, shown))
        except StoreError:
            self.close()
            raise

    # --- events and impressions -----------------------------------------------------------------

    def append(self, events: Sequence[StoredEvent]) -> list[Outcome]:
        return self.submit(events).result()

    def submit(self, events: Sequence[StoredEvent]) -> Future[list[Outcome]]:
        check_events(events)
        return self._submit(Call(events=tuple(events)), [])

    def log_impressions(self, impressions: Sequence[Impression]) -> None:
        self.submit_impressions(impressions).result()

    def submit_impressions(self, impressions: Sequence[Impression]) -> Future[None]:
        check_impressions(impressions)
        return self._submit(Call(impressions=tuple(impressions)), None)

    def counters(self) -> Counters:
        return self._run(nullcontext, lambda _: self._counters.read())

    def events_after(self, sequence: int, limit: int = 1000) -> list[Numbered[StoredEvent]]:
        return self._after(EVENT, rows.to_event, sequence, limit)

    def events_of(self, user_id: Id, limit: int = 1000) -> list[StoredEvent]:
        wanted = (
            sa.select(EVENT)
            .where(EVENT.c.user_id == str(user_id))
            .order_by(EVENT.c.timestamp.desc(), EVENT.c.sequence.desc())
            .limit(limit)
        )
        found = self._read(lambda connection: connection.execute(wanted).all())
        return [rows.to_event(row) for row in reversed(found)]

    def impressions_after(self, sequence: int, limit: int = 1000) -> list[Numbered[Impression]]:
        return self._after(IMPRESSION, rows.to_impression, sequence, limit)

    def find_impression(self, request_id: str) -> Impression | None:
        wanted = sa.select(IMPRESSION).where(IMPRESSION.c.request_id == request_id)
        row = self._read(lambda connection: connection.execute(wanted).one_or_none())
        return None if row is None else rows.to_impression(row)

    def forget_user(self, user_id: Id) -> Removed:
        check_id(user_id, "user_id")
        return self._write(lambda connection: log.forget(connection, user_id))

    def forgotten_after(self, sequence: int, limit: int = 1000) -> list[Numbered[ForgottenUser]]:
        return self._after(FORGOTTEN, rows.to_forgotten, sequence, limit)

    # --- items, deployment, keys ----------------------------------------------------------------

    def change_items(self, changes: Sequence[ItemChange]) -> int:
        check_changes(changes)
        return self._write(lambda connection: state.write_changes(connection, changes))

    def item_changes_after(self, sequence: int, limit: int = 1000) -> list[Numbered[ItemChange]]:
        return self._after(ITEM, rows.to_change, sequence, limit)

    def deployment(self) -> Deployment:
        return self._read(state.read_deployment)

    def deployments(self) -> list[Deployment]:
        return self._read(state.read_deployments)

    def change_deployment(self, wanted: Deployment) -> Deployment:
        return self._write(lambda connection: state.write_deployment(connection, wanted))

    def add_key(self, key: KeyRecord) -> None:
        check_text(key.name, "name")
        self._write(lambda connection: state.write_key(connection, key))

    def find_key(self, digest: str) -> KeyRecord | None:
        wanted = sa.select(KEY).where(KEY.c.digest == digest)
        row = self._read(lambda connection: connection.execute(wanted).one_or_none())
        return None if row is None else rows.to_key(row)

    def keys(self) -> list[KeyRecord]:
        wanted = sa.select(KEY).order_by(KEY.c.name)
        return self._read(lambda connection: list(map(rows.to_key, connection.execute(wanted))))

    def revoke_key(self, name: str) -> bool:
        return self._write(lambda connection: state.write_revocation(connection, name))

    def close(self) -> None:
        self._group.close()
        self._closed.set()
        self._counters.close()
        self._engine.dispose()

    # --- transactions -----------------------------------------------------------------------------

    def _submit(self, call: Call, nothing: list[Outcome] | None) -> Future[Any]:
        """Hand over a call; one without rows is done with the result `nothing`."""
        if call.rows:
            self._group.submit(call)
        else:
            call.done.set_result(nothing)
        return call.done

    def _after(
        self, table: sa.Table, make: Callable[[rows.Row], T], sequence: int, limit: int
    ) -> list[Numbered[T]]:
        wanted = (
            sa.select(table)
            .where(table.c.sequence > sequence)
            .order_by(table.c.sequence)
            .limit(limit)
        )
        found = self._read(lambda connection: connection.execute(wanted).all())
        return [Numbered(row.sequence, make(row)) for row in found]

    def _read(self, work: Callable[[sa.Connection], T]) -> T:
        return self._run(self._reading.connect, work)

    def _write(self, work: Callable[[sa.Connection], T]) -> T:
        """A transaction; durable when this returns."""
        return self._run(self._engine.begin, work)

    def _run(self, open_connection: Callable[[], Any], work: Callable[[sa.Connection], T]) -> T:
        """Run some work. A connection that was lost since its last use is replaced, once: whatever
        is written here may safely be written again."""
        if self._closed.is_set():
            raise StoreError(explain("the event store is closed", file=self.shown))
        for last_try in (False, True):
            try:
                with open_connection() as connection:
                    return work(connection)
            except sa.exc.DBAPIError as error:
                if last_try or not error.connection_invalidated:
                    raise self._explained(error) from None
            except sa.exc.SQLAlchemyError as error:
                raise self._explained(error) from None
        raise AssertionError("the last try returns or raises")

    def _explained(self, error: sa.exc.SQLAlchemyError) -> StoreError:
        reason = self._hide(getattr(error, "orig", None) or error)
        return StoreError(explain(f"the event store cannot be used: {reason}", file=self.shown))
