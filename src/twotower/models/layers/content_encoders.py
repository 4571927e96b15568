"""Encoders of content: bags of words, thumbnails and vectors of R rows to vectors (R, W)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from twotower.data.features.images import ImageFeature
from twotower.data.features.registry import ContentFeature, EncodedFeature
from twotower.data.features.text import TextFeature
from twotower.models.layers.embedding_bag import EmbeddingBag

CHANNELS = (8, 32, 64)
"""Of the convolutional net's layers, each half as wide and high as the one before."""


class TextEncoder(EmbeddingBag):
    """Term nums (R, M), padded with 0, to the sum of their vectors, each weighted by its inverse
    document frequency (R, W)."""

    def __init__(
        self, feature: TextFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        width = feature.config.embedding_dim or embedding_dim
        idf = torch.from_numpy(feature.idf.copy())
        super().__init__(idf, width, column=feature.column, generator=generator)


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
