"""Which users have which items, for many pairs at once, and negatives that they do not have."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_BITS_BYTES = 1 << 29
"""A table of bits larger than this becomes a sorted list of the pairs."""
ROUNDS = 50
"""How often a negative that the user has is drawn anew; one that is left then belongs to a user who
has about everything."""


class KnownPairs:
    """A set of pairs (user, item): a bit a cell where that fits, else sorted keys."""

    def __init__(
        self,
        user_num: NDArray[np.integer],
        item_num: NDArray[np.integer],
        *,
        num_users: int,
        num_items: int,
        device: torch.device | None = None,
    ) -> None:
        """Keep the pairs (T,); user nums lie below `num_users`, item nums below `num_items`."""
        self.num_items = num_items
        keys = np.unique(user_num.astype(np.int64) * num_items + item_num)
        self.row_bytes = -(-num_items // 8)
        self.bits: Tensor | None = None
        if num_users * self.row_bytes <= MAX_BITS_BYTES:
            self.bits = torch.from_numpy(self._bits(keys, num_users)).to(device)
        self.keys = torch.from_numpy(keys).to(device) if self.bits is None else None

    def _bits(self, keys: NDArray[np.int64], num_users: int) -> NDArray[np.uint8]:
        users, items = np.divmod(keys, self.num_items)
        cells = users * self.row_bytes + (items >> 3)
        bits = np.zeros(num_users * self.row_bytes, dtype=np.uint8)
        starts = np.flatnonzero(np.diff(cells, prepend=-1))
        if len(starts):
            # Keys are distinct, so that the sum of a byte's bits is their union.
            values = np.left_shift(1, items & 7).astype(np.uint8)
            bits[cells[starts]] = np.add.reduceat(values, starts, dtype=np.uint8)
        return bits

    def contains(self, user_num: Tensor, item_num: Tensor) -> Tensor:
        """Pairs (...) to (...) bool."""
        if self.bits is not None:
            cells = (user_num * self.row_bytes + (item_num >> 3)).flatten()
            found = self.bits.index_select(0, cells).view(item_num.shape)
            return (found >> (item_num & 7)) & 1 == 1
        assert self.keys is not None
        if not len(self.keys):
            return torch.zeros_like(item_num, dtype=torch.bool)
        keys = user_num * self.num_items + item_num
        places = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        return self.keys[places] == keys

    def draw_others(
        self,
        user_num: Tensor,
        num: int,
        *,
        first: int,
        end: int,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Negatives: items first .. end - 1, uniform among those that the user does not have.

        Args:
            user_num: (T,).
            num: of each user.
            first, end: the items to draw from, at least one.
            generator: default: torch's own.

        Returns:
            (T, num) int64. A user who has almost all items may get one of them, see `ROUNDS`.
        """
        device = user_num.device
        drawn = torch.randint(first, end, (len(user_num), num), generator=generator, device=device)
        users = user_num[:, None].expand(-1, num).flatten()
        flat = drawn.view(-1)
        hits = self.contains(users, flat).nonzero()[:, 0]
        for _ in range(ROUNDS):
            if not len(hits):
                break
            again = torch.randint(first, end, (len(hits),), generator=generator, device=device)
            flat[hits] = again
            hits = hits[self.contains(users[hits], again)]
        return drawn
