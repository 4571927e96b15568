"""Many lists of integers in two flat arrays: histories, seen items, relevant items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.distinct import distinct_values
from twotower.data.arrays.workspace import BLOCK


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
        return Ragged.of_sorted(keys, values[order], num_lists)

    @staticmethod
    def of_sorted(keys: NDArray[np.integer], values: NDArray[np.integer], num_lists: int) -> Ragged:
        """As `group`, of `values` (T,) that are in the order of their keys already, and are not
        copied if they are int32; `keys` (T,) in any order."""
        offsets = np.zeros(num_lists + 1, dtype=np.int64)
        np.cumsum(count(keys, num_lists), out=offsets[1:])
        return Ragged(offsets, values.astype(np.int32, copy=False))

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

    def tolist(self) -> list[list[int]]:
        """The values of each list."""
        return [values.tolist() for values in self]

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
        lengths, parts = np.zeros(len(self), dtype=np.int64), [np.zeros(0, dtype=np.int32)]
        for first, end in self._stretches():
            some = self._between(first, end)
            # 1 is added as a value may be -1.
            found = distinct_values(some.keys() * width + some.values + 1)
            keys, values = np.divmod(found, width)
            lengths[first:end] = np.bincount(keys, minlength=end - first)
            parts.append((values - 1).astype(np.int32))
        offsets = np.zeros(len(self) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return Ragged(offsets, np.concatenate(parts))

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """Neighbouring lists [first, end) with about a block of values together, one after the
        other."""
        first = 0
        while first < len(self):
            last = np.searchsorted(self.offsets, self.offsets[first] + BLOCK, side="right") - 1
            end = max(int(last), first + 1)
            yield first, end
            first = end

    def _between(self, first: int, end: int) -> Ragged:
        """The lists first .. end - 1."""
        offsets = self.offsets[first : end + 1]
        return Ragged(offsets - offsets[0], self.values[offsets[0] : offsets[-1]])


def count(keys: NDArray[np.integer], number: int) -> NDArray[np.int64]:
    """How often each of 0 .. number - 1 is among keys (T,), of which none is larger; negative ones
    are passed over."""
    counts = np.zeros(number, dtype=np.int64)
    for start in range(0, len(keys), BLOCK):
        some = keys[start : start + BLOCK]
        counts += np.bincount(some[some >= 0], minlength=number)
    return counts
