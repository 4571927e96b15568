"""The query tower, run on requests."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from torch import Tensor

from twotower.data.dataset.entities import Features, to_column
from twotower.data.features.histories import Histories, History
from twotower.data.features.schema import Schema
from twotower.models.retriever.fold_in import FoldIn
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.bundle.queries import Floats, Queries

CHUNK = 4096
"""Rows that a tower encodes at once."""


class QueryEncoder:
    """Users, their histories and contexts to query vectors.

    Attributes:
        model: both towers.
        schema: of its features.
        item_states: (len(items), D) what histories read of each item.
        fold_in: predicts the id vectors of users whom training has not seen, or not lately; None
            where the id's own row is read.
    """

    def __init__(
        self,
        model: TwoTower,
        schema: Schema,
        item_states: Tensor,
        fold_in: FoldIn | None = None,
    ) -> None:
        self.model = model
        self.schema = schema
        self.item_states = item_states
        self.fold_in = fold_in

    @torch.no_grad()
    def vectors(self, queries: Queries) -> Floats:
        """(Q, D) query vectors. Absent context features are missing values; without a history the
        users have no event."""
        device, history = self.model.device, queries.history
        context = filled_context(self.schema, queries.context, queries.number)
        if history is None and self.schema.history is not None:
            history = no_history(queries.number)
        users: Features = {name: column.to(device) for name, column in queries.users.items()}
        id_table = None
        if self.fold_in is not None and queries.user_items is not None:
            users, id_table = self.fold_in.folded(users, queries.user_items, queries.has_newer)
        vectors: Floats = (
            self.model.query_vectors(
                users,
                {name: column.to(device) for name, column in context.items()},
                None if history is None else self.read(history.to(device)),
                id_table=id_table,
            )
            .cpu()
            .numpy()
        )
        return vectors

    def read(self, history: History) -> tuple[Tensor, History]:
        """The events with the states of their items, (Q, L, D)."""
        return self.item_states.to(self.model.device)[history.item_num], history


def filled_context(schema: Schema, context: Features, rows: int) -> Features:
    """Context features of `rows` queries, those that are left out being missing values."""
    missing = {
        name: to_column(feature.encode(pl.Series(feature.column, [None] * rows)))
        for name, feature in schema.features["context"].items()
        if name not in context
    }
    return {**context, **missing}


def no_history(rows: int) -> History:
    """(rows,) histories without an event."""
    nobody = Histories.group(np.zeros(0, np.int64), np.zeros(0, np.int64), 0)
    return nobody.latest(np.full(rows, -1), 2)


@torch.no_grad()
def encode_items(
    model: TwoTower, features: Features, *, keep_states: bool = True
) -> tuple[Tensor, Tensor]:
    """(R, D) the states and (R, D) the vectors of items by their features, name -> (R, ...); (0, D)
    states if they are not to be kept."""
    number = len(next(iter(features.values())))
    vectors = torch.empty(number, model.config.embedding_dim)
    states = torch.empty(number if keep_states else 0, model.config.embedding_dim)
    for start in range(0, number, CHUNK):
        part = slice(start, start + CHUNK)
        rows = {name: column[part].to(model.device) for name, column in features.items()}
        found = model.item_states(rows)
        if keep_states:
            states[part] = found.cpu()
        vectors[part] = model.item_vectors(rows, found).cpu()
    return states, vectors
