"""Statements on items, the deployment and keys, each within a transaction of its caller."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from twotower.errors import ConflictError, explain
from twotower.serving.store.log import advance, insert, lock
from twotower.serving.store.protocol import Deployment, ItemChange, KeyRecord
from twotower.serving.store.rows import change_row, deployment_row, key_row, to_deployment
from twotower.serving.store.schema import DEPLOYMENT, ITEM, KEY


def write_changes(connection: sa.Connection, changes: Sequence[ItemChange]) -> int:
    """Store changes of items; of each item the last one stays."""
    last = lock(connection, "items")["items"]
    latest = {str(change.item_id): change for change in changes}
    if latest:
        gone = sa.delete(ITEM).where(ITEM.c.item_id == sa.bindparam("gone"))
        connection.execute(gone, [{"gone": item_id} for item_id in latest])
    rows = [change_row(change, last + place) for place, change in enumerate(latest.values(), 1)]
    insert(connection, ITEM, rows, "items")
    return last + len(rows)


def read_deployment(connection: sa.Connection) -> Deployment:
    """What answers now."""
    newest = sa.select(DEPLOYMENT).order_by(DEPLOYMENT.c.revision.desc()).limit(1)
    return to_deployment(connection.execute(newest).one())


def read_deployments(connection: sa.Connection) -> list[Deployment]:
    """All deployments, oldest first."""
    rows = connection.execute(sa.select(DEPLOYMENT).order_by(DEPLOYMENT.c.revision))
    return [to_deployment(row) for row in rows]


def write_deployment(connection: sa.Connection, wanted: Deployment) -> Deployment:
    """Compare and set; what is stored then.

    Raises:
        ConflictError: another revision is stored.
    """
    stored = lock(connection, "deployment")["deployment"]
    if stored != wanted.revision:
        raise ConflictError(
            explain(
                f"the deployment was changed by someone else: revision {stored} is stored, and "
                f"this change was made from revision {wanted.revision}",
                fix="look at what is active now, then decide again",
            )
        )
    made = replace(wanted, revision=stored + 1, changed=int(time.time()))
    connection.execute(sa.insert(DEPLOYMENT), [deployment_row(made)])
    advance(connection, "deployment", made.revision)
    return made


def write_key(connection: sa.Connection, key: KeyRecord) -> None:
    """Keep a new key.

    Raises:
        ConflictError: there is one of this name.
    """
    last = lock(connection, "keys")["keys"]
    if connection.scalar(sa.select(KEY.c.name).where(KEY.c.name == key.name)) is not None:
        raise ConflictError(
            explain(
                "there is a key of this name, or there was one",
                value=key.name,
                fix="choose another name; names are not used again, so that logs stay true",
            )
        )
    connection.execute(sa.insert(KEY), [key_row(key)])
    advance(connection, "keys", last + 1)


def write_revocation(connection: sa.Connection, name: str) -> bool:
    """Revoke a key; whether there is one of this name."""
    last = lock(connection, "keys")["keys"]
    if connection.scalar(sa.select(KEY.c.name).where(KEY.c.name == name)) is None:
        return False
    connection.execute(
        sa.update(KEY)
        .where(KEY.c.name == name, KEY.c.revoked.is_(None))
        .values(revoked=int(time.time()))
    )
    advance(connection, "keys", last + 1)
    return True
