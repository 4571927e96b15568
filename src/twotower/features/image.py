"""`image`: a picture, as a thumbnail for a convolutional net that is trained here, or as the vector
of a pretrained encoder."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor, nn

from twotower.config.feature_type import Feature, FeatureConfig, SavedFeature, register_feature
from twotower.data.features.image_files import (
    LOG,
    ImageProblems,
    Source,
    image_sources,
    named,
    read_pictures,
    thumbnail,
)
from twotower.data.features.pretrained import (
    check_identity,
    content_key,
    load_vision_model,
    model_identity,
    vector_cache,
)
from twotower.data.features.row_cache import RowCache
from twotower.data.features.vectors import flagged
from twotower.errors import DataError, explain
from twotower.models.layers.feature_encoder import FeatureEncoder
from twotower.models.layers.vector_encoder import VectorEncoder, drawn

PRETRAINED_SIDE = 512
"""Pixels a side that are decoded for a pretrained encoder, at least."""


CHANNELS = (8, 32, 64)
"""Of the convolutional net's layers, each half as wide and high as the one before."""


@register_feature
class ImageConfig(FeatureConfig):
    """An image: a path, a file:// URL or the bytes of an image file. Web addresses are rejected;
    unreadable images are treated as missing and logged."""

    type: Literal["image"]
    encoder: str = Field(default="cnn", min_length=1)
    """`cnn`: a small convolutional network trained with the towers. Any other value is the folder
    or name of a vision model of transformers, whose weights are not trained (needs `pip install
    'twotower[image]'`)."""
    size: int = Field(default=32, ge=8, le=256)
    """`cnn`: images are scaled to size x size pixels."""
    folder: str | None = None
    """Folder that relative paths start from. Default: the folder of the side's file; without a
    config file, the working directory."""
    embedding_dim: int | None = Field(default=None, ge=1)
    """Dimension of the embedding. Default: `retriever.embedding_dim`."""

    meaning: ClassVar[str] = (
        "Three convolutions over a thumbnail, average pooling, and a dense layer."
    )
    suggestion: ClassVar[tuple[str, str]] = (
        "Encodes images, so that new items get a vector from their appearance.",
        '[features.item.cover]\ntype = "image"',
    )
    precedence: ClassVar[int] = 0

    def fit(self, name: str, column: pl.Series) -> ImageFeature | ImageVectorFeature:
        """Nothing is fitted to the column; of a pretrained encoder, the width is read.

        Raises:
            ConfigError: a pretrained encoder cannot be loaded.
        """
        if self.encoder == "cnn":
            return ImageFeature(name, self)
        dim = load_vision_model(self.encoder).dim
        return ImageVectorFeature(name, self, dim, model_identity(self.encoder))

    def load(self, name: str, saved: SavedFeature) -> ImageFeature | ImageVectorFeature:
        if self.encoder == "cnn":
            return ImageFeature(name, self)
        return ImageVectorFeature(name, self, saved.state["dim"], saved.state["identity"])

    def check(
        self,
        column: pl.Series,
        *,
        file: str | None = None,
        rows: bool = True,
        keys: str = "the feature's ",
    ) -> Self:
        image_sources(column, file=file, rows=rows)
        return self

    def with_paths(self, base: Path, folder: Path) -> Self:
        """The encoder as a folder if there is one of its name, else as a model name."""
        update = {"folder": str(base / self.folder if self.folder else folder)}
        if self.encoder != "cnn" and (base / self.encoder).is_dir():
            update["encoder"] = str(base / self.encoder)
        return self.model_copy(update=update)

    @property
    def image_folder(self) -> Path:
        return Path(self.folder or ".")

    def from_request(self, name: str, values: Sequence[Any]) -> pl.Series:
        """Images as base64: a path would have the server read its own files."""
        return pl.Series(name, [from_base64(value, name) for value in values], pl.Binary)

    def unusable(self, column: pl.Series, *, file: str | None = None) -> str | None:
        _, problems = ImageFeature(column.name, self).read(column, file=file)
        return problems.words(column.name, file) if problems else None


@dataclass(frozen=True)
class ImageFeature(Feature):
    """A picture. Encoded as (R, 3 * size * size + 1) uint8: a thumbnail, all its red, then green,
    then blue, and a missing flag."""

    config: ImageConfig

    def encode(self, column: pl.Series, *, file: str | None = None) -> NDArray[np.uint8]:
        """(R, 3 * size * size + 1) uint8; unusable images are missing, and logged.

        Raises:
            DataError: the column holds no pictures, or addresses on the web.
        """
        thumbs, problems = self.read(column, file=file)
        if problems:
            LOG.warning(problems.words(column.name, file))
        return thumbs

    def read(
        self, column: pl.Series, *, file: str | None = None
    ) -> tuple[NDArray[np.uint8], ImageProblems]:
        """As `encode`, with the pictures that cannot be used."""
        size = self.config.size
        cache = RowCache(f"thumbnails-{size}", 3 * size * size, np.uint8)
        rows, missing, problems = _read_all(
            image_sources(column, file=file),
            self.config,
            cache,
            key=lambda content: hashlib.sha256(content).digest(),
            prepare=partial(thumbnail, size=size),
            at_least=size,
        )
        return np.concatenate([rows, missing[:, None].astype(np.uint8)], axis=1), problems

    def make_encoder(self, embedding_dim: int, generator: torch.Generator | None) -> ImageEncoder:
        return ImageEncoder(self, embedding_dim, generator)


