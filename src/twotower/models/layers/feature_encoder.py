"""The base of the encoders of features."""

from __future__ import annotations

from torch import Tensor, nn


class FeatureEncoder(nn.Module):
    """An encoded feature of R rows (R, ...) to vectors (R, W).

    Attributes:
        width: W.

    >>> price = data.schema.columns("item")["price"]
    >>> price.make_encoder(embedding_dim=8, generator=None).width  # value and missing flag
    2
    """

    width: int

    def forward(self, values: Tensor) -> Tensor:
        """(R, ...) as the feature's `encode` gives it, to (R, W); lists are `RaggedTensor`."""
        raise NotImplementedError
