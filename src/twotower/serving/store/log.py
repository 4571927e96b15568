"""Statements on events, impressions and forgotten users, each within a transaction of its caller.

Numbers are given under the lock of a row of `twotower_counters`, which is held until the commit: so
rows become visible in the order of their numbers, and a reader that looks beyond the last number it
has seen misses none. (Numbers from a database's sequence do not promise that: a transaction that
drew 7 may commit after one that drew 8.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from twotower.serving.store.group_commit import Call
from twotower.serving.store.protocol import Id, Impression, Outcome, Removed, StoredEvent
from twotower.serving.store.rows import event_row, impression_row
from twotower.serving.store.schema import COUNTER, COUNTERS, EVENT, FORGOTTEN, IMPRESSION

IDS_AT_ONCE = 500
"""Ids in one IN (...)."""


def lock(connection: sa.Connection, *names: str) -> dict[str, int]:
    """The counters of some tables, locked until the transaction ends, in the order that all
    writers keep to, so that none waits for another in a circle."""
    values = {}
    for name in sorted(names, key=COUNTERS.index):
        wanted = sa.select(COUNTER.c.value).where(COUNTER.c.name == name).with_for_update()
        values[name] = int(connection.execute(wanted).scalar_one())
    return values


def advance(connection: sa.Connection, name: str, value: int) -> None:
    """Set a counter that is locked."""
    connection.execute(sa.update(COUNTER).where(COUNTER.c.name == name).values(value=value))


def write_calls(connection: sa.Connection, calls: Sequence[Call]) -> list[list[Outcome] | None]:
    """Store the rows of some calls; the outcomes of each, or None for impressions."""
    events = [event for call in calls for event in call.events]
    impressions = [impression for call in calls for impression in call.impressions]
    names = [name for name, rows in (("events", events), ("impressions", impressions)) if rows]
    counters = lock(connection, *names)
    outcomes: list[Outcome] = []
    if events:
        outcomes = write_events(connection, events, counters["events"])
    if impressions:
        write_impressions(connection, impressions, counters["impressions"])
    results: list[list[Outcome] | None] = []
    start = 0
    for call in calls:
        end = start + len(call.events)
        results.append(outcomes[start:end] if not call.impressions else None)
        start = end
    return results


def write_events(
    connection: sa.Connection, events: Sequence[StoredEvent], last: int
) -> list[Outcome]:
    """Store the events that are new, numbered from `last` + 1; the counter is locked."""
    known = matching(connection, EVENT.c.event_id, (event.event_id for event in events))
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
            rows.append(event_row(event, last + len(rows) + 1))
    insert(connection, EVENT, rows, "events")
    return outcomes


def write_impressions(
    connection: sa.Connection, impressions: Sequence[Impression], last: int
) -> None:
    """Store the impressions that are new; the counter is locked."""
    asked = (impression.request_id for impression in impressions)
    known = matching(connection, IMPRESSION.c.request_id, asked)
    forgotten = forgotten_times(
        connection, (entry.user_id for entry in impressions if entry.user_id is not None)
    )
    rows: list[dict[str, Any]] = []
    for impression in impressions:
        gone = impression.timestamp <= forgotten.get(str(impression.user_id), -float("inf"))
        if impression.request_id not in known and not (gone and impression.user_id is not None):
            known.add(impression.request_id)
            rows.append(impression_row(impression, last + len(rows) + 1))
    insert(connection, IMPRESSION, rows, "impressions")


def insert(
    connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]], counter: str
) -> None:
    """Insert numbered rows and set their counter to the last number."""
    if rows:
        connection.execute(sa.insert(table), rows)
        advance(connection, counter, rows[-1]["sequence"])


def matching(connection: sa.Connection, column: sa.Column[Any], values: Iterable[str]) -> set[str]:
    """Which of some values a column has."""
    return {row[0] for row in rows_with(connection, sa.select(column), column, values)}


def forgotten_times(connection: sa.Connection, user_ids: Iterable[Id]) -> dict[str, int]:
    """When those of some users who were forgotten were, by the text of their ids."""
    wanted = sa.select(FORGOTTEN.c.user_id, FORGOTTEN.c.timestamp)
    texts = (str(user_id) for user_id in user_ids)
    return {row[0]: row[1] for row in rows_with(connection, wanted, FORGOTTEN.c.user_id, texts)}


def rows_with(
    connection: sa.Connection,
    wanted: sa.Select[Any],
    column: sa.Column[Any],
    values: Iterable[str],
) -> Iterator[Any]:
    """The rows of a query whose column has one of some values, some hundred at a time."""
    distinct = list(dict.fromkeys(values))
    for start in range(0, len(distinct), IDS_AT_ONCE):
        some = distinct[start : start + IDS_AT_ONCE]
        yield from connection.execute(wanted.where(column.in_(some)))


def forget(connection: sa.Connection, user_id: Id, now: Callable[[], float] = time.time) -> Removed:
    """Remove what is kept of a user, and keep the id in the list of forgotten users.

    The counters of events and impressions are locked first: no row of this user is on its way in
    another transaction that has looked at the list before.
    """
    counters = lock(connection, "events", "impressions", "forgotten")
    text = str(user_id)
    removed = Removed(
        connection.execute(sa.delete(EVENT).where(EVENT.c.user_id == text)).rowcount,
        connection.execute(sa.delete(IMPRESSION).where(IMPRESSION.c.user_id == text)).rowcount,
    )
    connection.execute(sa.delete(FORGOTTEN).where(FORGOTTEN.c.user_id == text))
    row = {
        "sequence": counters["forgotten"] + 1,
        "user_id": text,
        "user_whole": isinstance(user_id, int),
        "timestamp": int(now()),
    }
    insert(connection, FORGOTTEN, [row], "forgotten")
    return removed
