"""Bags: rows that hold any number of terms, each with a row of a table, to one vector a row.

Shapes: R rows, T terms of all of them, M terms of the longest, V nums of terms, W width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from twotower.data.arrays.ragged_tensor import RaggedTensor
from twotower.data.dataset.entities import Column, Features
from twotower.models.layers.embedding import EmbeddingTable, check_range
from twotower.models.layers.feature_encoder import FeatureEncoder


class EmbeddingBag(FeatureEncoder):
    """Term nums of R rows to the weighted sums of their vectors over the L2 norm of the weights
    (R, W): they keep their scale for any number of terms. A row without a term has a learned vector
    of its own."""

    weights: Tensor

    def __init__(
        self, weights: Tensor, width: int, *, column: str, generator: torch.Generator | None
    ) -> None:
        """`weights` (V,) of the terms, 0 for padding."""
        super().__init__()
        self.width = width
        self.table = EmbeddingTable(len(weights), width, column=column, generator=generator)
        self.missing = nn.Parameter(torch.zeros(width))
        # The schema keeps what they are made of.
        self.register_buffer("weights", weights, persistent=False)

    def prepare(self, nums: Column) -> Terms:
        """Lists, or (R, M) padded with 0, in the order that `forward` reads: rows that are encoded
        at every step, as the whole catalogue is, need be put in order only once."""
        held = nums if isinstance(nums, Tensor) else nums.values
        check_range(held, self.table.num_embeddings, self.table.column)
        return Terms.of(nums, self.weights)

    def is_missing(self, values: Column) -> Tensor:
        """(R,) bool, of lists or (R, M): rows without a term, or with terms of no weight alone."""
        rows = torch.zeros(len(values), dtype=torch.bool, device=self.weights.device)
        rows[self.prepare(values).empty] = True
        return rows

    def impute_missing(self, mean: Tensor, share: float) -> None:
        """Move the vector of a missing value towards the mean one (W,) by a share of the way."""
        self.missing.lerp_(mean.to(self.missing.dtype), share)

    def forward(self, nums: Column | Terms) -> Tensor:
        """Lists, (R, M) padded with 0, or what `prepare` made of either, to (R, W)."""
        terms = nums if isinstance(nums, Terms) else self.prepare(nums)
        total: Tensor = _Bag.apply(self.table.weight, self.missing, terms)  # type: ignore[no-untyped-call]
        return total


class ByNum(NamedTuple):
    """The T terms of some rows, num by num.

    Attributes:
        rows: (T,) where each term is.
        starts: (V + 1,) of each num's terms.
        weights: (T,).
    """

    rows: Tensor
    starts: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False)
class Terms:
    """The T terms of R rows, row by row.

    Attributes:
        rows: (T,) where each term is.
        nums: (T,).
        starts: (R + 1,) of each row's terms.
        weights: (T,) those of a row have length 1.
        empty: (E,) the rows without a term.
        num_terms: V.
    """

    rows: Tensor
    nums: Tensor
    starts: Tensor
    weights: Tensor
    empty: Tensor
    num_terms: int

    @staticmethod
    def of(column: Column, weights: Tensor) -> Terms:
        """Lists or (R, M) padded with 0, and the weight of each num (V,)."""
        lists = RaggedTensor.of_padded(column) if isinstance(column, Tensor) else column
        rows, nums, starts = lists.rows, lists.values.long(), lists.offsets
        squares = weights.square()[:, None]
        norm = sums_of_rows(squares, nums, starts, torch.ones_like(nums, dtype=weights.dtype))
        norm = norm.sqrt_()[:, 0]
        return Terms(
            rows=rows,
            nums=nums,
            starts=starts,
            weights=weights[nums] / norm.clamp(min=torch.finfo(norm.dtype).tiny)[rows],
            empty=(norm == 0).nonzero()[:, 0],
            num_terms=len(weights),
        )

    @cached_property
    def by_num(self) -> ByNum:
        """What gradients need."""
        order = torch.argsort(self.nums.int(), stable=True)
        return ByNum(self.rows[order], _starts(self.nums, self.num_terms), self.weights[order])


EncoderInputs = Mapping[str, Column | Terms]
"""Encoded features by name, those of bags prepared or not."""


def prepare_bags(
    names: Iterable[str], encoders: Iterable[nn.Module], features: Features
) -> dict[str, Column | Terms]:
    """The features (R, ...) that are encoded at every step, those of bags prepared."""
    prepared: dict[str, Column | Terms] = dict(features)
    for name, encoder in zip(names, encoders, strict=True):
        if isinstance(encoder, EmbeddingBag):
            prepared[name] = encoder.prepare(features[name])
    return prepared


def _starts(owners: Tensor, number: int) -> Tensor:
    """(number + 1,) where the terms of each owner start, once sorted by owner."""
    counts = torch.bincount(owners, minlength=number)
    return F.pad(counts.cumsum(0), (1, 0))


class _Bag(torch.autograd.Function):
    """Weighted sums of a table's rows: table (V, W) to (R, W), and `missing` (W,) where there is
    none to add.

    The gradient of the table is a weighted sum of rows, too: for each term, the gradients of the
    rows that hold it. So it runs through the same kernel, several times faster than torch's own.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, missing: Tensor, terms: Terms) -> Tensor:
        ctx.terms = terms
        total = sums_of_rows(table, terms.nums, terms.starts, terms.weights)
        total[terms.empty] = missing.to(total.dtype)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        terms, gradient = ctx.terms, gradient.contiguous()
        of_table = sums_of_rows(gradient, *terms.by_num)
        return of_table, gradient[terms.empty].sum(dim=0), None


def sums_of_rows(table: Tensor, rows: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of a table's rows (V, W), one from each start to the next: (S, W)."""
    return F.embedding_bag(
        rows,
        table,
        starts,
        mode="sum",
        per_sample_weights=weights.to(table.dtype),
        include_last_offset=True,
    )
