"""What the users of a batch have taken, so that none of it is held against them.

A query with a single target would otherwise be told that its user's other items are wrong: a
history's place, that what came before it and will come after it is not liked, though it is what
shows the taste. Not so where what was seen may be recommended again: then it has to be ranked, too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from twotower.data.interactions import Interactions


class Taken(NamedTuple):
    """The items of some users, and whose query each is. Many queries share a user, whose items are
    looked up once.

    Attributes:
        rows: (H,) int64 the user of each item, a row of this batch's users, ascending.
        item_num: (H,) int64.
        owner: (B,) int64 the user of each query; left out, query b is that of user b.
    """

    rows: Tensor
    item_num: Tensor
    owner: Tensor | None = None

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Query, ascending, and item of each pair that is no negative."""
        return self.spread(self.rows, self.item_num)

    def spread(self, rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Values (V,) of users (V,), ascending, to the same of each of the user's queries."""
        if self.owner is None or not len(self.owner):
            return rows, values
        counts = torch.bincount(rows, minlength=int(self.owner.max()) + 1)
        starts = counts.cumsum(0) - counts
        queries, places = _ranges(starts[self.owner], counts[self.owner])
        return queries, values[places]


class TakenItems:
    """The training items of each user, on a device."""

    def __init__(self, train: Interactions, device: torch.device) -> None:
        known = train.take(np.flatnonzero(train.item_num >= 0))
        lists = known.by_user()
        self.offsets = torch.from_numpy(lists.offsets).to(device)
        self.item_num = torch.from_numpy(lists.values).to(device)

    def of(self, user_num: Tensor) -> Taken:
        """Of the users (B,) of B queries."""
        users, owner = torch.unique(user_num, return_inverse=True)
        starts = self.offsets[users]
        rows, places = _ranges(starts, self.offsets[users + 1] - starts)
        return Taken(rows, self.item_num[places].long(), owner)


def _ranges(starts: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """start, start + 1, ... of each, and which one it is of."""
    rows = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    shifts = starts - (counts.cumsum(0) - counts)
    return rows, shifts[rows] + torch.arange(len(rows), device=counts.device)
