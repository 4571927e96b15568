"""Interactions to batches of tensors: whole arrays are shuffled and sliced, no per-row Python.

A batch holds P target positions a query, with a mask. A plain pair is P = 1; a user with all of
their items is P = the longest list (cut into several queries beyond `max_targets`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from twotower.data.entities import Features
from twotower.data.interactions import Interactions


@dataclass(frozen=True)
class Batch:
    """B queries with up to P targets each.

    Attributes:
        user_num: (B,) int64.
        item_num: (B, P) int64, 0 where the mask is False.
        mask: (B, P) bool.
        weight: (B, P) float32, of each target.
        context: name -> encoded context features (B, ...).
    """

    user_num: Tensor
    item_num: Tensor
    mask: Tensor
    weight: Tensor
    context: Features

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
        )

    @property
    def num_targets(self) -> int:
        """Targets that count."""
        return int(self.mask.sum())


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

    def __init__(self, interactions: Interactions, *, batch_size: int, seed: int) -> None:
        known = interactions.item_num >= 0
        rows = np.flatnonzero(known)
        self.user_num = torch.from_numpy(interactions.user_num[rows].astype(np.int64))
        self.item_num = torch.from_numpy(interactions.item_num[rows].astype(np.int64))
        self.weight = torch.from_numpy(interactions.weight[rows])
        self.context = {name: column[rows] for name, column in interactions.context.items()}
        self.batch_size = batch_size
        self.seed = seed

    def __len__(self) -> int:
        return (len(self.user_num) + self.batch_size - 1) // self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """Every row once, in a random order."""
        for rows in _shuffled(len(self.user_num), self.batch_size, (self.seed, number)):
            items = self.item_num[rows, None]
            yield Batch(
                user_num=self.user_num[rows],
                item_num=items,
                mask=torch.ones_like(items, dtype=torch.bool),
                weight=self.weight[rows, None],
                context={name: column[rows] for name, column in self.context.items()},
            )


class UserBatches:
    """One query a user with all of the user's items as targets; a user with more than
    `max_targets` becomes several queries. For query towers that see no context of the single
    interaction."""

    def __init__(
        self, interactions: Interactions, *, batch_size: int, seed: int, max_targets: int = 64
    ) -> None:
        known = np.flatnonzero(interactions.item_num >= 0)
        order = known[np.argsort(interactions.user_num[known], kind="stable")]
        self.item_num = torch.from_numpy(interactions.item_num[order].astype(np.int64))
        self.weight = torch.from_numpy(interactions.weight[order])
        users, counts = np.unique(interactions.user_num[order], return_counts=True)
        chunks = -(-counts // max_targets)
        starts = np.repeat(np.cumsum(counts) - counts, chunks)
        within = np.arange(chunks.sum()) - np.repeat(np.cumsum(chunks) - chunks, chunks)
        self.user_num = torch.from_numpy(np.repeat(users, chunks).astype(np.int64))
        self.start = torch.from_numpy(starts + within * max_targets)
        left = np.repeat(counts, chunks) - within * max_targets
        self.length = torch.from_numpy(np.minimum(left, max_targets))
        self.batch_size = batch_size
        self.seed = seed

    def __len__(self) -> int:
        return (len(self.user_num) + self.batch_size - 1) // self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """Every query once, in a random order."""
        for rows in _shuffled(len(self.user_num), self.batch_size, (self.seed, number)):
            length = self.length[rows]
            place = torch.arange(int(length.max()))
            mask = place < length[:, None]
            flat = torch.where(mask, self.start[rows, None] + place, 0)
            yield Batch(
                user_num=self.user_num[rows],
                item_num=torch.where(mask, self.item_num[flat], 0),
                mask=mask,
                weight=torch.where(mask, self.weight[flat], 0.0),
                context={},
            )


def _shuffled(number: int, size: int, seed: tuple[int, int]) -> Iterator[Tensor]:
    """All of 0 .. number - 1 in a random order, `size` at a time."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(number))
    for start in range(0, number, size):
        yield order[start : start + size]
