"""One encoder a feature type: encoded features of R rows to vectors (R, W)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twotower.data.features.scalar import (
    CategoriesFeature,
    CategoryFeature,
    FittedFeature,
    IdFeature,
    NumberFeature,
    TimestampFeature,
)
from twotower.data.features.vocabulary import PADDING
from twotower.models.layers.content_encoders import ContentEncoder, make_content_encoder
from twotower.models.layers.embedding import EmbeddingTable, check_range
from twotower.models.layers.embedding_bag import EmbeddingBag


def category_width(num_embeddings: int, limit: int) -> int:
    """The width of a category's embedding where the config names none: about the square root of
    the number of values, at least 4, at most `limit`."""
    return max(min(4, limit), min(limit, math.ceil(math.sqrt(num_embeddings))))


class IdEncoder(nn.Module):
    """Id nums (R,) to embeddings (R, D)."""

    def __init__(
        self,
        feature: IdFeature,
        embedding_dim: int,
        *,
        dropout: float,
        sparse: bool,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.width = embedding_dim
        self.num_oov = feature.vocabulary.num_oov
        self.dropout = dropout if feature.config.dropout is None else feature.config.dropout
        self.table = EmbeddingTable.from_vocabulary(
            feature.vocabulary,
            embedding_dim,
            column=feature.column,
            sparse=sparse,
            generator=generator,
        )
        if not self.dropout:
            # Rows that training never touches had better say nothing than anything.
            with torch.no_grad():
                self.table.weight[: feature.vocabulary.first_known] = 0

    def forward(self, nums: Tensor, table: Tensor | None = None) -> Tensor:
        """In training, a share of the ids is replaced by their OOV row (id dropout).

        Args:
            nums: (R,) int64.
            table: (num_embeddings, D) to look up instead of the encoder's own, such as one that is
                smoothed over the interaction graph.
        """
        if self.training and self.dropout > 0:
            dropped = torch.rand(nums.shape, device=nums.device) < self.dropout
            nums = torch.where(dropped & (nums != PADDING), 1 + nums % self.num_oov, nums)
        if table is not None:
            check_range(nums, len(table), self.table.column)
            return F.embedding(nums, table)
        vectors: Tensor = self.table(nums)
        return vectors


class CategoryEncoder(nn.Module):
    """Nums (R,) to embeddings (R, W). A missing value has a learned vector of its own."""

    def __init__(
        self, feature: CategoryFeature, limit: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        rows = feature.vocabulary.num_embeddings
        self.width = feature.config.embedding_dim or category_width(rows, limit)
        self.table = EmbeddingTable.from_vocabulary(
            feature.vocabulary, self.width, column=feature.column, generator=generator
        )
        self.missing = nn.Parameter(torch.zeros(self.width))

    def forward(self, nums: Tensor) -> Tensor:
        """(R,) int64 to (R, W)."""
        vectors: Tensor = self.table(nums)
        return torch.where((nums == PADDING)[:, None], self.missing, vectors)


class CategoriesEncoder(EmbeddingBag):
    """Nums (R, M), padded with 0, to the sum of their embeddings over the square root of their
    number (R, W)."""

    def __init__(
        self, feature: CategoriesFeature, limit: int, generator: torch.Generator | None
    ) -> None:
        weights = torch.ones(feature.vocabulary.num_embeddings)
        weights[PADDING] = 0
        width = feature.config.embedding_dim or category_width(len(weights), limit)
        super().__init__(weights, width, column=feature.column, generator=generator)


class NumberEncoder(nn.Module):
    """(R, 2 or 3) of value, missing flag, bin to (R, W): value, flag, and the bin's embedding."""

    BIN_WIDTH = 8

    def __init__(self, feature: NumberFeature, generator: torch.Generator | None) -> None:
        super().__init__()
        self.width = 2 + (self.BIN_WIDTH if feature.num_bins else 0)
        # Bin 0 is "missing", which the flag tells, so that the padding row's 0 is right for it.
        self.bins = (
            EmbeddingTable(
                feature.num_bins, self.BIN_WIDTH, column=feature.column, generator=generator
            )
            if feature.num_bins
            else None
        )

    def forward(self, values: Tensor) -> Tensor:
        """(R, 2 or 3) float32 to (R, W)."""
        if self.bins is None:
            return values
        return torch.cat([values[:, :2], self.bins(values[:, 2].long())], dim=1)


class TimestampEncoder(nn.Module):
    """(R, 8) of cycles, age and missing flag, as they are."""

    width = TimestampFeature.WIDTH

    def forward(self, values: Tensor) -> Tensor:
        """(R, 8) float32, unchanged."""
        return values


Encoder = (
    IdEncoder
    | CategoryEncoder
    | CategoriesEncoder
    | NumberEncoder
    | TimestampEncoder
    | ContentEncoder
)


def make_encoder(
    feature: FittedFeature,
    embedding_dim: int,
    *,
    id_dropout: float = 0.0,
    sparse_ids: bool = False,
    generator: torch.Generator | None = None,
) -> Encoder:
    """The encoder of a fitted feature; its attribute `width` is W.

    Args:
        feature: as the schema holds it.
        embedding_dim: D, the width of ids' embeddings and the limit of categories'.
        id_dropout: share of ids to drop in training, where the feature's config names none.
        sparse_ids: give the id table row-sparse gradients.
        generator: draws the initial weights.
    """
    match feature:
        case IdFeature():
            return IdEncoder(
                feature, embedding_dim, dropout=id_dropout, sparse=sparse_ids, generator=generator
            )
        case CategoryFeature():
            return CategoryEncoder(feature, embedding_dim, generator)
        case CategoriesFeature():
            return CategoriesEncoder(feature, embedding_dim, generator)
        case NumberFeature():
            return NumberEncoder(feature, generator)
        case TimestampFeature():
            return TimestampEncoder()
        case _:
            return make_content_encoder(feature, embedding_dim, generator)
