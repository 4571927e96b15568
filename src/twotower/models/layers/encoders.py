"""The encoder of a fitted feature; that of the id stands here, the others with their types."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.data.features.id import FittedFeature, IdFeature
from twotower.data.features.vocabulary import PADDING
from twotower.models.layers.embedding import EmbeddingTable
from twotower.models.layers.feature_encoder import FeatureEncoder


class IdEncoder(FeatureEncoder):
    """Id nums (R,) to embeddings (R, D)."""

    def __init__(
        self,
        feature: IdFeature,
        embedding_dim: int,
        *,
        dropout: float,
        generator: torch.Generator | None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.width = embedding_dim
        self.num_oov = feature.vocabulary.num_oov
        self.dropout = dropout if feature.config.dropout is None else feature.config.dropout
        self.table = EmbeddingTable.from_vocabulary(
            feature.vocabulary,
            embedding_dim,
            column=feature.column,
            generator=generator,
            dtype=dtype,
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
            return self.table.look_up(nums, table)
        vectors: Tensor = self.table(nums)
        return vectors


def make_encoder(
    feature: FittedFeature,
    embedding_dim: int,
    *,
    id_dropout: float = 0.0,
    id_dtype: torch.dtype = torch.float32,
    generator: torch.Generator | None = None,
) -> FeatureEncoder:
    """The encoder of a fitted feature; its attribute `width` is W.

    Args:
        feature: as the schema holds it.
        embedding_dim: D, the width of ids' embeddings.
        id_dropout: share of ids to drop in training, where the feature's config names none.
        id_dtype: that ids' embeddings are kept in.
        generator: draws the initial weights.

    Raises:
        TypeError: a type of a plug-in makes something else.
    """
    if isinstance(feature, IdFeature):
        return IdEncoder(
            feature, embedding_dim, dropout=id_dropout, generator=generator, dtype=id_dtype
        )
    encoder = feature.make_encoder(embedding_dim, generator)
    if not isinstance(encoder, FeatureEncoder):
        raise TypeError(
            f"make_encoder of feature type {feature.type!r} must return a FeatureEncoder, not "
            f"{type(encoder).__name__}"
        )
    return encoder
