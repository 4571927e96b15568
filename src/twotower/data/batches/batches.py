"""Interactions to batches of tensors: whole arrays are shuffled and sliced, no per-row Python.

A batch holds P target positions a query, with a mask. A plain pair is P = 1; a user with all of
their items is P = the longest list (cut into several queries beyond a length); with a history each
target is predicted from the events before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.dataset.entities import Features, at_positions
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.histories import History, is_grouped
from twotower.errors import TrainingError, explain
from twotower.parallel.shards import Shards

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Batch:
    """B queries with up to P targets each.

    Attributes:
        user_num: (B,) int64.
        item_num: (B, P) int64, 0 where the mask is False.
        mask: (B, P) bool.
        weight: (B, P) float32, of each target.
        context: name -> encoded context features (B, ...), or, with a history, tensors (B, P, ...),
            in which lists are padded.
        history: (B, P) of the events before each target, where the query tower reads them.
    """

    user_num: Tensor
    item_num: Tensor
    mask: Tensor
    weight: Tensor
    context: Features
    history: History | None = None

    def __len__(self) -> int:
        return len(self.user_num)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(
            self.user_num.to(device),
            self.item_num.to(device),
            self.mask.to(device),
            self.weight.to(device),
            {name: column.to(device) for name, column in self.context.items()},
            None if self.history is None else self.history.to(device),
        )

    @property
    def num_targets(self) -> int:
        """Targets that count."""
        return int(self.mask.sum())

    @property
    def has_single_targets(self) -> bool:
        """Whether each query has one target, P = 1."""
        return self.item_num.shape[1] == 1

    def by_target(self) -> Batch:
        """The T targets as one query each, without what distinguishes a user's queries."""
        rows, _ = self.mask.nonzero(as_tuple=True)
        item_num = self.item_num[self.mask][:, None]
        return Batch(
            user_num=self.user_num[rows],
            item_num=item_num,
            mask=torch.ones_like(item_num, dtype=torch.bool),
            weight=self.weight[self.mask][:, None],
            context={},
        )


