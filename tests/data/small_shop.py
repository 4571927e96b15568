"""A small shop for tests of the schema, the entities and the data set."""

from __future__ import annotations

from typing import Any

import polars as pl

from twotower.config import Config, FeaturesConfig
from twotower.data.features.schema import Schema

FEATURES: dict[str, Any] = {
    "user": {
        "age": {"type": "number", "num_bins": 2},
        "city": {"type": "category"},
    },
    "item": {
        "genres": {"type": "categories", "separator": "|"},
        "added": {"type": "timestamp", "column": "since"},
    },
    "context": {"device": {"type": "category", "num_oov": 2}},
}

USERS = pl.DataFrame(
    {
        "user_id": ["u9", "u1", "u2", "u3"],
        "age": [None, 20, 40, 99],
        "city": ["Oslo", "Rome", None, "Lima"],
    }
)
"""u3 is in no training row: only u3 lives in Lima and is 99."""

ITEMS = pl.DataFrame(
    {
        "item_id": ["i3", "i2", "i1"],
        "genres": ["drama|opera", "drama", "crime|drama"],
        "since": ["2024-03-03", "2024-02-02", "2024-01-01"],
    }
)
"""i3 is in no training row: only i3 is an opera."""

TRAIN = pl.DataFrame(
    {
        "user_id": ["u2", "u1", "u9", "u2"],
        "item_id": ["i1", "i2", "i4", "i2"],
        "timestamp": [30, 10, 20, 40],
        "device": ["phone", None, "desk", "phone"],
    }
)
"""i4 is not in the items file."""

VALIDATION = pl.DataFrame(
    {"user_id": ["u1"], "item_id": ["i1"], "timestamp": [50], "device": ["phone"]}
)

TEST = pl.DataFrame(
    {
        "user_id": ["u3", "u7", "u1"],
        "item_id": ["i3", "i8", "i4"],
        "timestamp": [60, 61, 62],
        "device": ["phone", "watch", "desk"],
    }
)
"""u7 and i8 are in no file and in no training row."""


def features(**sides: Any) -> FeaturesConfig:
    return FeaturesConfig.model_validate(sides or FEATURES)


def schema(**sides: Any) -> Schema:
    return Schema.fit(features(**sides), interactions=TRAIN, users=USERS, items=ITEMS)


def config(**sections: Any) -> Config:
    data = {"interactions": "log.csv", "users": "users.csv", "items": "items.csv"}
    return Config.model_validate({"data": data, "features": FEATURES, **sections})
