"""How targets and their negatives are weighed."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.config import RetrieverConfig
from twotower.data.batches.batches import Batch

WEIGHT_WITH_MANY_TARGETS = 1.15
"""`negative_weight` where a query has many targets (Wu et al. 2023, and docs/experiments.md)."""


def negative_weight(config: RetrieverConfig, batch: Batch) -> float:
    """c of the softmax losses. Above 1 it holds large scores down; with histories, validation then
    falls after the first epochs."""
    if config.negative_weight != "auto":
        return config.negative_weight
    return 1.0 if batch.has_single_targets else WEIGHT_WITH_MANY_TARGETS


def balanced_mean(
    cross_entropy: Tensor, positive: Tensor, weight: Tensor, negative_weight: float
) -> Tensor:
    """The weighted mean of c * log(...) - s over targets.

    Args:
        cross_entropy: () the weighted sum of log(...) - s.
        positive: (T,) s.
        weight: (T,).
        negative_weight: c.
    """
    total = cross_entropy
    if negative_weight != 1:
        total = negative_weight * total + (negative_weight - 1) * (weight * positive).sum()
    return weighted_mean(total, weight)


def weighted_mean(total: Tensor, weight: Tensor) -> Tensor:
    """A weighted sum () over the sum of the weights (T,); 0 without targets."""
    return total / weight.sum().clamp(min=torch.finfo(torch.float32).tiny)
