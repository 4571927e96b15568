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

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from twotower.data.arrays.ragged import Ragged
from twotower.data.dataset.interactions import Interactions
from twotower.parallel.processes import ONE, ProcessGroup
from twotower.parallel.shards import Shards

RECEIVERS_AT_ONCE: Final = 4096
"""Rows whose sums are found at once on a CPU: a megabyte."""
SENDERS_AT_ONCE, EDGES_OF_A_RECEIVER = 32_768, 5
"""Rows that are read at once on a CPU, 8 MB, where a row that receives has on average at least so
many neighbours among them; at most twice as many rows."""


class _Edges(NamedTuple):
    """The edges of some rows that receive, grouped by these, as sums of bags read them.

    Attributes:
        offsets: (B + 1,) int32 where the neighbours of each begin.
        neighbours: (edges,) int32 rows of the other side.
        weights: (edges,) one over the root of the product of both rows' numbers of neighbours.
    """

    offsets: Tensor
    neighbours: Tensor
    weights: Tensor

    def sums(self, vectors: Tensor) -> Tensor:
        """(B, W) the weighted sums of each row's neighbours among vectors (R_other, W)."""
        return F.embedding_bag(
            self.neighbours,
            vectors,
            self.offsets,
            mode="sum",
            per_sample_weights=self.weights,
            include_last_offset=True,
        )


class _Block(NamedTuple):
    """Edges from some rows of the other side, which are in the cache while they are read.

    Attributes:
        first: of these rows.
        end: behind the last of them.
        rows: (B,) int64 the rows that they are neighbours of.
        edges: of these; the neighbours are counted from `first`.
    """

    first: int
    end: int
    rows: Tensor
    edges: _Edges


