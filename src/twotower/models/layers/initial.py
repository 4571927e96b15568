"""Initial weights, drawn in place.

A tensor on the device "meta" has a shape and no memory; it is left as it is. Torch would load its
compiler to draw nothing, which takes longer than reading a bundle.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def draw_normal(tensor: Tensor, deviation: float, generator: torch.Generator | None) -> None:
    """Fill with N(0, deviation²)."""
    if not tensor.is_meta:
        tensor.normal_(0.0, deviation, generator=generator)


@torch.no_grad()
def draw_uniform(tensor: Tensor, bound: float, generator: torch.Generator | None) -> None:
    """Fill with uniform numbers in ± bound."""
    if not tensor.is_meta:
        tensor.uniform_(-bound, bound, generator=generator)
