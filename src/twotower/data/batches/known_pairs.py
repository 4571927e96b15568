"""Which users have which items, for many pairs at once, and negatives that they do not have."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.arrays.distinct import distinct_values

MAX_BITS_BYTES = 1 << 29
"""On a CPU, a table of bits larger than this becomes a sorted list of the pairs."""
ROUNDS = 50
"""How often a negative that the user has is drawn anew, in a table of bits; one that is left then
belongs to a user who has about everything."""


class KnownPairs:
    """A set of pairs (user, item): a bit a cell on a CPU where that fits, else sorted keys.

    With bits, negatives are drawn until the user does not have them. With sorted keys they are
    drawn by their place among the items that the user does not have: one search for each, and
    nothing that a GPU has to be waited for.
    """

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
        keys = distinct_values(user_num.astype(np.int64) * num_items + item_num)
        self.row_bytes = -(-num_items // 8)
        self.bits: Tensor | None = None
        on_cpu = device is None or device.type == "cpu"
        if on_cpu and num_users * self.row_bytes <= MAX_BITS_BYTES:
            self.bits = torch.from_numpy(self._bits(keys, num_users))
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
            (T, num) int64. A user who has all items gets any of them; with bits, so may one who has
            almost all, see `ROUNDS`.
        """
        device = user_num.device
        if self.bits is None:
            chances = torch.rand(
                (len(user_num), num), generator=generator, dtype=torch.float64, device=device
            )
            return self._others(user_num, chances, first, end)
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

    def _others(self, user_num: Tensor, chances: Tensor, first: int, end: int) -> Tensor:
        """Of users (T,) and chances (T, num) in [0, 1), items first .. end - 1 that the user does
        not have, in ascending order of the chance."""
        pairs = self.keys
        assert pairs is not None
        start = torch.searchsorted(pairs, user_num * self.num_items)

        def missing_below(item_num: int) -> Tensor:
            """(T,) how many of the items 0 .. item_num - 1 the user does not have."""
            keys = user_num * self.num_items + item_num
            return item_num - (torch.searchsorted(pairs, keys) - start)

        low, high = missing_below(first)[:, None], missing_below(end)[:, None]
        place = low + (chances * (high - low)).long()
        keys = user_num[:, None] * self.num_items + place
        passed = torch.searchsorted(self.places_among_missing, keys, right=True) - start[:, None]
        return torch.where(high > low, place + passed, first + (chances * (end - first)).long())

    @cached_property
    def places_among_missing(self) -> Tensor:
        """The keys (T,) with each item replaced by how many items before it the user lacks; in the
        same order."""
        assert self.keys is not None
        users = self.keys.div(self.num_items, rounding_mode="floor")
        start = torch.searchsorted(self.keys, users * self.num_items)
        return self.keys - (torch.arange(len(self.keys), device=self.keys.device) - start)
