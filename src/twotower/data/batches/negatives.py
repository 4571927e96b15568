"""Samplers of negative items, each with its log q.

log q of an item is the log of the expected number of times that it occurs in the sample. A
candidate that is expected q times stands for 1 / q items;
the softmax losses subtract log q from its score.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from twotower.data.arrays.ragged import Ragged
from twotower.data.batches.known_pairs import KnownPairs


class NegativeSampler(Protocol):
    """Draws item nums, with replacement."""

    def sample(self, num: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """`num` item nums (num,) int64 and the log q (num,) float32 of each."""
        ...

    def logq(self, item_num: Tensor, num: int) -> Tensor:
        """log q of items (...) in a sample of `num`; -inf for an item that is never drawn."""
        ...


class UniformSampler:
    """Every item with the same chance: q = num / N."""

    def __init__(self, item_nums: Tensor) -> None:
        """`item_nums` (N,): the items to draw from, at least one."""
        if not len(item_nums):
            raise ValueError(
                "The 'item_nums' parameter must hold at least one item. Got none instead."
            )
        self.item_nums = item_nums

    def sample(self, num: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """See `NegativeSampler`."""
        places = torch.randint(len(self.item_nums), (num,), generator=generator)
        return self.item_nums[places], torch.full((num,), self._logq(num))

    def logq(self, item_num: Tensor, num: int) -> Tensor:
        """See `NegativeSampler`."""
        there = torch.isin(item_num, self.item_nums)
        return torch.where(there, self._logq(num), -math.inf)

    def _logq(self, num: int) -> float:
        return math.log(num / len(self.item_nums))


class PopularitySampler:
    """Each item with a chance in proportion to count^power: q = num * count^power / sum."""

    def __init__(self, counts: Tensor, *, power: float = 1.0) -> None:
        """`counts` (R,): how often each item num occurs in training; one with 0 is never drawn."""
        weights = torch.where(counts > 0, counts.double() ** power, 0.0)
        if not float(weights.sum()) > 0:
            raise ValueError("The 'counts' parameter must hold a positive count. Got none instead.")
        chances = weights / weights.sum()
        self.log_chance = chances.log().float()
        # Only items that can be drawn, so that rounding at a step's edge cannot pick another.
        self.drawable = torch.nonzero(weights)[:, 0]
        self.steps = chances[self.drawable].cumsum(0)

    def sample(self, num: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """See `NegativeSampler`."""
        draws = torch.rand(num, generator=generator, dtype=torch.float64)
        places = torch.searchsorted(self.steps, draws, right=True).clamp(max=len(self.steps) - 1)
        item_num = self.drawable[places]
        return item_num, self.logq(item_num, num)

    def logq(self, item_num: Tensor, num: int) -> Tensor:
        """See `NegativeSampler`."""
        return self.log_chance[item_num] + math.log(num)


def in_batch_logq(counts: Tensor, batch_size: int) -> Tensor:
    """log q (R,) of each item num as another pair's item in a batch of `batch_size` training pairs.

    Args:
        counts: (R,) how often each item num occurs in training; -inf for one that never does.
        batch_size: pairs a batch; a pair has batch_size - 1 others.
    """
    chances = counts.double() / counts.sum().clamp(min=1)
    return (chances.log() + math.log(max(batch_size - 1, 1))).float()


def mixed_logq(first: Tensor, second: Tensor) -> Tensor:
    """log q of items in two samples taken together: the expected counts add (Yang et al. 2020)."""
    return torch.logaddexp(first, second)


class ListSampler:
    """One value of each user's list, uniformly: explicit negatives."""

    def __init__(self, lists: Ragged, *, num_items: int, device: torch.device) -> None:
        """`lists`: distinct item nums below `num_items`, a list a user."""
        self.starts = torch.from_numpy(lists.offsets[:-1]).to(device)
        self.lengths = torch.from_numpy(lists.lengths).to(device)
        # A value behind the last, so that an empty list at the end can be looked up.
        self.values = torch.from_numpy(np.append(lists.values, 0).astype(np.int64)).to(device)
        self.pairs = KnownPairs(
            lists.keys(), lists.values, num_users=len(lists), num_items=num_items, device=device
        )

    def has(self, user_num: Tensor) -> Tensor:
        """(T,) bool: whether the list of each user (T,) has a value."""
        return self.lengths[user_num] > 0

    def draw(self, user_num: Tensor) -> Tensor:
        """(T,) a value of the list of each user (T,); any item where it has none."""
        places = torch.rand(len(user_num), device=user_num.device) * self.lengths[user_num]
        last = (self.lengths[user_num] - 1).clamp(min=0)
        return self.values[self.starts[user_num] + places.long().minimum(last)]

    def chance(self, user_num: Tensor, item_num: Tensor) -> Tensor:
        """(T, C) the chance of each item (T, C) to be drawn for its user (T,)."""
        users = user_num[:, None].expand(item_num.shape)
        return self.pairs.contains(users, item_num) / self.lengths[users].clamp(min=1)
