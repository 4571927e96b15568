"""Which step of the fallback chain answers a user."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import FEATURES, HISTORY, KNOWN, POPULAR
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.entities import EntityTable
from twotower.data.features.schema import Schema


def user_paths(users: EntityTable, seen: Ragged) -> NDArray[np.int8]:
    """(len(users) + 1,) the step of the fallback chain for each row, and, as the last entry, which
    the num -1 picks, for a user without a row."""
    features = users.schema.features["user"]
    paths = np.full(len(users) + 1, POPULAR, dtype=np.int8)
    paths[:-1][users.has_features()] = FEATURES
    if users.schema.history is not None:
        paths[np.flatnonzero(seen.lengths)] = HISTORY
    if ID_FEATURE in features:
        paths[users.first_known : users.end_warm] = KNOWN
    paths[: users.first_known] = POPULAR
    return paths


def has_values(schema: Schema, users: pl.DataFrame) -> NDArray[np.bool_]:
    """(Q,) which rows have a value of at least one user feature other than the id."""
    there = np.zeros(len(users), dtype=np.bool_)
    for name, feature in schema.features["user"].items():
        if name != ID_FEATURE and feature.column in users.columns:
            there |= users[feature.column].is_not_null().to_numpy()
    return there
