"""Which step of the fallback chain answers a user, and which items can be answered at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twotower.data.columns import ID_FEATURE
from twotower.data.entities import EntityTable
from twotower.data.ranking import FEATURES, KNOWN, POPULAR


def known_rows(user_num: NDArray[np.integer]) -> NDArray[np.int64]:
    """(Q,) rows to read features from: that of an unknown id where a user has no row."""
    return np.where(user_num < 0, 1, user_num).astype(np.int64)


def user_paths(users: EntityTable) -> NDArray[np.int8]:
    """(len(users) + 1,) the step of the fallback chain for each row, and, as the last entry, which
    the num -1 picks, for a user without a row."""
    features = users.schema.features["user"]
    paths = np.full(len(users) + 1, POPULAR, dtype=np.int8)
    paths[:-1][users.has_features()] = FEATURES
    if ID_FEATURE in features:
        paths[users.first_known : users.end_warm] = KNOWN
    paths[: users.first_known] = POPULAR
    return paths


def indexable(items: EntityTable) -> NDArray[np.bool_]:
    """(len(items),) which items have a vector that means something."""
    there = items.has_features()
    if ID_FEATURE in items.schema.features["item"]:
        there[items.first_known : items.end_warm] = True
    there[: items.first_known] = False
    return there
