"""Attention over short histories on a CPU, with its gradients written out.

Written with autograd, attention spends more time on moving heads about, and on keeping what each
step was made from, than on its products. Here a head's part of the inputs is read and written where
it lies; kept are the weights alone.

Shapes: B histories, L places, H heads, E width of a head, D = H E.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE_WEIGHTS = 1 << 17
"""Weights that are made at a time, half a MB of fp32: they stay in the cache."""


def attend(
    parts: Tensor,
    num_heads: int,
    penalty: Tensor,
    log_age: Tensor | None = None,
    slope: Tensor | None = None,
) -> Tensor:
    """sum_j softmax_j(q_i . k_j / sqrt(E) + penalty_ij - slope_h log_age_ij) v_j, head by head.

    On a GPU, and under autocast, plain autograd says the same. Not covered: gradients of gradients,
    and gradients to `penalty` or `log_age`.

    Args:
        parts: (B, L, 3 D) queries, keys and values, each head after head.
        num_heads: H.
        penalty: (B, L, L) 0 where place j may look at place i, else -inf; each place must see one.
        log_age: (B, L, L), or None.
        slope: (H,), or None.

    Returns:
        (B, L, D).
    """
    if parts.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return attend_plainly(parts, num_heads, penalty, log_age, slope)
    mixed: Tensor = _Attention.apply(parts, num_heads, penalty, log_age, slope)  # type: ignore[no-untyped-call]
    return mixed


def attend_plainly(
    parts: Tensor,
    num_heads: int,
    penalty: Tensor,
    log_age: Tensor | None = None,
    slope: Tensor | None = None,
) -> Tensor:
    """The same as `attend`, for autograd to follow."""
    batch, length, width = parts.shape
    heads = parts.view(batch, length, 3, num_heads, width // 3 // num_heads)
    query, key, value = heads.permute(2, 0, 3, 1, 4)
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3) + penalty[:, None]
    if log_age is not None and slope is not None:
        logits = logits - slope[:, None, None] * log_age[:, None]
    mixed: Tensor = (logits.softmax(dim=-1) @ value).transpose(1, 2)
    return mixed.reshape(batch, length, width // 3)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        parts: Tensor,
        num_heads: int,
        penalty: Tensor,
        log_age: Tensor | None,
        slope: Tensor | None,
    ) -> Tensor:
        heads = parts.view(*parts.shape[:2], 3, num_heads, parts.shape[2] // (3 * num_heads))
        mixed = torch.empty_like(heads[:, :, 0])
        weights = parts.new_empty((num_heads, *penalty.shape))
        for rows, head in _tiles(weights):
            query, key, value = heads[rows, :, :, head].unbind(2)
            bias = penalty[rows]
            if log_age is not None and slope is not None:
                bias = torch.addcmul(bias, log_age[rows], slope[head], value=-1)
            logits = torch.baddbmm(bias, query, key.transpose(1, 2), alpha=query.shape[-1] ** -0.5)
            weight = torch.softmax(logits, dim=-1, out=weights[head, rows])
            mixed[rows, :, head] = weight @ value
        ctx.save_for_backward(parts, weights, mixed, log_age, slope)
        return mixed.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        parts, weights, mixed, log_age, slope = ctx.saved_tensors
        heads = parts.view(*parts.shape[:2], 3, len(weights), parts.shape[2] // (3 * len(weights)))
        grad_mixed = gradients[0].view(mixed.shape)
        grad = torch.empty_like(heads)
        grad_slope = None if slope is None or log_age is None else torch.zeros_like(slope)
        for rows, head in _tiles(weights):
            query, key, value = heads[rows, :, :, head].unbind(2)
            weight, pull = weights[head, rows], grad_mixed[rows, :, head]
            # What the softmax takes off a row, sum_j weight_ij dL/dweight_ij, is one short product.
            shared = (pull * mixed[rows, :, head]).sum(dim=-1, keepdim=True).neg_()
            logits = torch.baddbmm(shared, pull, value.transpose(1, 2)).mul_(weight)
            if grad_slope is not None:
                grad_slope[head] -= torch.dot(logits.view(-1), log_age[rows].view(-1))
            logits *= query.shape[-1] ** -0.5
            grad[rows, :, 0, head] = logits @ key
            grad[rows, :, 1, head] = logits.transpose(1, 2) @ query
            grad[rows, :, 2, head] = weight.transpose(1, 2) @ pull
        return grad.flatten(2), None, None, None, grad_slope


def _tiles(weights: Tensor) -> Iterator[tuple[slice, int]]:
    """Rows and head of each tile of weights (H, B, L, L) that lies in the cache."""
    num_heads, batch, length, _ = weights.shape
    size = max(1, TILE_WEIGHTS // length**2)
    for start in range(0, batch, size):
        for head in range(num_heads):
            yield slice(start, start + size), head
