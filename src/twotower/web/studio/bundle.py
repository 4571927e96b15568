"""Description of a bundle for the page: features for forms, columns for filters, example users."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.config.feature_type import FeatureDescription
from twotower.data.features.schema import Side
from twotower.serving.bundle.served_model import ServedModel
from twotower.web.studio.map import can_colour, name_column, picture_column

MAX_VALUES: Final = 60
"""Maximum number of category values listed in a form."""
NUM_USERS: Final = 12
"""Number of example users."""
NUM_POPULAR: Final = 24
"""Number of items suggested for a new history."""


def describe(served: ServedModel) -> dict[str, Any]:
    """Everything that the page needs when it is opened."""
    schema, items = served.schema, served.items
    history = schema.history
    return {
        "num_users": served.num_users,
        "num_items": len(items) - items.first_known,
        "num_parameters": sum(p.numel() for p in served.towers.parameters()),
        "embedding_dim": served.towers.config.embedding_dim,
        "k": served.config.evaluation.k,
        "index": {"kind": served.index.kind, "recall": served.index_recall},
        "created": served.manifest.get("created"),
        "reads_history": history is not None,
        "reads_user_items": served.blend is not None and served.blend.reads_user_items,
        "history_length": None if history is None else history.config.max_length - 1,
        "event_types": _event_types(served),
        "name_column": name_column(items),
        "picture_column": picture_column(items),
        "user_features": fields(served, "user"),
        "context_features": fields(served, "context"),
        "item_features": fields(served, "item"),
        "item_columns": item_columns(served),
        "users": some_users(served),
        "popular_items": popular_items(served),
    }


def _event_types(served: ServedModel) -> list[str] | None:
    history = served.schema.history
    types = None if history is None else history.event_types
    return None if types is None else [str(value) for value in types.values.to_list()]


def fields(served: ServedModel, side: Side) -> list[dict[str, Any]]:
    """The features of a side except the id: name, column, type, and options for a form."""
    return [
        {
            "name": name,
            "column": feature.column,
            "type": feature.type,
            **offered(feature.describe()),
        }
        for name, feature in served.schema.columns(side).items()
    ]


def offered(feature: FeatureDescription) -> dict[str, Any]:
    """Known values, or the typical range of a number."""
    if feature.values is not None:
        return {
            "values": feature.values.head(MAX_VALUES).to_list(),
            "num_values": len(feature.values),
        }
    if feature.usual_range is not None:
        return dict(zip(("low", "middle", "high"), feature.usual_range, strict=True))
    return {}


def item_columns(served: ServedModel) -> list[dict[str, Any]]:
    """The columns of the items table: options for filters, and whether each can colour the map."""
    items = served.items
    frame = items.frame[items.first_known :]
    return [
        {"name": name, "colours": can_colour(frame[name]), **filterable(frame[name])}
        for name in frame.columns
        if name != items.key
    ]


def filterable(column: pl.Series) -> dict[str, Any]:
    """`{"kind": "values", "values": [...]}` with the most frequent values, `{"kind": "range",
    "low", "high"}`, or `{"kind": "none"}` for free text and other types."""
    dtype = column.dtype
    if dtype.is_numeric():
        low, high = column.min(), column.max()
        return {"kind": "none"} if low is None else {"kind": "range", "low": low, "high": high}
    if dtype == pl.List(pl.String):
        return {"kind": "values", "values": _commonest(column.explode())}
    if dtype == pl.Boolean:
        return {"kind": "values", "values": sorted(column.drop_nulls().unique().to_list())}
    if dtype == pl.String and column.null_count() < len(column) and can_colour(column):
        return {"kind": "values", "values": _commonest(column)}
    return {"kind": "none"}


def _commonest(column: pl.Series) -> list[Any]:
    counts = column.drop_nulls().alias("value").value_counts(name="count")
    ordered = counts.sort(["count", "value"], descending=[True, False])
    return ordered["value"].head(MAX_VALUES).to_list()


def some_users(served: ServedModel) -> list[dict[str, Any]]:
    """Example users with about the median number of events: very active users have few unseen items
    left, and users without events show no history."""
    users = served.users
    nums = np.arange(users.first_known, len(users))
    if not len(nums):
        return []
    lengths = counts(served, nums)
    usual = np.median(lengths[lengths > 0]) if lengths.any() else 0
    nearest = np.argsort(np.abs(lengths - usual), kind="stable")[: 10 * NUM_USERS]
    drawn = np.sort(np.random.default_rng(0).permutation(nearest)[:NUM_USERS])
    return [
        {
            "user_id": users.ids[int(nums[place])],
            "events": int(lengths[place]),
            "columns": {
                name: value
                for name, value in users.frame.row(int(nums[place]), named=True).items()
                if name != users.key
            },
        }
        for place in drawn
    ]


def counts(served: ServedModel, nums: NDArray[np.integer]) -> NDArray[np.int64]:
    """(T,) number of events of each user num."""
    return served.histories.items.bounds(nums)[1]


def popular_items(served: ServedModel) -> list[str | int]:
    """Raw ids of the most popular items, best first."""
    order = served.popularity.order
    return [served.items.ids[int(num)] for num in order[:NUM_POPULAR]]
