"""Initial weights, drawn in place.

A tensor on the device "meta" has a shape and no memory; it is left as it is. Torch would load its
compiler to draw nothing, which takes longer than reading a bundle.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_DRAWS: ContextVar[bool] = ContextVar("draws", default=True)


@contextmanager
def undrawn() -> Iterator[None]:
    """Models that are made inside have arbitrary weights: all of them are about to be replaced, and
    drawing those of a million items takes longer than reading them."""
    token = _DRAWS.set(False)
    try:
        yield
    finally:
        _DRAWS.reset(token)


@torch.no_grad()
def draw_normal(tensor: Tensor, deviation: float, generator: torch.Generator | None) -> None:
    """Fill with N(0, deviation²)."""
    if _DRAWS.get() and not tensor.is_meta:
        tensor.normal_(0.0, deviation, generator=generator)


@torch.no_grad()
def draw_uniform(tensor: Tensor, bound: float, generator: torch.Generator | None) -> None:
    """Fill with uniform numbers in ± bound."""
    if _DRAWS.get() and not tensor.is_meta:
        tensor.uniform_(-bound, bound, generator=generator)
