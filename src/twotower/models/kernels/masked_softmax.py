"""The softmax over many candidates, in tiles of rows, with its gradients found on the way.

Written out with autograd, a softmax loss keeps the (B, M) logits, their exponentials and both
gradients. Here a tile of rows is multiplied, exponentiated, reduced and multiplied back a block of
columns at a time, while the block lies in the cache; a second pass over the tile gives the
candidates their gradient. The memory is that of one tile, the time that of three matrix products
and one exponential.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from twotower.models.positives.block_masks import BlockMasks
from twotower.models.positives.user_positives import UserPositives
from twotower.parallel.processes import ONE, ProcessGroup

TILE_LOGITS = 1 << 21
"""Logits of a tile on a CPU, 8 MB of fp32, where they are at least `MIN_TILE` rows."""
MIN_TILE = 512
"""Rows of a tile on a CPU: each tile reads all candidates."""
TILE_LOGITS_GPU = 1 << 28
BLOCK_COLUMNS = 2048
"""Columns of a block on a CPU. A GPU takes all at once."""
ROOM = 28.0
"""How far below the logarithm of the largest number scores stay to be exponentiated as they are:
exp(28) is a million candidates whose vectors are of length a million."""


def masked_softmax_loss(
    query_vectors: Tensor,
    candidate_vectors: Tensor,
    positive_scores: Tensor | None,
    bias: Tensor | None,
    rows: Tensor,
    weight: Tensor,
    masked: UserPositives,
    processes: ProcessGroup = ONE,
) -> Tensor:
    """The summed softmax loss of T targets, a scalar with gradients to vectors and scores.

    Target t, in row b, costs weight_t * log(1 + exp(lse_b - positive_t)), with

        lse_b = log sum_c exp(query_b . candidate_c + bias_c) over c not masked for b,

    which is the cross-entropy of the positive against the candidates that its row keeps: 0 where it
    keeps none. Without positive scores it costs weight_t * lse_b, and each row with a target must
    keep a candidate. No target at all costs 0, with gradients of 0.

    The matrix products are of the type that autocast asks for, else of the query vectors' own; sums
    are at least fp32. Not covered: gradients of gradients, and a gradient to `bias` or `weight`.

    Args:
        query_vectors: (B, D).
        candidate_vectors: (M, D).
        positive_scores: (T,), or None for the log-sum-exp alone.
        bias: (M,) added to the candidates' scores, or None.
        rows: (T,) the query of each target, ascending.
        weight: (T,).
        masked: the columns that are not candidates of a query.
        processes: that have the same queries and share the candidates; all of them call. Each adds
            up the losses of its own targets, and the query vectors' gradient is the part that its
            own candidates and targets have in it. Every row needs a candidate on some process.
    """
    total: Tensor = _MaskedSoftmaxLoss.apply(  # type: ignore[no-untyped-call]
        query_vectors,
        candidate_vectors,
        positive_scores,
        bias,
        rows,
        weight,
        masked,
        processes,
    )
    return total


class _MaskedSoftmaxLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query_vectors: Tensor,
        candidate_vectors: Tensor,
        positive_scores: Tensor | None,
        bias: Tensor | None,
        rows: Tensor,
        weight: Tensor,
        masked: UserPositives,
        processes: ProcessGroup,
    ) -> Tensor:
        dtype = _product_type(query_vectors)
        with torch.autocast(query_vectors.device.type, enabled=False):
            sweep = _Sweep(query_vectors, candidate_vectors, bias, masked, dtype, processes)
            total = query_vectors.new_zeros(())
            grad_positive = torch.zeros_like(weight)
            bounds = torch.searchsorted(rows, sweep.starts).tolist()
            for number in range(sweep.num_tiles):
                part = slice(bounds[number], bounds[number + 1])
                local = rows[part] - number * sweep.tile
                total_of_row = sweep.log_sum_exp(number)
                gap = total_of_row.index_select(0, local)
                pull = weight[part]
                if positive_scores is None:
                    total += (pull * gap).sum()
                else:
                    gap = gap - positive_scores[part]
                    total += (pull * F.softplus(gap)).sum()
                    # softplus' = sigmoid: what pushes a row's candidates down pulls its positive.
                    pull = pull * torch.sigmoid(gap)
                    grad_positive[part] = -pull
                sweep.push(number, local, pull, total_of_row)
        ctx.has_positive = positive_scores is not None
        ctx.save_for_backward(sweep.grad_query, sweep.grad_candidate, grad_positive)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, candidate, positive = (gradients[0] * saved for saved in ctx.saved_tensors)
        return query, candidate, positive if ctx.has_positive else None, *(None,) * 5


class _Sweep:
    """A pass over the tiles: `log_sum_exp` of a tile, then `push` for the same tile.

    Attributes:
        tile: rows of a tile; the last may have fewer.
        starts: (num_tiles + 1,) first row of each tile, and an end.
        grad_query: (B, D) what `push` has found so far.
        grad_candidate: (M, D) the same.
    """

    def __init__(
        self,
        query_vectors: Tensor,
        candidate_vectors: Tensor,
        bias: Tensor | None,
        masked: UserPositives,
        dtype: torch.dtype,
        processes: ProcessGroup,
    ) -> None:
        device = query_vectors.device
        self.processes = processes
        num_queries, num_candidates = len(query_vectors), len(candidate_vectors)
        self.query_vectors = query_vectors
        self.queries, self.candidates = query_vectors.to(dtype), candidate_vectors.to(dtype)
        self.bias = None if bias is None else bias.to(dtype)
        self.shift = _needs_shift(query_vectors, candidate_vectors, bias, dtype)
        self.grad_query = torch.zeros_like(query_vectors)
        self.grad_candidate = torch.zeros_like(candidate_vectors)
        # Tiles are those of all processes.
        self.tile = min(_tile_rows(processes.largest(num_candidates), device), max(num_queries, 1))
        self.starts = torch.arange(0, num_queries + self.tile, self.tile, device=device)
        self.num_tiles = len(self.starts) - 1
        width = _block_columns(num_candidates, device)
        self.blocks = [
            slice(first, min(first + width, num_candidates))
            for first in range(0, num_candidates, width)
        ]
        self.masks = BlockMasks(masked, num_queries, width, len(self.blocks))
        self.memory = _workspace(self.tile * num_candidates, dtype, device)
        self.sums = self.highest = self.log_sums = self.starts  # of the tile under way
        self.highest_of_block: list[Tensor] = []

    def log_sum_exp(self, number: int) -> Tensor:
        """(n,) of a tile's rows over the candidates of all processes; -inf for a row whose
        candidates are all masked.

        Leaves the tile's exponentials in memory, each block relative to the highest score that its
        row had by then (where scores have to be shifted at all), and in `grad_query` their product
        with the candidates.
        """
        rows = self._rows(number)
        gradient = self.grad_query[rows]
        sums = gradient.new_zeros(len(gradient))
        highest = torch.full_like(sums, torch.finfo(self.queries.dtype).min)
        self.highest_of_block = []
        for place, columns in enumerate(self.blocks):
            logits = self._scores(number, place)
            if self.shift:
                self.masks.fill(logits, number * self.tile, place, -math.inf)
                higher = torch.maximum(highest, logits.amax(dim=1))
                logits -= higher[:, None].to(logits.dtype)
                shrink = (highest - higher).exp_()
                sums *= shrink
                gradient *= shrink[:, None]
                highest = higher
                self.highest_of_block.append(highest)
            logits.exp_()
            if not self.shift:
                # A CPU takes ten times as long for the exponential of -inf as for that of a number.
                self.masks.fill(logits, number * self.tile, place, 0.0)
            sums += logits.sum(dim=1, dtype=sums.dtype)
            _add_product(gradient, logits, self.candidates[columns])
        self.sums, self.highest = sums, highest
        self.log_sums = sums.log() + highest if self.shift else sums.log()
        if not self.processes.are_several:
            return self.log_sums
        parts = self.processes.gather_alike(self.log_sums[None])
        return torch.logsumexp(parts, dim=0)

    def push(self, number: int, local: Tensor, pull: Tensor, total_of_row: Tensor) -> None:
        """Add the gradients of a tile whose rows' log-sum-exp `total_of_row` (n,) have the gradient
        `pull` (T',), given a row of the tile `local` (T',) each."""
        rows = self._rows(number)
        scale = torch.zeros_like(self.sums).index_add_(0, local, pull.to(self.sums.dtype))
        scale = self.processes.sum(scale)
        scale = torch.where(self.sums > 0, scale / self.sums, 0.0)
        if self.processes.are_several:
            scale *= torch.where(self.sums > 0, (self.log_sums - total_of_row).exp(), 0.0)
        self.grad_query[rows] *= scale[:, None]
        weighted = self.query_vectors[rows] * scale[:, None]
        for place, columns in enumerate(self.blocks):
            factor = weighted
            if self.shift:
                factor = weighted * (self.highest_of_block[place] - self.highest).exp_()[:, None]
            exponentials = self._block(number, columns)
            _add_product(self.grad_candidate[columns], exponentials.T, factor)

    def _scores(self, number: int, place: int) -> Tensor:
        """(n, m) of a block, masked ones included."""
        columns = self.blocks[place]
        logits = self._block(number, columns)
        torch.mm(self.queries[self._rows(number)], self.candidates[columns].T, out=logits)
        if self.bias is not None:
            logits += self.bias[columns]
        return logits

    def _block(self, number: int, columns: slice) -> Tensor:
        """The memory of a block."""
        rows = self._rows(number)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        first = height * columns.start
        return self.memory[first : first + height * width].view(height, width)

    def _rows(self, number: int) -> slice:
        start = number * self.tile
        return slice(start, min(start + self.tile, len(self.queries)))


class _Workspace(threading.local):
    """A thread's memory for tiles. Fresh memory is mapped page by page, which takes longer than the
    matrix product that fills it."""

    def __init__(self) -> None:
        self.memory = torch.empty(0, dtype=torch.uint8)

    def get(self, num: int, dtype: torch.dtype) -> Tensor:
        """(num,) of anything."""
        num_bytes = num * dtype.itemsize
        if len(self.memory) < num_bytes:
            self.memory = torch.empty(num_bytes, dtype=torch.uint8)
        return self.memory[:num_bytes].view(dtype)


_CPU_WORKSPACE = _Workspace()


def _workspace(num: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type == "cpu":
        return _CPU_WORKSPACE.get(num, dtype)
    return torch.empty(num, dtype=dtype, device=device)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, of the type of `left`."""
    right = right.to(left.dtype)
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _product_type(query_vectors: Tensor) -> torch.dtype:
    """What autocast asks for, else the vectors' own."""
    device = query_vectors.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return query_vectors.dtype


def _tile_rows(num_candidates: int, device: torch.device) -> int:
    if device.type == "cpu":
        return max(MIN_TILE, TILE_LOGITS // max(num_candidates, 1))
    return max(32, TILE_LOGITS_GPU // max(num_candidates, 1))


def _block_columns(num_candidates: int, device: torch.device) -> int:
    return BLOCK_COLUMNS if device.type == "cpu" else max(num_candidates, 1)


def _needs_shift(
    queries: Tensor, candidates: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> bool:
    """Whether a score could be too large for a plain exponential; looking costs a GPU a wait."""
    if queries.device.type != "cpu" or not len(queries) or not len(candidates):
        return True
    largest = queries.norm(dim=1).max() * candidates.norm(dim=1).max()
    if bias is not None:
        largest = largest + bias.abs().max()
    return not float(largest) <= math.log(torch.finfo(dtype).max) - ROOM
