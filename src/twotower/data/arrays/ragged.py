"""Many lists of integers in two flat arrays: histories, seen items, relevant items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Ragged:
    """`values[offsets[i]:offsets[i + 1]]` is list `i`.

    Attributes:
        offsets: (num_lists + 1,) int64, non-decreasing, starts at 0.
        values: (total,) int32.
    """

    offsets: NDArray[np.int64]
    values: NDArray[np.int32]

    @staticmethod
    def group(keys: NDArray[np.integer], values: NDArray[np.integer], num_lists: int) -> Ragged:
        """Collect `values` by `keys`, the order inside a list being the order of the rows.

        Shapes: keys, values (T,); every key in [0, num_lists).
        """
        order = np.argsort(keys, kind="stable")
        counts = np.bincount(keys, minlength=num_lists)
        offsets = np.zeros(num_lists + 1, dtype=np.int64)
        np.cumsum(counts, out=offsets[1:])
        return Ragged(offsets, values[order].astype(np.int32, copy=False))

    @staticmethod
    def empty(num_lists: int) -> Ragged:
        """`num_lists` lists without a value."""
        return Ragged(np.zeros(num_lists + 1, dtype=np.int64), np.zeros(0, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, num: int) -> NDArray[np.int32]:
        return self.values[self.offsets[num] : self.offsets[num + 1]]

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        return (self[num] for num in range(len(self)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(num_lists,) number of values of each list."""
        return np.diff(self.offsets)

    def bounds(self, nums: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the lists of `nums` (Q,) start in `values`, and their lengths; a num without a list
        (negative, or beyond the last) has length 0."""
        known = (nums >= 0) & (nums < len(self))
        safe = np.where(known, nums, 0) if len(self) else np.zeros(len(nums), dtype=np.int64)
        starts = self.offsets[safe]
        lengths = np.where(known, self.offsets[safe + 1] - starts, 0) if len(self) else 0 * safe
        return starts, lengths

    def take(self, nums: NDArray[np.integer]) -> Ragged:
        """The lists of `nums` (Q,), in that order, as `bounds` finds them."""
        starts, lengths = self.bounds(nums)
        offsets = np.zeros(len(nums) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        return Ragged(offsets, self.values[np.repeat(starts, lengths) + within])

    def merge(self, other: Ragged) -> Ragged:
        """List by list, these values and then the other's; both have the same number of lists."""
        keys = np.concatenate([self.keys(), other.keys()])
        return Ragged.group(keys, np.concatenate([self.values, other.values]), len(self))

    def keys(self) -> NDArray[np.int64]:
        """(total,) the list that each value belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def distinct(self) -> Ragged:
        """The different values of each list, ascending."""
        width = 2 + int(self.values.max(initial=0))
        # 1 is added as a value may be -1.
        keys, values = np.divmod(np.unique(self.keys() * width + self.values + 1), width)
        return Ragged.group(keys, values - 1, len(self))
