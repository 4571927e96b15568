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
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.arrays.ragged import Ragged
from twotower.data.dataset.interactions import Interactions
from twotower.parallel.processes import ONE, ProcessGroup
from twotower.parallel.shards import Shards


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
    edges read the other way, which is much faster than a scatter. Where several processes share
    the rows, each first gets those of all."""

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, forth: Adjacency, back: Adjacency, processes: ProcessGroup
    ) -> Tensor:
        ctx.back, ctx.processes = back, processes
        return _sum(processes.gather_alike(vectors), forth)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return _sum(ctx.processes.gather_alike(gradients[0].contiguous()), ctx.back), *(None,) * 3


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

    def __init__(
        self, train: Interactions, device: torch.device, processes: ProcessGroup = ONE
    ) -> None:
        """Rows are vocabulary nums; padding and OOV rows have no edge. Where several processes
        share the rows of the tables, the graph has the edges of this one's.

        Not covered: weights of edges; a pair that occurs twice counts once.
        """
        self.processes = processes
        known = train.item_num >= 0
        num_users, num_items = train.users.end_warm, train.items.end_warm
        pairs = np.unique(
            train.user_num[known].astype(np.int64) * num_items + train.item_num[known]
        )
        users, items = pairs // num_items, pairs % num_items
        by_user = self._neighbours(users, items, num_users, num_items)
        by_item = self._neighbours(items, users, num_items, num_users)
        self.items_of_user = _adjacency(by_user, device)
        self.users_of_item = _adjacency(by_item, device)
        self.user_scale = _inverse_root(by_user, device)
        self.item_scale = _inverse_root(by_item, device)

    def _neighbours(
        self,
        rows: NDArray[np.int64],
        others: NDArray[np.int64],
        num_rows: int,
        num_others: int,
    ) -> Ragged:
        """The others that each row is paired with, both in the order in which tables hold them."""
        if not self.processes.are_several:
            return Ragged.group(rows, others, num_rows)
        shards = Shards(num_rows, self.processes)
        mine = shards.has(rows)
        places = Shards(num_others, self.processes).position(others[mine])
        return Ragged.group(shards.local(rows[mine]), places, shards.capacity)

    def _sum(self, vectors: Tensor, forth: Adjacency, back: Adjacency) -> Tensor:
        summed: Tensor = _SumOfNeighbours.apply(  # type: ignore[no-untyped-call]
            vectors, forth, back, self.processes
        )
        return summed

    def smooth(self, users: Tensor, items: Tensor, num_layers: int) -> tuple[Tensor, Tensor]:
        """The mean of a table and its `num_layers` smoothings, for both sides; all processes.

        Args:
            users: (U, D) the user id table, a row a vocabulary num, or this process's rows.
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
                * self._sum(self.item_scale * items, self.items_of_user, self.users_of_item),
                self.item_scale
                * self._sum(self.user_scale * users, self.users_of_item, self.items_of_user),
            )
            total_users, total_items = total_users + users, total_items + items
        return total_users / (num_layers + 1), total_items / (num_layers + 1)


def _adjacency(lists: Ragged, device: torch.device) -> Adjacency:
    neighbours = torch.from_numpy(lists.values.astype(np.int64))
    return Adjacency(torch.from_numpy(lists.offsets).to(device), neighbours.to(device))


def _inverse_root(lists: Ragged, device: torch.device) -> Tensor:
    degrees = torch.from_numpy(lists.lengths).to(device, torch.float32)
    return degrees.clamp(min=1).rsqrt()[:, None]
