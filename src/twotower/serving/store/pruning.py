"""Remove old events and impressions, in short transactions that writers hardly wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from twotower.serving.store.log import lock
from twotower.serving.store.schema import EVENT, IMPRESSION

ROWS_PER_TRANSACTION = 2000
"""Sequence numbers that one transaction looks at."""

TABLES = {"events": EVENT, "impressions": IMPRESSION}
"""Counter -> the table that it numbers, of the tables that have a time to live."""

Run = Callable[[Callable[[sa.Connection], int]], int]


def remove_older(read: Run, write: Run, counter: str, before: int) -> int:
    """Remove the rows of a table with a timestamp below `before`; returns how many.

    The counter, and with it the numbers that were given, stay: no reader sees a number twice.

    Args:
        read: runs a function that only reads.
        write: runs a function in a transaction of its own.
        counter: of the table's sequence, `events` or `impressions`; locked as by all writers, so
            that no two of them wait for each other's rows.
        before: seconds since 1970 UTC.
    """
    table = TABLES[counter]
    first = sa.select(sa.func.min(table.c.sequence)).where(table.c.timestamp < before)
    last = sa.select(sa.func.max(table.c.sequence)).where(table.c.timestamp < before)
    # 0 rows are "no number", as the numbers begin at 1.
    start = read(lambda connection: connection.scalar(first) or 0)
    end = read(lambda connection: connection.scalar(last) or 0)
    removed = 0
    while start and start <= end:
        after = start + ROWS_PER_TRANSACTION
        old: Any = sa.delete(table).where(
            table.c.sequence >= start, table.c.sequence < after, table.c.timestamp < before
        )

        def remove(connection: sa.Connection, statement: Any = old) -> int:
            lock(connection, counter)
            return connection.execute(statement).rowcount

        removed += write(remove)
        start = after
    return removed
