"""How often the users of a batch interacted with which items, each user and each item once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from twotower.data.dataset.interactions import Interactions
from twotower.models.positives.user_positives import ranges


class BatchItemCounts(NamedTuple):
    """The training items of the U users of B queries.

    Attributes:
        item_num: (H,) the distinct items of the users, ascending for each user.
        times: (H,) float32, interactions with each.
        offsets: (U,) where each user's items start.
        totals: (U,) float32, rows of each user.
        owner: (B,) the user of each query.
        keys: (H,) ascending, of the pairs of a user and an item.
        width: of the keys: `user * width + item`.
    """

    item_num: Tensor
    times: Tensor
    offsets: Tensor
    totals: Tensor
    owner: Tensor
    keys: Tensor
    width: int

    def copies(self, users: Tensor, item_num: Tensor) -> Tensor:
        """(T,) float32 interactions of users (T,), of the U, with these items (T,)."""
        wanted = users * self.width + item_num
        places = torch.searchsorted(self.keys, wanted).clamp(max=len(self.keys) - 1)
        return torch.where(self.keys[places] == wanted, self.times[places], 0.0)


class UserItemCounts:
    """The training items of each user and the number of interactions with each, on a device.

    A user of a batch is looked up once, however many of its queries are in the batch, and an item
    once, however often the user interacted with it: else the cost of a user would grow with the
    square of the user's rows.
    """

    def __init__(self, train: Interactions, device: torch.device) -> None:
        lists = train.by_user()
        distinct = lists.distinct()
        self.width = len(train.items)
        wanted = distinct.keys() * self.width + distinct.values
        keys = np.sort(lists.keys() * self.width + lists.values)
        times = np.diff(np.searchsorted(keys, wanted), append=len(keys))
        self.offsets = torch.from_numpy(distinct.offsets).to(device)
        self.item_num = torch.from_numpy(distinct.values).to(device)
        self.times = torch.from_numpy(times.astype(np.float32)).to(device)
        self.totals = torch.from_numpy(lists.lengths.astype(np.float32)).to(device)

    def of(self, user_num: Tensor) -> BatchItemCounts:
        """Of the users (B,) of B queries."""
        users, owner = torch.unique(user_num, return_inverse=True)
        starts = self.offsets[users]
        counts = self.offsets[users + 1] - starts
        rows, places = ranges(starts, counts)
        item_num = self.item_num[places].long()
        return BatchItemCounts(
            item_num=item_num,
            times=self.times[places],
            offsets=counts.cumsum(0) - counts,
            totals=self.totals[users],
            owner=owner,
            keys=rows * self.width + item_num,
            width=self.width,
        )
