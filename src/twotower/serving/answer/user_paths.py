"""Which step of the fallback chain answers a user."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import FEATURES, HISTORY, KNOWN, POPULAR
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.entities import EntityTable

Flags = NDArray[np.bool_] | bool


class UserPaths:
    """What decides the path of each user of a table, and of users without a row."""

    def __init__(self, users: EntityTable, seen: Ragged, *, reads_user_items: bool = False) -> None:
        """Look at a table.

        Args:
            users: all of them.
            seen: (len(users),) the items of each.
            reads_user_items: whether something beside the towers reads what a user has taken.
        """
        schema = users.schema
        # The last entry, which the num -1 picks, is that of a user without a row.
        self._trained = np.zeros(len(users) + 1, dtype=np.bool_)
        if ID_FEATURE in schema.features["user"]:
            self._trained[users.first_known : users.end_warm] = True
        self._has_features = np.append(users.has_features(), False)
        self._has_features[: users.first_known] = False
        self._has_history = np.zeros(len(users) + 1, dtype=np.bool_)
        self._has_history[np.flatnonzero(seen.lengths)] = True
        self._has_history[: users.first_known] = False
        self._reads_history = schema.history is not None or reads_user_items

    def answer_path(
        self,
        user_num: NDArray[np.integer],
        *,
        has_history: Flags = False,
        has_features: Flags = False,
    ) -> NDArray[np.int8]:
        """(Q,) places in `PATHS`; the only place that decides a path.

        `known` is a user whose id training saw, if the query tower reads ids, `history` another
        user with an event, if events are read, `features` one with a value that it reads,
        `popular` every other user.

        Args:
            user_num: (Q,) rows of the table, -1 without one.
            has_history: (Q,) whether events are known beside the table's.
            has_features: (Q,) whether the request brings a feature that the towers read.
        """
        path = np.full(len(user_num), POPULAR, dtype=np.int8)
        path[self._has_features[user_num] | has_features] = FEATURES
        if self._reads_history:
            path[self._has_history[user_num] | has_history] = HISTORY
        path[self._trained[user_num]] = KNOWN
        return path
