"""Image features: pictures as thumbnails for a net that is trained here, or as the vectors of a
pretrained encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from twotower.config import ImageConfig
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

PRETRAINED_SIDE = 512
"""Pixels a side that are decoded for a pretrained encoder, at least."""


@dataclass(frozen=True)
class ImageFeature:
    """A picture. Encoded as (R, 3 * size * size + 1) uint8: a thumbnail, all its red, then green,
    then blue, and a missing flag."""

    name: str
    config: ImageConfig

    @staticmethod
    def fit(name: str, config: ImageConfig, column: pl.Series) -> ImageFeature:
        """Nothing is fitted; the column is not looked at."""
        return ImageFeature(name, config)

    @property
    def column(self) -> str:
        return self.config.column or self.name

    def encode(self, column: pl.Series, *, file: str | None = None) -> NDArray[np.uint8]:
        """(R, 3 * size * size + 1) uint8; pictures that cannot be used are missing, and told.

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

    def state(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class ImageVectorFeature:
    """A picture as the vector (E) of a pretrained encoder. Encoded as (R, E + 1) float32: the
    vector, a missing flag.

    Attributes:
        dim: E.
        identity: of the model, so that another one is not taken for it.
    """

    name: str
    config: ImageConfig
    dim: int
    identity: str

    @staticmethod
    def fit(name: str, config: ImageConfig, column: pl.Series) -> ImageVectorFeature:
        """Only the model is looked at."""
        dim = load_vision_model(config.encoder).dim
        return ImageVectorFeature(name, config, dim, model_identity(config.encoder))

    @property
    def column(self) -> str:
        return self.config.column or self.name

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

    def state(self) -> dict[str, Any]:
        return {"dim": self.dim, "identity": self.identity}


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
