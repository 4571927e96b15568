"""Rows that others have: each process asks the owners, and answers what it is asked."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.parallel.shards import Shards


class Exchange:
    """One round of questions; all processes.

    Attributes:
        asked: (A,) int64 the rows that processes ask of this one, those of the first process first.
        asked_by: W numbers, how many each process asks.
    """

    def __init__(self, shards: Shards, nums: Tensor) -> None:
        """Ask for the rows `nums` (N,) int64, in any order, each preferably once."""
        processes = self.processes = shards.processes
        owner = shards.owner(nums)
        order = torch.argsort(owner, stable=True)
        self.back = torch.argsort(order)
        self.order = order
        counts = torch.bincount(owner, minlength=processes.size)
        even = [1] * processes.size
        self.asks = counts.tolist()
        self.asked_by: list[int] = processes.exchange(counts, even, even).tolist()
        self.asked = self.send(nums)

    def send(self, columns: Tensor) -> Tensor:
        """What belongs to this process's questions (N, ...), to the owners: (A, ...)."""
        ordered = columns.index_select(0, self.order)
        return self.processes.exchange(ordered, self.asks, self.asked_by)

    def answer(self, rows: Tensor) -> Tensor:
        """This process's answers (A, ...) to `asked`, to the answers (N, ...) to its own questions,
        with a gradient to those who gave them."""
        return self.processes.exchange(rows, self.asked_by, self.asks).index_select(0, self.back)

    def asker(self) -> Tensor:
        """(A,) the process that each question is from."""
        every = torch.arange(self.processes.size, device=self.asked.device)
        return torch.repeat_interleave(every, torch.tensor(self.asked_by, device=self.asked.device))
