"""The softmax over many candidates, in tiles of rows, with its gradients found on the way.

Written out with autograd, a softmax loss keeps the (B, M) logits, their exponentials and both
gradients. Here a tile of rows is multiplied, exponentiated, reduced and multiplied back while it
lies in the cache, so that the memory is that of one tile and the time that of three matrix products
and one exponential.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

TILE_LOGITS = 1 << 21
"""Logits of a tile on a CPU: 8 MB of fp32."""
TILE_LOGITS_GPU = 1 << 28
SAFE_EXPONENT = 60.0
"""Scores whose absolute value cannot exceed it need no shift before the exponential: fp32 holds
exp(60) times 10 billion candidates."""


def masked_softmax_loss(
    query_vectors: Tensor,
    candidate_vectors: Tensor,
    positive_scores: Tensor | None,
    bias: Tensor | None,
    rows: Tensor,
    weight: Tensor,
    masked_rows: Tensor,
    masked_columns: Tensor,
) -> Tensor:
    """The summed softmax loss of T targets, a scalar with gradients to vectors and scores.

    Args:
        query_vectors: (B, D).
        candidate_vectors: (M, D).
        positive_scores: (T,), or None for the log-sum-exp alone.
        bias: (M,) added to the candidates' scores, or None.
        rows: (T,) the query of each target, ascending.
        weight: (T,).
        masked_rows: (H,) ascending; with `masked_columns` (H,) the pairs that are no candidates.
        masked_columns: (H,).
    """
    total: Tensor = _MaskedSoftmaxLoss.apply(  # type: ignore[no-untyped-call]
        query_vectors,
        candidate_vectors,
        positive_scores,
        bias,
        rows,
        weight,
        masked_rows,
        masked_columns,
    )
    return total


class _MaskedSoftmaxLoss(torch.autograd.Function):
    """sum_t weight_t * log(1 + exp(lse_row(t) - positive_t)), with

        lse_b = log sum_c exp(query_b . candidate_c + bias_c) over c not masked for b,

    which is the cross-entropy of positive t against the candidates that its row keeps. Without
    positive scores it is sum_t weight_t * lse_row(t).
    """

    @staticmethod
    def forward(
        ctx: Any,
        query_vectors: Tensor,
        candidate_vectors: Tensor,
        positive_scores: Tensor | None,
        bias: Tensor | None,
        rows: Tensor,
        weight: Tensor,
        masked_rows: Tensor,
        masked_columns: Tensor,
    ) -> Tensor:
        device = query_vectors.device
        dtype = _product_type(device)
        num_queries, num_candidates = len(query_vectors), len(candidate_vectors)
        queries, candidates = query_vectors.to(dtype), candidate_vectors.to(dtype)
        tile = _tile_rows(num_candidates, device)
        shift = _needs_shift(query_vectors, candidate_vectors, bias)
        grad_query = torch.zeros_like(query_vectors)
        grad_candidate = torch.zeros_like(candidate_vectors)
        grad_positive = torch.zeros_like(weight)
        total = query_vectors.new_zeros(())
        starts = torch.arange(0, num_queries + tile, tile, device=device)
        positive_bounds = torch.searchsorted(rows, starts).tolist()
        masked_bounds = torch.searchsorted(masked_rows, starts).tolist()
        for number, start in enumerate(range(0, num_queries, tile)):
            end = min(start + tile, num_queries)
            part = slice(positive_bounds[number], positive_bounds[number + 1])
            hidden = slice(masked_bounds[number], masked_bounds[number + 1])
            with torch.autocast(device.type, enabled=False):
                logits = queries[start:end] @ candidates.T
            if bias is not None:
                logits += bias.to(dtype)
            logits[masked_rows[hidden] - start, masked_columns[hidden]] = -math.inf
            highest = None
            if shift:
                highest = logits.amax(dim=1, keepdim=True).clamp(min=torch.finfo(dtype).min)
                logits -= highest
            exponentials = logits.exp_()
            sums = exponentials.sum(dim=1, dtype=torch.float32)
            lse = sums.log() if highest is None else sums.log() + highest[:, 0].float()
            local = rows[part] - start
            if positive_scores is None:
                total += (weight[part] * lse[local]).sum()
                pull = weight[part]
            else:
                gap = lse[local] - positive_scores[part]
                total += (weight[part] * F.softplus(gap)).sum()
                # softplus' = sigmoid: what pushes the row's candidates down pulls its positive up.
                pull = weight[part] * torch.sigmoid(gap)
                grad_positive[part] = -pull
            scale = torch.zeros_like(sums).index_add_(0, local, pull)
            scale = torch.where(sums > 0, scale / sums, 0.0)[:, None]
            with torch.autocast(device.type, enabled=False):
                grad_query[start:end] = (exponentials @ candidates).float() * scale
                weighted = (query_vectors[start:end] * scale).to(dtype)
                grad_candidate += (exponentials.T @ weighted).float()
        ctx.has_positive = positive_scores is not None
        ctx.save_for_backward(grad_query, grad_candidate, grad_positive)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, candidate, positive = (gradients[0] * saved for saved in ctx.saved_tensors)
        return query, candidate, positive if ctx.has_positive else None, *(None,) * 5


def _product_type(device: torch.device) -> torch.dtype:
    """The type of the matrix products: what autocast asks for, else fp32."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return torch.float32


def _tile_rows(num_candidates: int, device: torch.device) -> int:
    logits = TILE_LOGITS if device.type == "cpu" else TILE_LOGITS_GPU
    return max(32, logits // max(num_candidates, 1))


def _needs_shift(queries: Tensor, candidates: Tensor, bias: Tensor | None) -> bool:
    """Whether a score could be too large for a plain exponential; looking costs a GPU a wait."""
    if queries.device.type != "cpu" or not len(queries) or not len(candidates):
        return True
    largest = queries.norm(dim=1).max() * candidates.norm(dim=1).max()
    if bias is not None:
        largest = largest + bias.abs().max()
    return not float(largest) <= SAFE_EXPONENT
