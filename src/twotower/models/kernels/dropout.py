"""Dropout whose random numbers are cheap on a CPU.

Torch draws a 64-bit number for each element there, one after the other, which takes longer than the
matrix product of the same layer. Here four elements share one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS = 1 << 16
"""Resolution of a share on a CPU."""


class Dropout(nn.Dropout):
    """In training each element is 0 with probability `p`, else divided by 1 - p."""

    def forward(self, values: Tensor) -> Tensor:
        """(...) to the same shape."""
        if not self.training or not self.p:
            return values
        if values.device.type != "cpu":
            return F.dropout(values, self.p)
        return values * draw_kept(values, self.p).mul_(1 / (1 - self.p))

    def add(self, total: Tensor, values: Tensor) -> Tensor:
        """total + dropout(values), in one go."""
        if not self.training or not self.p or values.device.type != "cpu":
            dropped: Tensor = self(values)
            return total + dropped
        kept = draw_kept(values, self.p)
        return torch.addcmul(total, values, kept, value=1 / (1 - self.p))


def draw_kept(like: Tensor, share: float) -> Tensor:
    """1 for each element that is kept and 0 for the others, in shape and type of `like`."""
    number = like.numel()
    drawn = torch.empty(-(-number // 4), dtype=torch.int64).random_(-(1 << 63), None)
    drawn = drawn.view(torch.int16)[:number].view(like.shape)
    return torch.ge(drawn, round(share * STEPS) - STEPS // 2, out=torch.empty_like(like))
