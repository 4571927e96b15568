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

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from twotower.data.arrays.distinct import distinct_values
from twotower.data.arrays.ragged import Ragged
from twotower.data.dataset.interactions import Interactions
from twotower.models.layers.rounding import in_precision_of
from twotower.parallel.processes import ONE, ProcessGroup
from twotower.parallel.shards import Shards

RECEIVERS_AT_ONCE: Final = 4096
"""Rows whose sums are found at once on a CPU: a megabyte."""
SENDERS_AT_ONCE, EDGES_OF_A_RECEIVER = 32_768, 5
"""Rows that are read at once on a CPU, 8 MB, where a row that receives has on average at least so
many neighbours among them; at most twice as many rows."""


class _Block(NamedTuple):
    """Edges from some rows of the other side, which are in the cache while they are read.

    Attributes:
        first: of these rows.
        end: behind the last of them.
        rows: (B,) int64 the rows that they are neighbours of.
        offsets: (B + 1,) int32 where the neighbours of each begin.
        neighbours: (edges,) int32 rows of the other side, counted from `first`.
    """

    first: int
    end: int
    rows: Tensor
    offsets: Tensor
    neighbours: Tensor


class _Side:
    """Users or items, R of them, and what each is connected with.

    Attributes:
        scale: (R, 1) one over the root of the number of neighbours, 1 without one.
    """

    def __init__(self, lists: Ragged, device: torch.device) -> None:
        """Of R lists of rows of the other side."""
        degrees = torch.from_numpy(lists.lengths).to(device, torch.float32)
        self.scale = degrees.clamp(min=1).rsqrt()[:, None]
        on_cpu = device.type == "cpu"
        self.height = RECEIVERS_AT_ONCE if on_cpu else len(lists)
        self.blocks: list[_Block] = []
        others = int(lists.values.max(initial=0)) + 1
        height = senders_at_once(len(lists), others, len(lists.values))
        if on_cpu and height < others:
            self.blocks = list(_blocks(lists, others, height))
            return
        self.bounds = [*lists.offsets[: -1 : self.height].tolist(), len(lists.values)]
        """Where the edges of each `height` rows begin, and an end."""
        self.offsets = torch.from_numpy(lists.offsets).to(device)
        self.neighbours = torch.from_numpy(lists.values).to(device)

    def sums(self, vectors: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """The sums of each row's neighbours among vectors (R_other, W): rows, and sums (rows, W),
        some rows at a time, or all."""
        number = len(self.scale)
        if self.blocks:
            total = vectors.new_zeros(number, vectors.shape[1])
            for block in self.blocks:
                found = _sums(block.neighbours, vectors[block.first : block.end], block.offsets)
                total.index_add_(0, block.rows, found)
            yield slice(0, number), total
            return
        for place, start in enumerate(range(0, number, self.height)):
            rows = slice(start, min(start + self.height, number))
            offsets = (self.offsets[rows.start : rows.stop + 1] - self.bounds[place]).int()
            neighbours = self.neighbours[self.bounds[place] : self.bounds[place + 1]]
            yield rows, _sums(neighbours, vectors, offsets)


def _sums(neighbours: Tensor, vectors: Tensor, offsets: Tensor) -> Tensor:
    return F.embedding_bag(neighbours, vectors, offsets, mode="sum", include_last_offset=True)


def senders_at_once(rows: int, others: int, edges: int) -> int:
    """How many of the other side's rows are sent at once: few, to be in the cache, where each of
    the rows that receive has enough of them to be written to again and again; else all."""
    most = edges // (EDGES_OF_A_RECEIVER * max(rows, 1))
    height = max(SENDERS_AT_ONCE, -(-others // max(most, 1)))
    return height if height <= 2 * SENDERS_AT_ONCE < others else others


def _blocks(lists: Ragged, others: int, height: int) -> Iterator[_Block]:
    """The edges, so many rows of the other side at a time."""
    number = -(-others // height)
    of_edge = (lists.values // height).astype(np.uint16 if number < 1 << 16 else np.int64)
    order = np.argsort(of_edge, kind="stable")
    receivers, senders = lists.keys().astype(np.int32)[order], lists.values[order]
    ends = np.cumsum(np.bincount(of_edge, minlength=number))
    for place, (first, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        some = receivers[first:end]
        starts = np.flatnonzero(np.diff(some, prepend=-1))
        yield _Block(
            place * height,
            (place + 1) * height,
            torch.from_numpy(some[starts].astype(np.int64)),
            torch.from_numpy(np.append(starts, end - first).astype(np.int32)),
            torch.from_numpy(senders[first:end] - np.int32(place * height)),
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
        # Nothing is drawn before training: to the nearest numbers.
        self._set(self._changes())

    def update(self, step: int, steps: int) -> None:
        """Smooth if it is time; called after each step of an epoch, from 1 to `steps`."""
        if step % self.every == 0 or step == steps:
            self.smooth()

    @torch.no_grad()
    def smooth(self) -> None:
        """Replace the change by its smoothing."""
        self._set(
            in_precision_of(base, change.add_(base))
            for base, change in zip(self.bases, self._changes(), strict=True)
        )

    @torch.no_grad()
    def _changes(self) -> tuple[Tensor, Tensor]:
        users, items = (
            table.float() - base for table, base in zip(self.tables, self.bases, strict=True)
        )
        return self.graph.smooth(users, items, self.num_layers)

    @torch.no_grad()
    def _set(self, smoothed: Iterable[Tensor]) -> None:
        for table, base, values in zip(self.tables, self.bases, smoothed, strict=True):
            base.copy_(values)
            table.copy_(base)

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
        pairs = distinct_values(
            train.user_num[known].astype(np.int64) * num_items + train.item_num[known]
        )
        users, items = pairs // num_items, pairs % num_items
        self.users = _Side(self._neighbours(users, items, num_users, num_items), device)
        self.items = _Side(self._neighbours(items, users, num_items, num_users), device)

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

        With the matrix N of the neighbours, x + N x + N N x is x + N (x + N x): each layer adds the
        tables to the sums of what the layer before made of the other side.
        """
        now = users * self.users.scale, items * self.items.scale
        for left in reversed(range(num_layers)):
            received = [self.processes.gather_alike(table) for table in now]
            next_items = torch.empty_like(now[1])
            self._layer(received[0], items, self.items, left, out=next_items)
            # The users' vectors have been read: the next ones take their place.
            self._layer(received[1], users, self.users, left, out=now[0])
            now = now[0], next_items
        return now[0].div_(num_layers + 1), now[1].div_(num_layers + 1)

    def _layer(self, received: Tensor, table: Tensor, side: _Side, left: int, out: Tensor) -> None:
        """The sums of what is received, scaled, and the table; scaled once more to be sent on where
        layers are left."""
        for rows, found in side.sums(received):
            made = torch.addcmul(table[rows], found, side.scale[rows], out=out[rows])
            if left:
                made.mul_(side.scale[rows])
