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
    """H pairs of a query and an item that its user has.

    Attributes:
        rows: (H,) int64 the query, ascending.
        item_num: (H,) int64.
    """

    rows: Tensor
    item_num: Tensor


class TakenItems:
    """The training items of each user, on a device."""

    def __init__(self, train: Interactions, device: torch.device) -> None:
        known = train.take(np.flatnonzero(train.item_num >= 0))
        lists = known.by_user()
        self.offsets = torch.from_numpy(lists.offsets).to(device)
        self.item_num = torch.from_numpy(lists.values).to(device)

    def of(self, user_num: Tensor) -> Taken:
        """Of the users (B,) of B queries."""
        starts = self.offsets[user_num]
        counts = self.offsets[user_num + 1] - starts
        rows = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
        shifts = starts - (counts.cumsum(0) - counts)
        places = shifts[rows] + torch.arange(len(rows), device=counts.device)
        return Taken(rows, self.item_num[places].long())
