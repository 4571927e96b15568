"""A linear layer whose gradient to the weights is summed over stretches of rows.

That product's sum runs over all rows and its result is small. As one matrix product it takes half
as long again as its neighbours on a CPU; as one for each stretch, added up, it does not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

STRETCHES = 32
MIN_ROWS = 64
"""Rows of a stretch, at least."""


class Linear(nn.Linear):
    """Rows (R, I) to (R, O), weights uniform in ± sqrt(3 / (I + O)) and no bias at first."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator | None) -> None:
        super().__init__(inputs, outputs)
        with torch.no_grad():
            bound = (3.0 / (inputs + outputs)) ** 0.5
            self.weight.uniform_(-bound, bound, generator=generator)
            self.bias.zero_()

    def forward(self, rows: Tensor) -> Tensor:
        """(R, I) to (R, O)."""
        if rows.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return super().forward(rows)
        outputs: Tensor = _Linear.apply(rows, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return outputs


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return torch.mm(rows, weight.t()).add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, weight = ctx.saved_tensors
        grad = gradients[0]
        return grad @ weight, weight_gradient(rows, grad), grad.sum(dim=0)


def weight_gradient(rows: Tensor, grad: Tensor) -> Tensor:
    """(R, O)^T (R, I): (O, I)."""
    size = len(rows) // STRETCHES
    if size < MIN_ROWS:
        return grad.t() @ rows
    whole = size * STRETCHES
    left, right = (side[:whole].view(STRETCHES, size, -1) for side in (grad, rows))
    total = torch.bmm(left.transpose(1, 2), right).sum(dim=0)
    return total.addmm_(grad[whole:].t(), rows[whole:]) if whole < len(rows) else total