class Batches(Protocol):
    """A source of batches that gives the same epoch for the same seed and number."""

    def __len__(self) -> int:
        """Batches an epoch."""
        ...

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch, shuffled by (seed, number)."""
        ...


class PairBatches:
    """One query a row (P = 1)."""

    def __init__(
        self,
        interactions: Interactions,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | None = None,
        shards: Shards | None = None,
    ) -> None:
        """`device`: keeps the rows and makes the batches, in an order that depends on its kind.
        Default: the CPU. `shards`: as in `OwnQueries`."""
        part = of_known_items(interactions)
        self.own = OwnQueries(part.user_num, shards)
        part = self.own.rows_of(part)
        self.user_num = torch.from_numpy(part.user_num).to(device)
        self.item_num = torch.from_numpy(part.item_num).to(device)
        self.weight = torch.from_numpy(part.weight).to(device)
        self.context = {name: column.to(device) for name, column in part.context.items()}
        self.batch_size = batch_size
        self.seed = seed

    def __len__(self) -> int:
        return (self.own.total + self.batch_size - 1) // self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """Every row once, in a random order."""
        seed, device = (self.seed, number), self.user_num.device
        for chosen in _shuffled(self.own.total, self.batch_size, seed, device):
            rows = self.own.among(chosen)
            items = self.item_num[rows, None].long()
            yield Batch(
                user_num=self.user_num[rows].long(),
                item_num=items,
                mask=torch.ones_like(items, dtype=torch.bool),
                weight=self.weight[rows, None],
                context={name: column[rows] for name, column in self.context.items()},
            )


class UserBatches:
    """One query a user with all of the user's items as targets; a user with more than
    `max_targets` becomes several queries. For query towers that see no context of the single
    interaction."""

    MAX_TARGETS = 64

    def __init__(
        self,
        interactions: Interactions,
        *,
        batch_size: int,
        seed: int,
        max_targets: int = MAX_TARGETS,
        shards: Shards | None = None,
    ) -> None:
        """`shards`: as in `OwnQueries`."""
        part = of_known_items(interactions)
        user_num, item_num, weight = part.user_num, part.item_num, part.weight
        if not is_grouped(user_num, None):
            order = np.argsort(user_num, kind="stable")
            user_num, item_num, weight = user_num[order], item_num[order], weight[order]
        self.windows = _windows(user_num, max_targets)
        self.own = OwnQueries(self.windows.user_num.numpy(), shards)
        self.lengths = self.windows.length
        if self.own.places is not None:
            rows = self.own.shards.has(user_num)
            item_num, weight = item_num[rows], weight[rows]
            self.windows = _windows(user_num[rows], max_targets)
        self.item_num = torch.from_numpy(item_num)
        self.weight = torch.from_numpy(weight)
        self.batch_size = batch_size
        self.seed = seed

    def __len__(self) -> int:
        return (self.own.total + self.batch_size - 1) // self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """Every query once, in a random order."""
        for drawn in _shuffled(self.own.total, self.batch_size, (self.seed, number)):
            chosen = self.own.among(drawn)
            # Whether queries have single targets is the same for all processes.
            rows, mask = self.windows.rows(chosen, min(int(self.lengths[drawn].max()), 2))
            yield Batch(
                user_num=self.windows.user_num[chosen],
                item_num=torch.where(mask, self.item_num[rows].long(), 0),
                mask=mask,
                weight=torch.where(mask, self.weight[rows], 0.0),
                context={},
            )


class SequenceBatches:
    """One query a user with the user's history; each event is a target, predicted from those
    before it. A user with more than `max_length` events becomes several queries; the first event of
    a later one is not a target, because the events before it are not read.

    Without times the order of a user's events is drawn anew in each epoch.
    """

    def __init__(
        self,
        interactions: Interactions,
        *,
        batch_size: int,
        seed: int,
        max_length: int,
        shards: Shards | None = None,
    ) -> None:
        """`shards`: as in `OwnQueries`."""
        part = of_known_items(interactions)
        if not is_grouped(part.user_num, part.timestamp, part.nanosecond):
            part = part.take(part.order_by_user())
        self.users_of_rows = part.user_num
        self.windows = _windows(part.user_num, max_length)
        self.own = OwnQueries(self.windows.user_num.numpy(), shards)
        if self.own.places is not None:
            part = part.take(np.flatnonzero(self.own.shards.has(part.user_num)))
            self.windows = _windows(part.user_num, max_length)
        self.part = part
        self.histories = self.part.histories()
        self.weight = torch.from_numpy(self.part.weight)
        self.batch_size = batch_size
        self.seed = seed

    def __len__(self) -> int:
        return (self.own.total + self.batch_size - 1) // self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """Every query once, in a random order."""
        order = self._order(number)
        values = torch.from_numpy(self.histories.items.values)
        for drawn in _shuffled(self.own.total, self.batch_size, (self.seed, number)):
            chosen = self.own.among(drawn)
            places, there = self.windows.rows(chosen)
            rows = places if order is None else order[places]
            mask = there.clone()
            mask[:, 0] &= self.windows.is_first[chosen]
            # Position p is predicted from the events before it: its history is one position behind.
            before = torch.cat([torch.full_like(rows[:, :1], -1), rows[:, :-1]], dim=1)
            before = torch.where(there, before, -1)
            yield Batch(
                user_num=self.windows.user_num[chosen],
                item_num=torch.where(mask, values[rows].long(), 0),
                mask=mask,
                weight=torch.where(mask, self.weight[rows], 0.0),
                context={
                    name: at_positions(column, rows) for name, column in self.part.context.items()
                },
                history=self.histories.read(before.numpy(), there.numpy()),
            )

    def _order(self, number: int) -> Tensor | None:
        """(T,) the rows in the order of this epoch, each user's in their places; None for the order
        that they have."""
        if self.part.timestamp is not None:
            return None
        drawn = np.random.default_rng((self.seed, number, 1)).random(len(self.users_of_rows))
        if self.own.places is not None:
            drawn = drawn[self.own.shards.has(self.users_of_rows)]
        return torch.from_numpy(np.lexsort((drawn, self.part.user_num)))


class OwnQueries:
    """Which of the Q queries of an epoch this process has: those of the users whose rows it has.

    Attributes:
        total: Q, of all processes.
        places: (Q,) int64 the place of each among this process's queries, -1 for those of others;
            None where it has all.
    """

    def __init__(self, user_num: NDArray[np.integer], shards: Shards | None) -> None:
        """Of the users `user_num` (Q,); without shards all.

        Raises:
            TrainingError: this process has none.
        """
        self.total = len(user_num)
        self.places: Tensor | None = None
        if shards is None or not shards.processes.are_several:
            return
        self.shards = shards
        mine = shards.has(user_num)
        if not mine.any():
            raise TrainingError(
                explain(
                    f"process {shards.processes.rank + 1} of {shards.processes.size} has no user "
                    "to learn from",
                    fix="start fewer processes",
                )
            )
        self.places = torch.from_numpy(np.where(mine, np.cumsum(mine) - 1, -1))

    def rows_of(self, part: Interactions) -> Interactions:
        """This process's rows of a part (Q rows)."""
        if self.places is None:
            return part
        return part.take(np.flatnonzero(self.places.numpy() >= 0))

    def among(self, chosen: Tensor) -> Tensor:
        """The places of this process's queries among some (B,); there may be none."""
        if self.places is None:
            return chosen
        found = self.places.to(chosen.device)[chosen]
        return found[found >= 0]


