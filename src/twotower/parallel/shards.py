"""Which process has which rows of a table.

Rows are dealt out like cards into `CLASSES` classes, so that the popular ones, which often stand
together, are spread; the classes lie one behind the other, and each process has a stretch of equal
length. The order of rows within the whole does not depend on the number of processes, so that a
checkpoint of two can be read by four.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.parallel.processes import ProcessGroup

CLASSES: Final = 256
Nums = TypeVar("Nums", Tensor, NDArray[np.int64])


@dataclass(frozen=True)
class Shards:
    """The R rows of a table, dealt out to W processes.

    Attributes:
        num_rows: R.
        processes: W of them, this one among them.
    """

    num_rows: int
    processes: ProcessGroup

    @property
    def classes(self) -> int:
        """Into which rows are dealt."""
        return max(min(CLASSES, self.num_rows), 1)

    @property
    def per_class(self) -> int:
        """Rows of a class; some may be missing from the last ones."""
        return -(-self.num_rows // self.classes)

    @property
    def num_positions(self) -> int:
        """Of all rows, those that are missing included: at least R."""
        return self.classes * self.per_class

    @property
    def capacity(self) -> int:
        """Rows of each process, some unused: C."""
        return -(-self.num_positions // self.processes.size)

    @property
    def start(self) -> int:
        """The first position of this process."""
        return self.processes.rank * self.capacity

    def position(self, nums: Nums) -> Nums:
        """(...) int64 row numbers to places in the order in which rows are dealt out."""
        return nums % self.classes * self.per_class + nums // self.classes

    def owner(self, nums: Nums) -> Nums:
        """(...) int64 row numbers to the processes that have them."""
        return self.position(nums) // self.capacity

    def local(self, nums: Nums) -> Nums:
        """(...) int64 row numbers that this process has to places 0 .. C - 1."""
        return self.position(nums) - self.start

    def has(self, nums: NDArray[np.integer]) -> NDArray[np.bool_]:
        """(...) bool, which of some rows this process has."""
        mine: NDArray[np.bool_] = self.owner(nums.astype(np.int64)) == self.processes.rank
        return mine

    @cached_property
    def own(self) -> Tensor:
        """(C,) the row at each place of this process, -1 where there is none."""
        return self.nums(self.processes.rank)

    def nums(self, rank: int) -> Tensor:
        """The same of any process."""
        positions = rank * self.capacity + torch.arange(self.capacity)
        nums = positions % self.per_class * self.classes + positions // self.per_class
        return torch.where((positions < self.num_positions) & (nums < self.num_rows), nums, -1)

    def cut(self, table: Tensor) -> Tensor:
        """The rows (C, ...) of this process out of all (R, ...); 0 at unused places."""
        own = self.own.to(table.device)
        rows = table.index_select(0, own.clamp(min=0))
        rows[own < 0] = 0
        return rows

    def in_order(self, positions: Tensor) -> Tensor:
        """The rows (R, ...) in the order of their numbers, from those of all processes, one after
        the other, (at least `num_positions`, ...)."""
        nums = torch.arange(self.num_rows, device=positions.device)
        return positions.index_select(0, self.position(nums))

    def join(self, rows: Tensor) -> Tensor:
        """The rows (R, ...) of all processes, given this one's (C, ...); all processes."""
        return self.in_order(self.processes.gather(rows))
