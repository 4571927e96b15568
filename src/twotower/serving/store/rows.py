"""Events, impressions and the rest as rows of tables, and back.

An id is kept as text with a flag that tells whether it was an integer, so that it is found by
either spelling and comes back as it was given.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from twotower.serving.store.experiments import ABExperiment, ExperimentVariant
from twotower.serving.store.protocol import (
    Deployment,
    ForgottenUser,
    Id,
    Impression,
    ItemChange,
    KeyRecord,
    StoredEvent,
)

Row = sa.Row[Any]


def to_id(text: str, whole: bool) -> Id:
    """An id as it was given."""
    return int(text) if whole else text


def to_json(document: Any) -> str:
    """Compact JSON, ASCII."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


# --- to rows ----------------------------------------------------------------------------------


def event_row(event: StoredEvent, sequence: int) -> dict[str, Any]:
    """The row of an event."""
    return {
        "sequence": sequence,
        "event_id": event.event_id,
        "user_id": str(event.user_id),
        "user_whole": isinstance(event.user_id, int),
        "item_id": str(event.item_id),
        "item_whole": isinstance(event.item_id, int),
        "timestamp": event.timestamp,
        "event_type": event.event_type,
        "weight": event.weight,
        "request_id": event.request_id,
        "variant": event.variant,
        "context": to_json(dict(event.context)) if event.context else None,
    }


def impression_row(impression: Impression, sequence: int) -> dict[str, Any]:
    """The row of an impression."""
    nobody = impression.user_id is None
    return {
        "sequence": sequence,
        "request_id": impression.request_id,
        "user_id": None if nobody else str(impression.user_id),
        "user_whole": isinstance(impression.user_id, int),
        "item_ids": to_json(list(impression.item_ids)),
        "scores": to_json(list(impression.scores)) if impression.scores else None,
        "model_version": impression.model_version,
        "path": impression.path,
        "timestamp": impression.timestamp,
        "variant": impression.variant,
    }


def change_row(change: ItemChange, sequence: int) -> dict[str, Any]:
    """The row of a change."""
    return {
        "sequence": sequence,
        "item_id": str(change.item_id),
        "item_whole": isinstance(change.item_id, int),
        "document": None if change.columns is None else to_json(dict(change.columns)),
    }


def key_row(key: KeyRecord) -> dict[str, Any]:
    """The row of a key."""
    return {
        "name": key.name,
        "digest": key.digest,
        "scopes": ",".join(sorted(key.scopes)),
        "created": key.created,
        "revoked": key.revoked,
    }


def deployment_row(deployment: Deployment) -> dict[str, Any]:
    """The row of a deployment."""
    return {
        "revision": deployment.revision,
        "active": deployment.active,
        "previous": deployment.previous,
        "experiment": experiment_text(deployment.experiment),
        "changed": deployment.changed,
    }


def experiment_text(experiment: ABExperiment | None) -> str | None:
    """An experiment as JSON."""
    if experiment is None:
        return None
    arms = [[arm.name, arm.version, arm.share] for arm in experiment.variants]
    return to_json({"name": experiment.name, "variants": arms})


# --- from rows --------------------------------------------------------------------------------


def to_event(row: Row) -> StoredEvent:
    """The event of a row."""
    return StoredEvent(
        event_id=row.event_id,
        user_id=to_id(row.user_id, row.user_whole),
        item_id=to_id(row.item_id, row.item_whole),
        timestamp=row.timestamp,
        event_type=row.event_type,
        weight=row.weight,
        request_id=row.request_id,
        variant=row.variant,
        context=json.loads(row.context) if row.context else {},
    )


def to_impression(row: Row) -> Impression:
    """The impression of a row."""
    return Impression(
        request_id=row.request_id,
        user_id=None if row.user_id is None else to_id(row.user_id, row.user_whole),
        item_ids=tuple(json.loads(row.item_ids)),
        model_version=row.model_version,
        path=row.path,
        timestamp=row.timestamp,
        scores=tuple(json.loads(row.scores)) if row.scores else (),
        variant=row.variant,
    )


def to_change(row: Row) -> ItemChange:
    """The change of a row."""
    columns = None if row.document is None else json.loads(row.document)
    return ItemChange(to_id(row.item_id, row.item_whole), columns)


def to_forgotten(row: Row) -> ForgottenUser:
    """The forgotten user of a row."""
    return ForgottenUser(to_id(row.user_id, row.user_whole), row.timestamp)


def to_key(row: Row) -> KeyRecord:
    """The key of a row."""
    return KeyRecord(
        name=row.name,
        digest=row.digest,
        scopes=frozenset(row.scopes.split(",")),
        created=row.created,
        revoked=row.revoked,
    )


def to_deployment(row: Row) -> Deployment:
    """The deployment of a row."""
    return Deployment(
        row.revision, row.active, row.previous, to_experiment(row.experiment), row.changed
    )


def to_experiment(text: str | None) -> ABExperiment | None:
    """The experiment of a JSON text."""
    if text is None:
        return None
    document = json.loads(text)
    return ABExperiment(
        document["name"], tuple(ExperimentVariant(*arm) for arm in document["variants"])
    )