class _Side:
    """Users or items, and what each is connected with."""

    def __init__(self, lists: Ragged, degrees: NDArray[np.integer], device: torch.device) -> None:
        """Of lists of rows of the other side, which have so many neighbours (R_other,)."""
        self.num_rows = len(lists)
        weights = np.repeat(_scale(lists.lengths), lists.lengths)
        weights *= _scale(degrees)[lists.values]
        on_cpu = device.type == "cpu"
        self.height = RECEIVERS_AT_ONCE if on_cpu else len(lists)
        self.blocks: list[_Block] = []
        others = int(lists.values.max(initial=0)) + 1
        height = senders_at_once(len(lists), others, len(lists.values))
        if on_cpu and height < others:
            self.blocks = list(_blocks(lists, weights, others, height))
            return
        self.bounds = [*lists.offsets[: -1 : self.height].tolist(), len(lists.values)]
        """Where the edges of each `height` rows begin, and an end."""
        found = (lists.offsets, lists.values, weights)
        self.edges = _Edges(*(torch.from_numpy(array).to(device) for array in found))

    def sums(self, vectors: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """The weighted sums of each row's neighbours among vectors (R_other, W): rows, and sums
        (rows, W), some rows at a time, or all."""
        if self.blocks:
            total = vectors.new_zeros(self.num_rows, vectors.shape[1])
            for block in self.blocks:
                found = block.edges.sums(vectors[block.first : block.end])
                total.index_add_(0, block.rows, found)
            yield slice(0, self.num_rows), total
            return
        for place, start in enumerate(range(0, self.num_rows, self.height)):
            rows = slice(start, min(start + self.height, self.num_rows))
            some = slice(self.bounds[place], self.bounds[place + 1])
            offsets = (self.edges.offsets[rows.start : rows.stop + 1] - some.start).int()
            edges = _Edges(offsets, self.edges.neighbours[some], self.edges.weights[some])
            yield rows, edges.sums(vectors)


def _scale(degrees: NDArray[np.integer]) -> NDArray[np.float32]:
    """One over the root of numbers of neighbours; 1 without one."""
    scale: NDArray[np.float32] = np.maximum(degrees, 1).astype(np.float32) ** np.float32(-0.5)
    return scale


def senders_at_once(rows: int, others: int, edges: int) -> int:
    """How many of the other side's rows are sent at once: few, to be in the cache, where each of
    the rows that receive has enough of them to be written to again and again; else all."""
    most = edges // (EDGES_OF_A_RECEIVER * max(rows, 1))
    height = max(SENDERS_AT_ONCE, -(-others // max(most, 1)))
    return height if height <= 2 * SENDERS_AT_ONCE < others else others


def _blocks(
    lists: Ragged, weights: NDArray[np.float32], others: int, height: int
) -> Iterator[_Block]:
    """The edges, so many rows of the other side at a time."""
    number = -(-others // height)
    of_edge = (lists.values // height).astype(np.uint16 if number < 1 << 16 else np.int64)
    order = np.argsort(of_edge, kind="stable")
    receivers, senders = lists.keys().astype(np.int32)[order], lists.values[order]
    weights = weights[order]
    ends = np.cumsum(np.bincount(of_edge, minlength=number))
    for place, (first, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        some = receivers[first:end]
        starts = np.flatnonzero(np.diff(some, prepend=-1))
        yield _Block(
            place * height,
            (place + 1) * height,
            torch.from_numpy(some[starts].astype(np.int64)),
            _Edges(
                torch.from_numpy(np.append(starts, end - first).astype(np.int32)),
                torch.from_numpy(senders[first:end] - np.int32(place * height)),
                torch.from_numpy(weights[first:end]),
            ),
        )


class _Smoothing(torch.autograd.Function):
    """Both tables to their smoothing. Its matrix is symmetric, so that the gradients of the tables
    are the smoothing of the gradients."""

    @staticmethod
    def forward(
        ctx: Any, users: Tensor, items: Tensor, graph: InteractionGraph, num_layers: int
    ) -> tuple[Tensor, Tensor]:
        ctx.graph, ctx.num_layers = graph, num_layers
        return graph.smoothed(users, items, num_layers)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        users, items = gradients
        return *ctx.graph.smoothed(users, items, ctx.num_layers), None, None


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
        self.users = self._side(users, items, num_users, num_items, device)
        self.items = self._side(items, users, num_items, num_users, device)

    def _side(
        self,
        rows: NDArray[np.int64],
        others: NDArray[np.int64],
        num_rows: int,
        num_others: int,
        device: torch.device,
    ) -> _Side:
        """What each row is paired with, both in the order in which tables hold them."""
        degrees = np.bincount(others, minlength=num_others)
        if not self.processes.are_several:
            return _Side(Ragged.group(rows, others, num_rows), degrees, device)
        shards, of_others = Shards(num_rows, self.processes), Shards(num_others, self.processes)
        mine = shards.has(rows)
        places = of_others.position(others[mine])
        at_places = np.zeros(of_others.num_positions, dtype=np.int64)
        at_places[of_others.position(np.arange(num_others))] = degrees
        lists = Ragged.group(shards.local(rows[mine]), places, shards.capacity)
        return _Side(lists, at_places, device)

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
        if not num_layers:
            return users, items
        made: tuple[Tensor, Tensor] = _Smoothing.apply(  # type: ignore[no-untyped-call]
            users, items, self, num_layers
        )
        return made

    def smoothed(self, users: Tensor, items: Tensor, num_layers: int) -> tuple[Tensor, Tensor]:
        """`smooth`, of one layer or more, without gradients.

        With the matrix N of the weighted edges, x + N x + N N x is x + N (x + N x): each layer adds
        the tables to the sums of what the layer before made of the other side.
        """
        now = users, items
        for left in reversed(range(num_layers)):
            divisor = 1 if left else num_layers + 1
            received = [self.processes.gather_alike(table) for table in now]
            next_items = torch.empty_like(items)
            _layer(self.items, received[0], items, divisor, out=next_items)
            # The users' vectors have been read: after the first layer the next take their place.
            next_users = torch.empty_like(users) if now[0] is users else now[0]
            _layer(self.users, received[1], users, divisor, out=next_users)
            now = next_users, next_items
        return now


def _layer(side: _Side, received: Tensor, table: Tensor, divisor: int, out: Tensor) -> None:
    """The table and the sums of what is received, divided."""
    for rows, found in side.sums(received):
        made = torch.add(table[rows], found, out=out[rows])
        if divisor > 1:
            made.div_(divisor)
