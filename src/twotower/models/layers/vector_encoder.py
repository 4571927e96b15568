"""Vectors that were computed elsewhere, of R rows, to vectors (R, W)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from twotower.models.layers.feature_encoder import FeatureEncoder
from twotower.models.layers.initial import draw_uniform


class VectorEncoder(FeatureEncoder):
    """Vectors and missing flags (R, E + 1) to (R, W): LayerNorm, a linear layer. A missing vector
    has a learned one."""

    def __init__(self, dim: int, width: int, generator: torch.Generator | None) -> None:
        """`dim` E, `width` W."""
        super().__init__()
        self.width = width
        # A single number is all that LayerNorm would take out.
        self.norm = nn.LayerNorm(dim) if dim > 1 else nn.Identity()
        self.linear = drawn(nn.Linear(dim, self.width), dim, 3.0, generator)
        self.missing = nn.Parameter(torch.zeros(self.width))

    def is_missing(self, values: Tensor) -> Tensor:
        """(R,) bool, of what `forward` reads."""
        return values[:, -1] != 0

    def impute_missing(self, mean: Tensor, share: float) -> None:
        """Move the vector of a missing value towards the mean one (W,) by a share of the way."""
        self.missing.lerp_(mean.to(self.missing.dtype), share)

    def forward(self, values: Tensor) -> Tensor:
        """(R, E + 1) float32 to (R, W)."""
        vectors: Tensor = self.linear(self.norm(values[:, :-1]))
        return torch.where(
            self.is_missing(values)[:, None], self.missing.to(vectors.dtype), vectors
        )


def drawn(
    layer: nn.Conv2d | nn.Linear, inputs: int, gain: float, generator: torch.Generator | None
) -> nn.Module:
    """The layer with weights uniform in ± sqrt(gain / inputs), 3 for LeCun's and 6 for He's, and no
    bias at first."""
    bound = (gain / inputs) ** 0.5
    draw_uniform(layer.weight, bound, generator)
    with torch.no_grad():
        assert layer.bias is not None
        layer.bias.zero_()
    return layer
