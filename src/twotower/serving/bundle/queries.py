"""Requests and retrieved candidates as the models read them.

Shapes: Q queries, K candidates, D embedding_dim.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.data.dataset.entities import Features
from twotower.data.features.histories import History

Floats = NDArray[np.float32]

RETRIEVE, RANK = "retrieve", "rank"
"""The stages that score."""


class Queries(NamedTuple):
    """Q queries as the models read them.

    Attributes:
        users: name -> (Q, ...).
        context: name -> (Q, ...); an absent feature is a missing value.
        history: of the Q users, None where no history is read.
        taken: Q lists, all items that each user interacted with; None for none.
    """

    users: Features
    context: Features
    history: History | None
    taken: Ragged | None = None

    def take(self, rows: NDArray[np.integer]) -> Queries:
        """The queries of some rows."""
        places = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.int64))

        def chosen(features: Features) -> Features:
            return {name: column[places] for name, column in features.items()}

        return Queries(
            chosen(self.users),
            chosen(self.context),
            None if self.history is None else self.history.take(places),
            None if self.taken is None else self.taken.take(rows),
        )


class Candidates(NamedTuple):
    """What the towers retrieved.

    Attributes:
        item_nums: (Q, K), best first, `NO_ITEM` where there is none.
        scores: (Q, K) inner products, -inf where there is no item.
        query_vectors: (Q, D).
    """

    item_nums: NDArray[np.int64]
    scores: Floats
    query_vectors: Floats


class RankingStage(Protocol):
    """Reorders the candidates of a request."""

    @property
    def num_candidates(self) -> int:
        """How many candidates it wants."""
        ...

    def score(self, queries: Queries, candidates: Candidates) -> Floats:
        """(Q, K) scores, higher is better; places without an item are ignored."""
        ...