class ImageEncoder(FeatureEncoder):
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
            layers += [drawn(convolution, 9 * inputs, 6.0, generator), nn.GELU()]
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(inputs)
        self.linear = drawn(nn.Linear(inputs, self.width), inputs, 3.0, generator)
        self.missing = nn.Parameter(torch.zeros(self.width))

    def is_missing(self, values: Tensor) -> Tensor:
        """(R,) bool, of what `forward` reads."""
        return values[:, -1] != 0

    def impute_missing(self, mean: Tensor, share: float) -> None:
        """Move the vector of a missing value towards the mean one (W,) by a share of the way."""
        self.missing.lerp_(mean.to(self.missing.dtype), share)

    def forward(self, values: Tensor) -> Tensor:
        """(R, 3 * S * S + 1) uint8 to (R, W)."""
        pixels = values[:, :-1].reshape(-1, 3, self.size, self.size)
        # On a processor, convolutions are half again as fast over pixels than over planes.
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        pixels = pixels.to(self.missing.dtype).div_(127.5).sub_(1.0)
        pooled = self.layers(pixels).mean(dim=(2, 3))
        vectors: Tensor = self.linear(self.norm(pooled))
        return torch.where(
            self.is_missing(values)[:, None], self.missing.to(vectors.dtype), vectors
        )


@dataclass(frozen=True)
class ImageVectorFeature(Feature):
    """A picture as the vector (E) of a pretrained encoder. Encoded as (R, E + 1) float32: the
    vector, a missing flag.

    Attributes:
        dim: E.
        identity: of the model; another model is refused.
    """

    config: ImageConfig
    dim: int
    identity: str

    def encode(self, column: pl.Series, *, file: str | None = None) -> NDArray[np.float32]:
        """(R, E + 1) float32; each different content is read once, ever.

        Raises:
            DataError: the column holds no pictures, or addresses on the web.
            ConfigError: there is a new picture, and the model cannot be loaded.
        """
        vectors, missing, problems = _read_all(
            image_sources(column, file=file),
            self.config,
            vector_cache(self.identity, self.dim),
            key=partial(content_key, self.identity),
            prepare=self._prepare,
            at_least=PRETRAINED_SIDE,
            finish=lambda pixels: load_vision_model(self.config.encoder).vectors(pixels),
        )
        if problems:
            LOG.warning(problems.words(column.name, file))
        return flagged(vectors, missing)

    def _prepare(self, image: Image.Image) -> NDArray[np.float32]:
        check_identity(self.config.encoder, self.identity)
        pixels: NDArray[np.float32] = load_vision_model(self.config.encoder).prepare(image)
        return pixels

    def save(self) -> SavedFeature:
        return SavedFeature({"dim": self.dim, "identity": self.identity})

    def make_encoder(self, embedding_dim: int, generator: torch.Generator | None) -> VectorEncoder:
        width = self.config.embedding_dim or embedding_dim
        return VectorEncoder(self.dim, width, generator)


def _read_all(
    cells: Sequence[Source | None],
    config: ImageConfig,
    cache: RowCache,
    *,
    key: Callable[[bytes], bytes],
    prepare: Callable[[Image.Image], NDArray[Any]],
    at_least: int,
    finish: Callable[[Sequence[NDArray[Any]]], NDArray[Any]] = np.stack,
) -> tuple[NDArray[Any], NDArray[np.bool_], ImageProblems]:
    """Rows (R, W) of the cells' pictures, which are missing (R,), and what cannot be used.

    Each different source is read once, and what is made of each different content is made once.
    """
    sources = list(dict.fromkeys(cell for cell in cells if cell is not None))
    folder = Path(config.folder) if config.folder is not None else Path()
    keys: dict[Source, bytes] = {}
    reasons: dict[Source, str] = {}
    made: dict[bytes, NDArray[Any]] = {}
    start = 0
    for chunk in read_pictures(
        sources,
        folder,
        key=key,
        known=lambda name: name in cache or name in made,
        prepare=prepare,
        at_least=at_least,
    ):
        fresh = {p.key: p.pixels for p in chunk if p.pixels is not None and p.key not in made}
        if fresh:
            made.update(zip(fresh, finish(list(fresh.values())), strict=True))
        for source, picture in zip(sources[start:], chunk, strict=False):
            if picture.problem is None:
                keys[source] = picture.key
            else:
                reasons[source] = picture.problem
        start += len(chunk)
    if made:
        cache.add(list(made), np.stack(list(made.values())))
    rows = np.zeros((len(cells), cache.width), dtype=cache.dtype)
    there = [place for place, cell in enumerate(cells) if cell in keys]
    if there:
        rows[there] = cache.rows([keys[cells[place]] for place in there])  # type: ignore[index]
    missing = np.ones(len(cells), dtype=np.bool_)
    missing[there] = False
    return rows, missing, _problems(cells, reasons)


def _problems(cells: Sequence[Source | None], reasons: dict[Source, str]) -> ImageProblems:
    wrong = [(row, cell) for row, cell in enumerate(cells) if cell is not None and cell in reasons]
    return ImageProblems(
        tuple(row for row, _ in wrong),
        tuple(named(cell) for _, cell in wrong),
        tuple(reasons[cell] for _, cell in wrong),
        sum(cell is not None for cell in cells),
    )


def from_base64(value: Any, name: str) -> bytes | None:
    """The bytes of an image of a request, sent as base64 text for the column `name`.

    Raises:
        DataError: it is not base64.
    """
    if value is None:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise DataError(
            explain(
                "is declared as an image, and the service takes pictures as base64",
                column=name,
                value=value,
                fix="send the bytes of the file, encoded as base64",
            )
        ) from None
