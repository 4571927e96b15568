"""Many lists of nums in two flat tensors: encoded texts and `categories`, whose memory grows with
the number of terms, not with the longest row.

Shapes: R rows, T nums of all of them, M nums of the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class RaggedTensor:
    """`values[offsets[i]:offsets[i + 1]]` is row `i`, as in `Ragged`. Rows are taken as those of a
    tensor (R, ...) are: by a slice without a step, by their numbers from 0 on, by a mask.

    Attributes:
        offsets: (R + 1,) int64, non-decreasing, starts at 0.
        values: (T,) int32.
    """

    offsets: Tensor
    values: Tensor

    @staticmethod
    def of_padded(nums: Tensor) -> RaggedTensor:
        """Of nums (R, M), without those that are 0."""
        there = nums != 0
        return RaggedTensor(F.pad(there.sum(dim=1).cumsum(0), (1, 0)), nums[there].int())

    @staticmethod
    def concatenated(parts: Sequence[RaggedTensor]) -> RaggedTensor:
        """The rows of several, at least one."""
        lengths = torch.cat([part.lengths for part in parts])
        values = torch.cat([part.values for part in parts])
        return RaggedTensor(F.pad(lengths.cumsum(0), (1, 0)), values)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: slice | Tensor) -> RaggedTensor:
        """Some rows: a slice, numbers (Q,) or a mask (R,)."""
        if isinstance(rows, slice):
            first, end, _ = rows.indices(len(self))
            offsets = self.offsets[first : max(first, end) + 1]
            return RaggedTensor(offsets - offsets[0], self.values[offsets[0] : offsets[-1]])
        if rows.dtype == torch.bool:
            rows = rows.nonzero()[:, 0]
        return self.index_select(0, rows)

    def index_select(self, dim: int, rows: Tensor) -> RaggedTensor:
        """The rows `rows` (Q,), in that order; `dim` is 0."""
        assert dim == 0
        starts = self.offsets.index_select(0, rows)
        lengths = self.offsets.index_select(0, rows + 1) - starts
        offsets = F.pad(lengths.cumsum(0), (1, 0))
        places = torch.arange(int(offsets[-1]), device=rows.device)
        places += torch.repeat_interleave(starts - offsets[:-1], lengths, output_size=len(places))
        return RaggedTensor(offsets, self.values.index_select(0, places))

    @property
    def lengths(self) -> Tensor:
        """(R,) number of nums in each row."""
        return self.offsets.diff()

    @property
    def rows(self) -> Tensor:
        """(T,) the row that each num belongs to."""
        numbers = torch.arange(len(self), device=self.offsets.device)
        return torch.repeat_interleave(numbers, self.lengths, output_size=len(self.values))

    @property
    def shape(self) -> tuple[int, int]:
        """(R, M) of `padded`; M is at least 1."""
        return len(self), max(1, int(self.lengths.max()) if len(self) else 0)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.offsets.nbytes + self.values.nbytes

    def padded(self) -> Tensor:
        """(R, M) int64, padded with 0."""
        nums = self.offsets.new_zeros(self.shape)
        there = torch.arange(nums.shape[1], device=nums.device) < self.lengths[:, None]
        nums[there] = self.values.long()
        return nums

    def tolist(self) -> list[list[int]]:
        """The nums of each row."""
        return [row.tolist() for row in torch.split(self.values, self.lengths.tolist())]

    def to(self, device: torch.device | None) -> RaggedTensor:
        """The same rows on a device."""
        return RaggedTensor(self.offsets.to(device), self.values.to(device))

    def clone(self) -> RaggedTensor:
        """The same rows in memory of their own."""
        return RaggedTensor(self.offsets.clone(), self.values.clone())
