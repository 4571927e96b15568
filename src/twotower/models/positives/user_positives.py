"""The known positives of the users of a batch, to be masked as negatives.

A query with a single target would otherwise have its user's other items as negatives: at a position
of a history those before and after it, which are what the user likes. Where seen items may be
recommended again they are not masked, because then they have to be ranked, too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from twotower.data.batches.batches import of_known_items
from twotower.data.dataset.interactions import Interactions


class UserPositives(NamedTuple):
    """The items of some users, and which user each query is of. The many queries of a heavy user
    share one list: a list for each of them would grow with the square of the user's rows.

    Attributes:
        rows: (H,) int64 the user of each item, a row of this batch's users, ascending.
        item_num: (H,) int64.
        owner: (B,) int64 the user of each query. Default: query b is of user b.
    """

    rows: Tensor
    item_num: Tensor
    owner: Tensor | None = None


class PositivesOfUsers:
    """The distinct training items of each user, ascending, on a device."""

    def __init__(self, train: Interactions, device: torch.device) -> None:
        lists = of_known_items(train).by_user().distinct()
        self.offsets = torch.from_numpy(lists.offsets).to(device)
        self.item_num = torch.from_numpy(lists.values).to(device)

    def of(self, user_num: Tensor) -> UserPositives:
        """Of the users (B,) of B queries."""
        users, owner = torch.unique(user_num, return_inverse=True)
        starts = self.offsets[users]
        rows, places = ranges(starts, self.offsets[users + 1] - starts)
        return UserPositives(rows, self.item_num[places].long(), owner)


def ranges(starts: Tensor, counts: Tensor, total: int | None = None) -> tuple[Tensor, Tensor]:
    """Which one of R each is of (total,), and start, start + 1, ... of each (total,).

    Args:
        starts: (R,).
        counts: (R,) how many of each.
        total: their sum, where it is known.
    """
    every = torch.arange(len(counts), device=counts.device)
    rows = torch.repeat_interleave(every, counts, output_size=total)
    shifts = starts - (counts.cumsum(0) - counts)
    return rows, shifts[rows] + torch.arange(len(rows), device=counts.device)
