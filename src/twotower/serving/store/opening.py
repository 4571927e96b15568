"""Open an event store by a path or a URI."""

from __future__ import annotations

from pathlib import Path

from twotower.data.readers.databases import parse_address
from twotower.serving.store.protocol import EventStore
from twotower.serving.store.sqlite import open_sqlite


def open_store(
    where: str | Path, *, create: bool = True, deadline: float | None = None
) -> EventStore:
    """Open a store and migrate it to the newest version.

    Args:
        where: the path of a file, `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DB`.
        create: create the SQLite file if it does not exist.
        deadline: seconds that a call of PostgreSQL may take; after one that took longer, calls fail
            at once until the database answers again. Default: without end.

    Raises:
        DataError: the URI is of another kind.
        StoreError: the store cannot be opened. Passwords are not shown.
    """
    if isinstance(where, Path) or "://" not in where:
        return open_sqlite(Path(where), create=create)
    if not is_remote(where):
        return open_sqlite(Path(parse_address(str(where)).url.database or ""), create=create)
    from twotower.serving.store.postgres import open_postgres  # noqa: PLC0415

    return open_postgres(str(where), deadline=deadline)


def is_remote(where: str) -> bool:
    """Whether a store is a database server, not a file."""
    scheme, is_uri, _ = where.partition("://")
    return bool(is_uri) and scheme != "sqlite"