def of_known_items(interactions: Interactions) -> Interactions:
    """The rows whose item is in the catalogue; the same rows, not copied, where all are."""
    if interactions.item_num.min(initial=0) >= 0:
        return interactions
    return interactions.take(np.flatnonzero(interactions.item_num >= 0))


class _Windows(NamedTuple):
    """Stretches of rows of one user each, W of them.

    Attributes:
        user_num: (W,).
        start: (W,) the first row.
        length: (W,).
        is_first: (W,) whether it holds the user's first row.
    """

    user_num: Tensor
    start: Tensor
    length: Tensor
    is_first: Tensor

    def rows(self, chosen: Tensor, least: int = 1) -> tuple[Tensor, Tensor]:
        """The rows of some windows (B,), as (B, P), 0 where the mask (B, P) is False; P is at least
        `least`."""
        length = self.length[chosen]
        place = torch.arange(max(least, int(length.max()) if len(length) else 0))
        mask = place < length[:, None]
        return torch.where(mask, self.start[chosen, None] + place, 0), mask


def _windows(user_num: NDArray[np.integer], size: int) -> _Windows:
    """Rows sorted by user (T,) cut into windows of at most `size`, from each user's last row on."""
    is_new = np.ones(len(user_num), dtype=np.bool_)
    np.not_equal(user_num[1:], user_num[:-1], out=is_new[1:])
    starts = np.flatnonzero(is_new)
    users, counts = user_num[starts], np.diff(starts, append=len(user_num))
    number = -(-counts // size)
    owner = np.repeat(np.arange(len(users)), number)
    after = np.repeat(np.cumsum(number), number) - 1 - np.arange(number.sum())
    end = np.cumsum(counts)[owner] - after * size
    first = (np.cumsum(counts) - counts)[owner]
    start = np.maximum(end - size, first)
    return _Windows(
        user_num=torch.from_numpy(users[owner].astype(np.int64)),
        start=torch.from_numpy(start),
        length=torch.from_numpy(end - start),
        is_first=torch.from_numpy(start == first),
    )


def _shuffled(
    number: int, size: int, seed: tuple[int, int], device: torch.device = CPU
) -> Iterator[Tensor]:
    """All of 0 .. number - 1 in a random order, `size` at a time."""
    if device == CPU:
        order = torch.from_numpy(np.random.default_rng(seed).permutation(number))
    else:
        drawn = int(np.random.SeedSequence(seed).generate_state(1)[0])
        generator = torch.Generator(device).manual_seed(drawn)
        order = torch.randperm(number, generator=generator, device=device)
    for start in range(0, number, size):
        yield order[start : start + size]
