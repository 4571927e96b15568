"""Embedding tables that check their integers before they look them up."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twotower.data.features.vocabulary import PADDING, Vocabulary
from twotower.errors import EmbeddingRangeError, explain
from twotower.models.layers.initial import draw_normal


def check_range(nums: Tensor, num_embeddings: int, column: str) -> None:
    """Refuse integers that a table of `num_embeddings` rows has no row for.

    On a GPU an integer beyond the table would end the process with a device assert that names
    nothing; here it is an error on every device, at the price of one reduction.

    Args:
        nums: (...) integers; none at all is fine.
        num_embeddings: rows of the table; valid integers are 0 .. num_embeddings - 1.
        column: what the integers are, for the error.

    Raises:
        EmbeddingRangeError: names the column, the largest value, the table's size and the fix.
    """
    if nums.numel() == 0:
        return
    low, high = torch.stack(torch.aminmax(nums)).tolist()  # a GPU is waited for once
    if low >= 0 and high < num_embeddings:
        return
    if low < 0:
        problem, value = f"holds integers below 0, the smallest is {low}", low
        fix = "encode raw values with a Vocabulary, which gives nums from 0 on"
    else:
        problem = (
            f"the largest integer is {high}, but the embedding table has {num_embeddings} rows "
            f"(0 to {num_embeddings - 1})"
        )
        value = high
        fix = (
            f"make the table with at least {high + 1} rows, or encode the raw values with a "
            "Vocabulary and make the table from it"
        )
    raise EmbeddingRangeError(explain(problem, column=column, value=value, fix=fix))


class EmbeddingTable(nn.Embedding):
    """Integers (...) to vectors (..., D); row 0 is padding and stays 0.

    Made from a vocabulary it is exactly as large as its ids need; made for raw integers it takes
    the number of rows on trust, and checks every lookup. Either way `check_range` runs first.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        column: str = "ids",
        deviation: float | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Rows are drawn from N(0, deviation²); default: 1 / sqrt(D), so that a
        vector's length is about 1. They may be kept in bf16, half the memory."""
        super().__init__(num_embeddings, embedding_dim, padding_idx=PADDING, dtype=dtype)
        self.column = column
        draw_normal(self.weight, deviation or embedding_dim**-0.5, generator)
        with torch.no_grad():
            self.weight[PADDING].zero_()

    def reset_parameters(self) -> None:
        """Draw nothing: `__init__` does."""

    @staticmethod
    def from_vocabulary(
        vocabulary: Vocabulary,
        embedding_dim: int,
        *,
        column: str,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> EmbeddingTable:
        """A table with a row for padding, each OOV num and each known value."""
        return EmbeddingTable(
            vocabulary.num_embeddings,
            embedding_dim,
            column=column,
            generator=generator,
            dtype=dtype,
        )

    @staticmethod
    def of_weight(weight: Tensor, *, column: str) -> EmbeddingTable:
        """A table of given rows (num_embeddings, D)."""
        table = EmbeddingTable.__new__(EmbeddingTable)
        rows, width = weight.shape
        nn.Embedding.__init__(table, rows, width, padding_idx=PADDING, _weight=weight)
        table.column = column
        return table

    @property
    def is_rounded(self) -> bool:
        """Whether the rows are kept in less than float32."""
        return self.weight.dtype != torch.float32

    def forward(self, nums: Tensor) -> Tensor:
        """(...) int64 to (..., D) float32.

        Raises:
            EmbeddingRangeError: an integer has no row here.
        """
        return self.look_up(nums, self.weight)

    def look_up(self, nums: Tensor, weight: Tensor) -> Tensor:
        """As `forward`, in another weight (rows, D), such as one that is smoothed over the
        interaction graph."""
        check_range(nums, len(weight), self.column)
        if weight is self.weight:
            return super().forward(nums).float()
        return F.embedding(nums, weight).float()


def category_width(num_embeddings: int, limit: int) -> int:
    """The width of a category's embedding where the config names none: about the square root of
    the number of values, at least 4, at most `limit`."""
    return max(min(4, limit), min(limit, math.ceil(math.sqrt(num_embeddings))))
