"""Encoders of content: bags of words, thumbnails and vectors of R rows to vectors (R, W)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from twotower.data.content import ContentFeature, EncodedFeature
from twotower.data.images import ImageFeature
from twotower.data.text import TextFeature
from twotower.data.vocabulary import PADDING
from twotower.models.embedding import EmbeddingTable, check_range

CHANNELS = (8, 32, 64)
"""Of the convolutional net's layers, each half as wide and high as the one before."""


class TextEncoder(nn.Module):
    """Bucket nums (R, M), padded with 0, to the sum of their vectors, each weighted by its inverse
    document frequency, over the L2 norm of the weights (R, W): it keeps its scale for any number of
    terms. A text without a term has a learned vector of its own."""

    idf: Tensor

    def __init__(
        self, feature: TextFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.width = feature.config.embedding_dim or embedding_dim
        self.table = EmbeddingTable(
            feature.config.num_buckets + 1, self.width, column=feature.column, generator=generator
        )
        self.missing = nn.Parameter(torch.zeros(self.width))
        # The schema keeps it.
        self.register_buffer("idf", torch.from_numpy(feature.weights.copy()), persistent=False)

        self._last: tuple[Tensor, Terms] | None = None

    def forward(self, nums: Tensor) -> Tensor:
        """(R, M) int64 to (R, W)."""
        terms = self._terms(nums)
        total: Tensor = _Bag.apply(self.table.weight, terms)  # type: ignore[no-untyped-call]
        return torch.where(terms.has_none, self.missing.to(total.dtype), total)

    def _terms(self, nums: Tensor) -> Terms:
        """The same texts, put in order; kept for the next call, as training on the whole catalogue
        encodes the very same tensor at each step."""
        last = self._last  # a server's threads may ask at once
        if last is None or last[0] is not nums:
            check_range(nums, self.table.num_embeddings, self.table.column)
            last = self._last = (nums, Terms.of(nums, self.idf))
        return last[1]


class Terms(NamedTuple):
    """The T terms of R texts, and the same by bucket.

    Attributes:
        buckets: (T,) text by text.
        starts: (R + 1,) of each text's terms.
        weights: (T,) those of a text have length 1.
        texts: (T,) the text of each term, bucket by bucket.
        bucket_starts: (V + 1,) of each bucket's terms.
        bucket_weights: (T,) as `weights`, bucket by bucket.
        has_none: (R, 1) texts without a term.
    """

    buckets: Tensor
    starts: Tensor
    weights: Tensor
    texts: Tensor
    bucket_starts: Tensor
    bucket_weights: Tensor
    has_none: Tensor

    @staticmethod
    def of(nums: Tensor, idf: Tensor) -> Terms:
        """Bucket nums (R, M), padded, and the weight of each bucket (V,)."""
        weights = F.embedding(nums, idf[:, None]).squeeze(-1)
        norm = torch.linalg.vector_norm(weights, dim=1, keepdim=True)
        there = nums != PADDING
        texts = there.nonzero()[:, 0]
        buckets = nums[there]
        weights = (weights / norm.clamp(min=torch.finfo(weights.dtype).tiny))[there]
        order = torch.argsort(buckets.int(), stable=True)
        return Terms(
            buckets,
            _starts(texts, len(nums)),
            weights,
            texts[order],
            _starts(buckets, len(idf)),
            weights[order],
            norm == 0,
        )


def _starts(owners: Tensor, number: int) -> Tensor:
    """(number + 1,) where the terms of each owner start, once sorted by owner."""
    counts = torch.bincount(owners, minlength=number)
    return F.pad(counts.cumsum(0), (1, 0))


class _Bag(torch.autograd.Function):
    """Weighted sums of a table's rows: table (V, W) to (R, W).

    The gradient of the table is a weighted sum of rows, too: for each bucket, the gradients of the
    texts that hold it. So it runs through the same kernel, several times faster than torch's own.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, terms: Terms) -> Tensor:
        ctx.terms = terms
        return sums_of_rows(table, terms.buckets, terms.starts, terms.weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        terms = ctx.terms
        gradient = gradient.contiguous()
        return sums_of_rows(gradient, terms.texts, terms.bucket_starts, terms.bucket_weights), None


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


class ImageEncoder(nn.Module):
    """Thumbnails and missing flags (R, 3 * S * S + 1) to vectors (R, W): three convolutions with
    stride 2, the mean over the picture, a linear layer. A missing picture has a learned vector."""

    def __init__(
        self, feature: ImageFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.width = feature.config.embedding_dim or embedding_dim
        self.size = feature.config.size
        layers: list[nn.Module] = []
        inputs = 3
        for outputs in CHANNELS:
            convolution = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1)
            layers += [_drawn(convolution, 9 * inputs, 6.0, generator), nn.GELU()]
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(inputs)
        self.linear = _drawn(nn.Linear(inputs, self.width), inputs, 3.0, generator)
        self.missing = nn.Parameter(torch.zeros(self.width))

    def forward(self, values: Tensor) -> Tensor:
        """(R, 3 * S * S + 1) uint8 to (R, W)."""
        pixels = values[:, :-1].reshape(-1, 3, self.size, self.size)
        # On a processor, convolutions are half again as fast over pixels than over planes.
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        pixels = pixels.to(self.missing.dtype).div_(127.5).sub_(1.0)
        pooled = self.layers(pixels).mean(dim=(2, 3))
        vectors: Tensor = self.linear(self.norm(pooled))
        return torch.where(values[:, -1:] != 0, self.missing.to(vectors.dtype), vectors)


class VectorEncoder(nn.Module):
    """Vectors and missing flags (R, E + 1) to (R, W): LayerNorm, a linear layer. A missing vector
    has a learned one."""

    def __init__(
        self, feature: EncodedFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.width = feature.config.embedding_dim or embedding_dim
        # A single number is all that LayerNorm would take out.
        self.norm = nn.LayerNorm(feature.dim) if feature.dim > 1 else nn.Identity()
        self.linear = _drawn(nn.Linear(feature.dim, self.width), feature.dim, 3.0, generator)
        self.missing = nn.Parameter(torch.zeros(self.width))

    def forward(self, values: Tensor) -> Tensor:
        """(R, E + 1) float32 to (R, W)."""
        vectors: Tensor = self.linear(self.norm(values[:, :-1]))
        return torch.where(values[:, -1:] != 0, self.missing.to(vectors.dtype), vectors)


ContentEncoder = TextEncoder | ImageEncoder | VectorEncoder


def make_content_encoder(
    feature: ContentFeature, embedding_dim: int, generator: torch.Generator | None
) -> ContentEncoder:
    """The encoder of a fitted text, image or vector; W is D where its config names no width."""
    match feature:
        case TextFeature():
            return TextEncoder(feature, embedding_dim, generator)
        case ImageFeature():
            return ImageEncoder(feature, embedding_dim, generator)
        case _:
            return VectorEncoder(feature, embedding_dim, generator)


def _drawn(
    layer: nn.Conv2d | nn.Linear, inputs: int, gain: float, generator: torch.Generator | None
) -> nn.Module:
    """The layer with weights uniform in ± sqrt(gain / inputs), 3 for LeCun's and 6 for He's, and no
    bias at first."""
    bound = (gain / inputs) ** 0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        assert layer.bias is not None
        layer.bias.zero_()
    return layer
