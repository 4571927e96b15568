"""Which scores of a block are masked, found a block at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.models.positives.user_positives import UserPositives, ranges

DENSE = 8
"""From one masked score in so many on, a mask of the whole block is faster than a list of places,
and smaller."""


class BlockMasks:
    """The masked columns of queries, sorted by user and block of columns.

    The pairs of a query and a masked column are never all in memory: a user with many items has
    many queries, too, and each of them masks all of the items.
    """

    def __init__(
        self, masked: UserPositives, num_queries: int, width: int, num_blocks: int
    ) -> None:
        """Sort the columns.

        Args:
            masked: the columns that each user masks, in the place of items.
            num_queries: B.
            width: columns of a block; the last may have fewer.
            num_blocks: so many blocks hold all columns.
        """
        device = masked.rows.device
        owner = masked.owner
        self.owner = torch.arange(num_queries, device=device) if owner is None else owner
        self.num_blocks = num_blocks
        num_users = int(self.owner.max()) + 1 if num_queries else 0
        blocks, columns = masked.rows * num_blocks, masked.item_num
        if num_blocks > 1:
            blocks, order = (blocks + columns // width).sort()
            columns = (columns % width).index_select(0, order)
        self.columns = columns
        ends = torch.arange(num_users * num_blocks + 1, device=device)
        self.starts = torch.searchsorted(blocks, ends)

    def fill(self, scores: Tensor, first: int, place: int, value: float) -> None:
        """Set the masked scores (n, m) of queries first .. first + n - 1 in a block to a value."""
        owner = self.owner[first : first + len(scores)]
        block = owner * self.num_blocks + place
        starts = self.starts[block]
        counts = self.starts[block + 1] - starts
        number, width = int(counts.sum()), scores.shape[1]
        if not number:
            return
        if number * DENSE < scores.numel():
            rows, places = ranges(starts, counts, number)
            masked = rows * width + self.columns[places]
            scores.view(-1).index_fill_(0, masked, value)
            return
        users, row_of = torch.unique(owner, return_inverse=True)
        block = users * self.num_blocks + place
        starts = self.starts[block]
        rows, places = ranges(starts, self.starts[block + 1] - starts)
        mask = torch.zeros(len(users), width, dtype=torch.bool, device=scores.device)
        mask[rows, self.columns[places]] = True
        scores.masked_fill_(mask[row_of], value)
