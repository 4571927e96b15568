"""Requests as the models read them, and the stage that ranks what was retrieved.

Shapes: Q queries, K candidates, D embedding_dim.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.data.dataset.entities import EntityTable, Features, taken
from twotower.data.features.histories import Histories, History
from twotower.index import SearchResult

Floats = NDArray[np.float32]

RETRIEVE, BLEND, RANK = "retrieve", "blend", "rank"
"""The stages that score."""
MAX_CELLS: Final = 1 << 25
"""Marks of queries x items in memory at once, 32 MB."""


class Queries(NamedTuple):
    """Q queries as the models read them.

    Attributes:
        users: name -> (Q, ...).
        context: name -> (Q, ...); an absent feature is a missing value.
        history: of the Q users, None where no history is read.
        user_items: Q lists, all items that each user interacted with; None for none.
        has_newer: (Q,) whether a user has taken something that the towers have neither learned from
            nor read in a history; None for nobody.
    """

    users: Features
    context: Features
    history: History | None
    user_items: Ragged | None = None
    has_newer: NDArray[np.bool_] | None = None

    @staticmethod
    def of(
        users: EntityTable,
        user_num: NDArray[np.integer],
        histories: Histories,
        lists: NDArray[np.integer],
        context: Features,
        learned: NDArray[np.int64] | None = None,
    ) -> Queries:
        """Users with their events.

        Args:
            users: all of them.
            user_num: (Q,) rows of `users`, -1 for a user without one.
            histories: lists of events.
            lists: (Q,) the list of each user; a num without a list has no event.
            context: as in the class.
            learned: (len(users),) how many events of each user the towers have learned from;
                default: all.
        """
        # A user without a row has the features of an unknown id.
        rows = np.where(user_num < 0, 1, user_num).astype(np.int64)
        feature = users.schema.history
        history = None if feature is None else histories.latest(lists, feature.config.max_length)
        features = users.gather(torch.from_numpy(rows))
        items = histories.items.take(lists)
        newer = None
        if feature is None and learned is not None:
            newer = np.diff(items.offsets) > learned[rows]
        return Queries(features, context, history, items, newer)

    @property
    def number(self) -> int:
        """Q."""
        for column in (*self.users.values(), *self.context.values()):
            return len(column)
        if self.user_items is not None:
            return len(self.user_items)
        return 0 if self.history is None else len(self.history.mask)

    @property
    def activity(self) -> Floats:
        """(Q,) the logarithm of 1 + the number of different items of each user."""
        if self.user_items is None:
            return np.zeros(self.number, dtype=np.float32)
        lists = self.user_items
        size = int(lists.values.max(initial=0)) + 1
        if len(lists) * size > MAX_CELLS:
            number = lists.distinct().lengths
        else:
            # A mark for each item is ten times as fast as to sort.
            taken = np.zeros((len(lists), size), dtype=np.bool_)
            taken[lists.keys(), np.maximum(lists.values, 0)] = True
            number = taken.sum(axis=1)
        activity: Floats = np.log1p(number).astype(np.float32)
        return activity

    def take(self, rows: NDArray[np.integer]) -> Queries:
        """The queries of some rows."""
        places = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.int64))
        return Queries(
            taken(self.users, rows),
            taken(self.context, rows),
            None if self.history is None else self.history.take(places),
            None if self.user_items is None else self.user_items.take(rows),
            None if self.has_newer is None else self.has_newer[rows],
        )


class RankingStage(Protocol):
    """Reorders the candidates of a request."""

    @property
    def num_candidates(self) -> int:
        """How many candidates it wants."""
        ...

    def score(self, queries: Queries, candidates: SearchResult) -> Floats:
        """(Q, K) scores, higher is better; places without an item are ignored."""
        ...
