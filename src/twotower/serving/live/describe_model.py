"""What the service says of its models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import polars as pl

from twotower.data.features.schema import Side
from twotower.errors import NotFoundError
from twotower.serving.answer.overlaid_model import OverlaidModel
from twotower.serving.bundle.bundle import num_held_out
from twotower.serving.live.versions import Pool
from twotower.serving.store.protocol import Deployment

SHOWN_VALUES = 200
"""Values of a category that a form offers."""
MOST = 2**53
"""A larger number in a manifest is none."""


def about_model(model: OverlaidModel) -> dict[str, Any]:
    """One version as JSON."""
    served = model.served
    manifest, history = served.manifest, served.schema.history
    types = history.event_types if history is not None else None
    index = model.stages.index
    over = model.overlay
    return {
        "version": model.version,
        "twotower": str(manifest.get("twotower", "")),
        "created": str(manifest.get("created", "")),
        "data": str(manifest.get("data", "")),
        "num_users": served.num_users,
        "num_items": model.catalogue.num_items,
        "items_added": sum(num >= len(served.items) for num in over.rows),
        "items_removed": sum(num < len(served.items) for num in over.removed),
        "index": {
            "kind": index.kind,
            "recall": served.index_recall,
            "size": len(index.item_nums),
        },
        "embedding_dim": served.towers.config.embedding_dim,
        "stages": list(served.stage_names),
        "live": served.is_live,
        **{f"{side}_features": features(model, side) for side in ("user", "item", "context")},
        "item_columns": [
            {"name": name, "type": kind_of(dtype)}
            for name, dtype in model.prepared.columns.frame.schema.items()
        ],
        "event_types": None if types is None else [str(v) for v in types.values.to_list()],
        "metrics": dict(manifest.get("metrics", {})),
    }


def features(model: OverlaidModel, side: Side) -> list[dict[str, Any]]:
    """The features of a side that a request can give."""
    found = []
    for name, feature in model.served.schema.columns(side).items():
        values = feature.describe().values
        found.append(
            {
                "name": name,
                "column": feature.column,
                "type": feature.type,
                "values": None if values is None else values[:SHOWN_VALUES].to_list(),
            }
        )
    return found


def kind_of(dtype: pl.DataType) -> str:
    """What a filter compares a column with."""
    if isinstance(dtype, pl.List | pl.Array):
        return "list"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype.is_temporal():
        return "time"
    return "number" if dtype.is_numeric() else "text"


def about_versions(
    pool: Pool, deployment: Deployment, unread: Mapping[str, int], forgotten: Collection[str] = ()
) -> dict[str, Any]:
    """All versions as JSON.

    Args:
        pool: the versions.
        deployment: says which is active.
        unread: loaded version -> items of which it cannot read a value.
        forgotten: ids of forgotten users, as text.
    """
    return {
        "active": deployment.active,
        "previous": deployment.previous,
        "models": [
            {
                **about_version(pool, name, deployment.active),
                "forgotten_users": num_forgotten(pool, name, forgotten),
                "unread_items": unread.get(name),
            }
            for name in pool.names()
        ],
    }


def about_version(pool: Pool, version: str, active: str | None) -> dict[str, Any]:
    """A version by what its manifest says."""
    manifest = pool.manifest(version)
    figures = _mapping(_mapping(manifest.get("metrics")).get("metrics"))
    return {
        "version": version,
        "active": version == active,
        "created": str(manifest.get("created", "")),
        "num_users": int(_number(manifest.get("num_users"))),
        "num_items": int(_number(manifest.get("num_items"))),
        "metrics": {name: float(_number(figure)) for name, figure in figures.items()},
    }


def num_forgotten(pool: Pool, version: str, forgotten: Collection[str]) -> int:
    """How many forgotten users the recorded metrics of a version count; 0 where its files, which
    nobody has checked, cannot be read."""
    try:
        return num_held_out(pool.path(version), forgotten)
    except (NotFoundError, OSError, pl.exceptions.PolarsError):
        return 0


def _mapping(value: object) -> Mapping[str, Any]:
    """A value of a manifest that has to be a mapping; nobody has checked it."""
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float:
    """A value of a manifest that has to be a number."""
    return value if isinstance(value, int | float) and abs(value) < MOST else 0
