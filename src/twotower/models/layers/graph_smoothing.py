"""Smoothing of id embeddings over the user-item interaction graph.

One layer gives each user the mean of their items' vectors and each item the mean of its users',
both degree-normalised: E' = A E with A = D^(-1/2) R D^(-1/2). Source: He et al. 2020, "LightGCN",
eqs. 3 and 4. The vectors stay one a user and one an item: once trained, the smoothed tables are
folded into the towers, and serving needs no graph.

A pass over all edges in each step costs more than the step where there are many. `UpdateSmoothing`
then smooths what training changes, a few times an epoch. Gradient descent through smoothed tables
P E changes them by P P' g, so both push a change out to the neighbours; here the tables themselves
are learned, with row-sparse gradients.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from twotower.data.arrays.ragged import Ragged
from twotower.data.dataset.interactions import Interactions


class Adjacency(NamedTuple):
    """The neighbours of each row, as flat arrays.

    Attributes:
        offsets: (R + 1,) int64.
        neighbours: (edges,) int64 rows of the other side.
    """

    offsets: Tensor
    neighbours: Tensor


class _SumOfNeighbours(torch.autograd.Function):
    """(R_other, D) to (R, D): sums over neighbours. The backward pass is the same sum over the
    edges read the other way, which is much faster than a scatter."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, forth: Adjacency, back: Adjacency) -> Tensor:
        ctx.back = back
        return _sum(vectors, forth)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _sum(gradients[0].contiguous(), ctx.back), None, None


def _sum_of_neighbours(vectors: Tensor, forth: Adjacency, back: Adjacency) -> Tensor:
    summed: Tensor = _SumOfNeighbours.apply(vectors, forth, back)  # type: ignore[no-untyped-call]
    return summed


def _sum(vectors: Tensor, adjacency: Adjacency) -> Tensor:
    return F.embedding_bag(
        adjacency.neighbours, vectors, adjacency.offsets, mode="sum", include_last_offset=True
    )


class UpdateSmoothing:
    """Replaces the change of both tables since the last smoothing by its smoothing.

    Attributes:
        every: steps between two smoothings.
    """

    def __init__(
        self, graph: InteractionGraph, tables: tuple[Tensor, Tensor], num_layers: int, every: int
    ) -> None:
        """Smooth the tables (U, D) and (I, D) themselves, which training then changes in place."""
        self.graph, self.tables, self.num_layers, self.every = graph, tables, num_layers, every
        self.bases = tuple(torch.zeros_like(table) for table in tables)
        self.smooth()

    def update(self, step: int, steps: int) -> None:
        """Smooth if it is time; called after each step of an epoch, from 1 to `steps`."""
        if step % self.every == 0 or step == steps:
            self.smooth()

    @torch.no_grad()
    def smooth(self) -> None:
        """Replace the change by its smoothing."""
        users, items = (table - base for table, base in zip(self.tables, self.bases, strict=True))
        changes = self.graph.smooth(users, items, self.num_layers)
        for table, base, change in zip(self.tables, self.bases, changes, strict=True):
            table.copy_(base.add_(change))

    def state_tensors(self) -> dict[str, Tensor]:
        """The tables of the last smoothing, by name."""
        return dict(zip(("users", "items"), self.bases, strict=True))

    @torch.no_grad()
    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `state_tensors` gave for the same tables."""
        for name, base in self.state_tensors().items():
            base.copy_(tensors[name])


class InteractionGraph:
    """The bipartite graph of a training part, between the rows of both id tables."""

    def __init__(self, train: Interactions, device: torch.device) -> None:
        """Rows are vocabulary nums; padding and OOV rows have no edge.

        Not covered: weights of edges; a pair that occurs twice counts once.
        """
        known = train.item_num >= 0
        num_users, num_items = train.users.end_warm, train.items.end_warm
        pairs = np.unique(
            train.user_num[known].astype(np.int64) * num_items + train.item_num[known]
        )
        users, items = pairs // num_items, pairs % num_items
        by_user = Ragged.group(users, items, num_users)
        by_item = Ragged.group(items, users, num_items)
        self.items_of_user = _adjacency(by_user, device)
        self.users_of_item = _adjacency(by_item, device)
        self.user_scale = _inverse_root(by_user, device)
        self.item_scale = _inverse_root(by_item, device)

    def smooth(self, users: Tensor, items: Tensor, num_layers: int) -> tuple[Tensor, Tensor]:
        """The mean of a table and its `num_layers` smoothings, for both sides.

        Args:
            users: (U, D) the user id table, a row a vocabulary num.
            items: (I, D) the item id table.
            num_layers: 0 gives the tables back.

        Returns:
            Tables of the same shapes, with gradients to both. A row without an edge keeps
            1 / (num_layers + 1) of its own vector.
        """
        total_users, total_items = users, items
        for _ in range(num_layers):
            users, items = (
                self.user_scale
                * _sum_of_neighbours(
                    self.item_scale * items, self.items_of_user, self.users_of_item
                ),
                self.item_scale
                * _sum_of_neighbours(
                    self.user_scale * users, self.users_of_item, self.items_of_user
                ),
            )
            total_users, total_items = total_users + users, total_items + items
        return total_users / (num_layers + 1), total_items / (num_layers + 1)


def _adjacency(lists: Ragged, device: torch.device) -> Adjacency:
    neighbours = torch.from_numpy(lists.values.astype(np.int64))
    return Adjacency(torch.from_numpy(lists.offsets).to(device), neighbours.to(device))


def _inverse_root(lists: Ragged, device: torch.device) -> Tensor:
    degrees = torch.from_numpy(lists.lengths).to(device, torch.float32)
    return degrees.clamp(min=1).rsqrt()[:, None]
