"""Statements on events, impressions and forgotten users, each within the caller's transaction.

A sequence number is drawn under the lock of a row of `twotower_counters`, which is held until the
commit. So rows become visible in the order of their numbers, and a reader that reads past the last
number it has seen misses none. A database's own sequence does not guarantee that: a transaction
that drew 7 may commit after one that drew 8.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from twotower.serving.store.database.group_commit import PendingWrite
from twotower.serving.store.protocol import (
    Counters,
    ForgottenUser,
    Id,
    Impression,
    Outcome,
    Removed,
    StoredEvent,
)
from twotower.serving.store.rows import EVENTS, FORGOTTEN_USERS, IMPRESSIONS
from twotower.serving.store.schema import COUNTER, EVENT, FORGOTTEN, IMPRESSION

IDS_PER_QUERY = 500
"""Ids in one IN (...)."""


def lock(connection: sa.Connection, *names: str) -> dict[str, int]:
    """Read some counters and lock them until the transaction ends.

    All writers lock in the same order, so that no two of them wait for each other.
    """
    values = {}
    for name in sorted(names, key=Counters._fields.index):
        query = sa.select(COUNTER.c.value).where(COUNTER.c.name == name).with_for_update()
        values[name] = int(connection.execute(query).scalar_one())
    return values


def set_counter(connection: sa.Connection, name: str, value: int) -> None:
    """Set a counter that is locked."""
    connection.execute(sa.update(COUNTER).where(COUNTER.c.name == name).values(value=value))


def store_writes(
    connection: sa.Connection, writes: Sequence[PendingWrite]
) -> list[list[Outcome] | None]:
    """Store the rows of a group of writes.

    Returns:
        for each write the outcomes of its events, or None where it has impressions.
    """
    events = [event for write in writes for event in write.events]
    impressions = [impression for write in writes for impression in write.impressions]
    names = [name for name, rows in (("events", events), ("impressions", impressions)) if rows]
    counters = lock(connection, *names)
    outcomes: list[Outcome] = []
    if events:
        outcomes = store_events(connection, events, counters["events"])
    if impressions:
        store_impressions(connection, impressions, counters["impressions"])
    results: list[list[Outcome] | None] = []
    start = 0
    for write in writes:
        end = start + len(write.events)
        results.append(outcomes[start:end] if not write.impressions else None)
        start = end
    return results


def store_events(
    connection: sa.Connection, events: Sequence[StoredEvent], last: int
) -> list[Outcome]:
    """Store the events that are new, numbered from `last` + 1; their counter is locked."""
    known = existing(connection, EVENT.c.event_id, (event.event_id for event in events))
    forgotten = forgotten_times(connection, (event.user_id for event in events))
    outcomes: list[Outcome] = []
    rows: list[dict[str, Any]] = []
    for event in events:
        if event.event_id in known:
            outcomes.append("duplicate")
        elif event.timestamp <= forgotten.get(str(event.user_id), -float("inf")):
            outcomes.append("forgotten")
        else:
            outcomes.append("accepted")
            known.add(event.event_id)
            rows.append(EVENTS.to_row(event, sequence=last + len(rows) + 1))
    insert(connection, EVENT, rows, "events")
    return outcomes


def store_impressions(
    connection: sa.Connection, impressions: Sequence[Impression], last: int
) -> None:
    """Store the impressions that are new, numbered from `last` + 1; their counter is locked."""
    request_ids = (impression.request_id for impression in impressions)
    known = existing(connection, IMPRESSION.c.request_id, request_ids)
    users = [one.user_id for one in impressions if one.user_id is not None]
    forgotten = forgotten_times(connection, users)
    rows: list[dict[str, Any]] = []
    for impression in impressions:
        user_id = impression.user_id
        forgotten_at = None if user_id is None else forgotten.get(str(user_id))
        is_forgotten = forgotten_at is not None and impression.timestamp <= forgotten_at
        if impression.request_id not in known and not is_forgotten:
            known.add(impression.request_id)
            rows.append(IMPRESSIONS.to_row(impression, sequence=last + len(rows) + 1))
    insert(connection, IMPRESSION, rows, "impressions")


def insert(
    connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]], counter: str
) -> None:
    """Insert numbered rows and set their counter to the last number."""
    if rows:
        connection.execute(sa.insert(table), rows)
        set_counter(connection, counter, rows[-1]["sequence"])


def existing(connection: sa.Connection, column: sa.Column[Any], values: Iterable[str]) -> set[str]:
    """Those of some values that a column has."""
    return {row[0] for row in rows_with(connection, sa.select(column), column, values)}


def forgotten_times(connection: sa.Connection, user_ids: Iterable[Id]) -> dict[str, int]:
    """Id as text -> when that user was forgotten, for those of some users who were."""
    query = sa.select(FORGOTTEN.c.user_id, FORGOTTEN.c.timestamp)
    texts = (str(user_id) for user_id in user_ids)
    return {row[0]: row[1] for row in rows_with(connection, query, FORGOTTEN.c.user_id, texts)}


def rows_with(
    connection: sa.Connection,
    query: sa.Select[Any],
    column: sa.Column[Any],
    values: Iterable[str],
) -> Iterator[Any]:
    """The rows of a query whose column has one of some values, `IDS_PER_QUERY` values at a time."""
    distinct = list(dict.fromkeys(values))
    for start in range(0, len(distinct), IDS_PER_QUERY):
        part = distinct[start : start + IDS_PER_QUERY]
        yield from connection.execute(query.where(column.in_(part)))


def forget(connection: sa.Connection, user_id: Id, now: Callable[[], float] = time.time) -> Removed:
    """Remove what is stored of a user, and put the id on the list of forgotten users.

    The counters of events and impressions are locked first: otherwise a row of this user, checked
    against the list before, could be committed by another transaction afterwards.
    """
    counters = lock(connection, "events", "impressions", "forgotten")
    text = str(user_id)
    removed = Removed(
        connection.execute(sa.delete(EVENT).where(EVENT.c.user_id == text)).rowcount,
        connection.execute(sa.delete(IMPRESSION).where(IMPRESSION.c.user_id == text)).rowcount,
    )
    # A clock that was set back takes nothing back.
    moment = max(int(now()), *forgotten_times(connection, [user_id]).values(), 0)
    connection.execute(sa.delete(FORGOTTEN).where(FORGOTTEN.c.user_id == text))
    user = ForgottenUser(user_id, moment)
    row = FORGOTTEN_USERS.to_row(user, sequence=counters["forgotten"] + 1)
    insert(connection, FORGOTTEN, [row], "forgotten")
    return removed
