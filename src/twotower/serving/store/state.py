"""Statements on items, the deployment and keys, each within the caller's transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import sqlalchemy as sa

from twotower.errors import ConflictError, explain
from twotower.serving.store.log import insert, lock, rows_with, set_counter
from twotower.serving.store.protocol import Deployment, Id, ItemChange, KeyRecord
from twotower.serving.store.rows import DEPLOYMENTS, ITEM_CHANGES, KEYS
from twotower.serving.store.schema import DEPLOYMENT, ITEM, KEY


def store_item_changes(connection: sa.Connection, changes: Sequence[ItemChange]) -> int:
    """Store the state of items after some changes; the counter of items afterwards."""
    last = lock(connection, "items")["items"]
    stored = stored_items(connection, (change.item_id for change in changes))
    latest: dict[str, ItemChange] = {}
    for change in changes:
        item_id = str(change.item_id)
        after = change.after(latest.get(item_id, stored.get(item_id)))
        if after is not None:
            latest[item_id] = after
    if latest:
        replaced = sa.delete(ITEM).where(ITEM.c.item_id == sa.bindparam("replaced"))
        connection.execute(replaced, [{"replaced": item_id} for item_id in latest])
    rows = [
        ITEM_CHANGES.to_row(change, sequence=number)
        for number, change in enumerate(latest.values(), start=last + 1)
    ]
    insert(connection, ITEM, rows, "items")
    return last + len(rows)


def stored_items(connection: sa.Connection, item_ids: Iterable[Id]) -> dict[str, ItemChange]:
    """Id as text -> what is stored of an item."""
    texts = (str(item_id) for item_id in item_ids)
    rows = rows_with(connection, sa.select(ITEM), ITEM.c.item_id, texts)
    return {str(change.item_id): change for change in ITEM_CHANGES.from_rows(rows)}


def read_deployment(connection: sa.Connection) -> Deployment:
    """The current deployment."""
    newest = sa.select(DEPLOYMENT).order_by(DEPLOYMENT.c.revision.desc()).limit(1)
    return DEPLOYMENTS.from_row(connection.execute(newest).one())


def read_deployments(connection: sa.Connection) -> list[Deployment]:
    """All deployments, oldest first."""
    query = sa.select(DEPLOYMENT).order_by(DEPLOYMENT.c.revision)
    return DEPLOYMENTS.from_rows(connection.execute(query))


def store_deployment(connection: sa.Connection, wanted: Deployment) -> Deployment:
    """Compare and set; the deployment that is stored then.

    Raises:
        ConflictError: another revision is stored.
    """
    stored = lock(connection, "deployment")["deployment"]
    if stored != wanted.revision:
        raise ConflictError(
            explain(
                f"the deployment has changed: revision {stored} is stored, and this change was "
                f"made from revision {wanted.revision}",
                fix="look at what is active now, then decide again",
            )
        )
    deployment = replace(wanted, revision=stored + 1, changed=int(time.time()))
    connection.execute(sa.insert(DEPLOYMENT), [DEPLOYMENTS.to_row(deployment)])
    set_counter(connection, "deployment", deployment.revision)
    return deployment


def store_key(connection: sa.Connection, key: KeyRecord) -> None:
    """Store a new key.

    Raises:
        ConflictError: a key has this name, or had it.
    """
    last = lock(connection, "keys")["keys"]
    if connection.scalar(sa.select(KEY.c.name).where(KEY.c.name == key.name)) is not None:
        raise ConflictError(
            explain(
                "a key with this name exists or was revoked",
                value=key.name,
                fix="choose another name: names are not reused, so that logs stay unambiguous",
            )
        )
    connection.execute(sa.insert(KEY), [KEYS.to_row(key)])
    set_counter(connection, "keys", last + 1)


def store_revocation(connection: sa.Connection, name: str) -> bool:
    """Revoke a key; whether one has this name."""
    last = lock(connection, "keys")["keys"]
    if connection.scalar(sa.select(KEY.c.name).where(KEY.c.name == name)) is None:
        return False
    connection.execute(
        sa.update(KEY)
        .where(KEY.c.name == name, KEY.c.revoked.is_(None))
        .values(revoked=int(time.time()))
    )
    set_counter(connection, "keys", last + 1)
    return True
