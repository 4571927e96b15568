"""`vector`: a vector of numbers that another program made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field

from twotower.config.feature_type import (
    Feature,
    FeatureConfig,
    SavedFeature,
    Side,
    register_feature,
)
from twotower.data.features.vectors import flagged, to_vectors
from twotower.models.layers.vector_encoder import VectorEncoder


@register_feature
class VectorConfig(FeatureConfig):
    """A vector computed by another program, with the same length in every row: a list column or a
    .npy file."""

    type: Literal["vector"]
    file: str | None = None
    """A .npy file of shape (rows, length), with the rows of the users or items file in their order.
    Default: the vectors are read from the table."""
    dim: int | None = Field(default=None, ge=1)
    """Required length of the vectors. Default: the length of the first one."""
    normalize: bool = False
    """L2-normalise each vector."""
    embedding_dim: int | None = Field(default=None, ge=1)
    """Dimension of the embedding. Default: `retriever.embedding_dim`."""

    meaning: ClassVar[str] = "A precomputed vector, normalised, followed by a dense layer."
    suggestion: ClassVar[tuple[str, str]] = (
        "Encodes precomputed vectors, such as audio embeddings.",
        '[features.item.sound]\ntype = "vector"',
    )

    def fit(self, name: str, column: pl.Series) -> VectorFeature:
        vectors, missing = to_vectors(column, dim=self.dim)
        known = vectors.shape[1] if not missing.all() else 1
        return VectorFeature(name, self, self.dim or known)

    def load(self, name: str, saved: SavedFeature) -> VectorFeature:
        return VectorFeature(name, self, saved.state["dim"])

    def check(
        self,
        column: pl.Series,
        *,
        file: str | None = None,
        rows: bool = True,
        keys: str = "the feature's ",
    ) -> Self:
        to_vectors(column, dim=self.dim, file=file, rows=rows)
        return self

    def check_side(self, side: Side) -> None:
        if side == "context" and self.file is not None:
            raise ValueError(
                "'file' is for users and items; a request sends its context's vectors as lists"
            )

    def with_paths(self, base: Path, folder: Path) -> Self:
        return (
            self if self.file is None else self.model_copy(update={"file": str(base / self.file)})
        )

    @property
    def array_file(self) -> str | None:
        return self.file


@dataclass(frozen=True)
class VectorFeature(Feature):
    """A vector of `dim` numbers (E). Encoded as (R, E + 1) float32: the numbers, a missing flag.

    The numbers are as they come; the encoder's LayerNorm takes their scale out.
    """

    config: VectorConfig
    dim: int

    def encode(self, column: pl.Series, *, file: str | None = None) -> NDArray[np.float32]:
        """(R, E + 1) float32.

        Raises:
            DataError: a vector has another length than in training, or a value is not a vector.
        """
        vectors, missing = to_vectors(column, dim=self.dim, file=file)
        if self.config.normalize:
            # The largest number is made 1 first, so that no square is out of range.
            largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
            vectors /= np.where(largest > 0, largest, 1).astype(np.float32)
            length = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
            vectors /= np.where(length > 0, length, 1).astype(np.float32)
        return flagged(vectors, missing)

    def save(self) -> SavedFeature:
        return SavedFeature({"dim": self.dim})

    def make_encoder(self, embedding_dim: int, generator: torch.Generator | None) -> VectorEncoder:
        width = self.config.embedding_dim or embedding_dim
        return VectorEncoder(self.dim, width, generator)
