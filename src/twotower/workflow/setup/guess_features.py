"""Features for tables in memory, guessed as `twotower init` guesses them for files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from twotower.config import ColumnsConfig
from twotower.data.tables.frames import TableLike, to_polars
from twotower.workflow.setup.init.config_lines import feature_name, feature_settings
from twotower.workflow.setup.init.features import guess_feature

FeatureDicts = dict[str, dict[str, dict[str, Any]]]
"""Side -> name -> declaration, as `[features]` of a config."""


def guess_features(
    users: TableLike | None = None,
    items: TableLike | None = None,
    *,
    columns: Mapping[str, str] | None = None,
) -> FeatureDicts:
    """Guess the features of users and items from the names and values of their columns.

    The result is a dict to look at and to correct. Columns that hold nothing useful, or only what
    is known after the interaction, are left out. The user's history is always a feature, as
    interactions are not seen here; without timestamps and other features `init` writes none.

    >>> features = tt.guess_features(users, items)
    >>> features["user"]
    {'age': {'type': 'number'}, 'region': {'type': 'category'}, 'occupation': {'type': 'category'},
     'history': {'type': 'history', 'encoder': 'attention'}}
    >>> del features["user"]["history"]
    >>> data = tt.Dataset.from_frames(interactions, users, items, features=features)

    Args:
        users, items: as for `Dataset.from_frames`.
        columns: as for `Dataset.from_frames`.

    Raises:
        DataError: a table cannot be read.
        TypeError: a table is of another kind.
    """
    keys = ColumnsConfig.model_validate(columns or {})
    features: FeatureDicts = {"user": {}, "item": {}}
    if users is not None:
        features["user"] = guesses_of(to_polars(users, "users"), keys.entity_key("users"))
    if items is not None:
        features["item"] = guesses_of(to_polars(items, "items"), keys.entity_key("items"))
    features["user"]["history"] = {"type": "history", "encoder": "attention"}
    return {side: found for side, found in features.items() if found}


def guesses_of(table: pl.DataFrame, key: str) -> dict[str, dict[str, Any]]:
    """Name -> declaration for each column but the key that looks like a feature."""
    columns = [name for name in table.columns if name != key]
    guesses = {column: guess_feature(table[column]) for column in columns}
    active = {column: guess for column, guess in guesses.items() if guess.active}
    return {
        (name := feature_name(column, columns)): feature_settings(name, column, guess)
        for column, guess in active.items()
    }
