"""`category`: one value of a set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from twotower.config.feature_type import FeatureConfig, SavedFeature, register_feature
from twotower.data.features.categorical import CategoricalFeature, saved_vocabulary
from twotower.data.features.cells import categorical, refuse_inexact, refuse_nested
from twotower.data.features.vocabulary import PADDING, Vocabulary
from twotower.data.values.request_values import text_values
from twotower.models.layers.embedding import EmbeddingTable, category_width
from twotower.models.layers.feature_encoder import FeatureEncoder


@register_feature
class CategoryConfig(FeatureConfig):
    """A single value, such as a country or an occupation. Values are compared as text. In a CSV
    file that is the text of the cell, so 9.1 and 9.10 are different; numbers in other files and in
    requests have their shortest spelling (9.1, and 10 for 10.0); booleans are `true` and
    `false`."""

    type: Literal["category"]
    min_count: int = Field(default=1, ge=1)
    """Values with fewer training rows share the OOV row."""
    num_oov: int = Field(default=1, ge=1)
    """Number of embedding rows for values that are not in the training data."""
    embedding_dim: int | None = Field(default=None, ge=1)
    """Dimension of the embedding. Default: grows with the number of values, at most
    `retriever.embedding_dim`."""

    meaning: ClassVar[str] = "A learned embedding per value, and one for missing values."
    precedence: ClassVar[int] = 1

    def fit(self, name: str, column: pl.Series) -> CategoryFeature:
        vocabulary = Vocabulary.build(
            categorical(column), min_count=self.min_count, num_oov=self.num_oov
        )
        return CategoryFeature(name, self, vocabulary)

    def load(self, name: str, saved: SavedFeature) -> CategoryFeature:
        return CategoryFeature(name, self, saved_vocabulary(saved, self.num_oov))

    def check(
        self,
        column: pl.Series,
        *,
        file: str | None = None,
        rows: bool = True,
        keys: str = "the feature's ",
    ) -> Self:
        refuse_nested(column, file)
        refuse_inexact(column, file, rows)
        return self

    def kept(self, column: pl.Series, *, file: str | None = None) -> pl.Series:
        return categorical(column)

    def from_request(self, name: str, values: Sequence[Any]) -> pl.Series:
        return text_values(name, values)

    def count(self, column: pl.Series) -> tuple[int, int]:
        return super().count(categorical(column))


@dataclass(frozen=True)
class CategoryFeature(CategoricalFeature):
    """One value of a set. Encoded as num (R,) int64; missing is padding, unknown is OOV."""

    config: CategoryConfig

    multiple: ClassVar[bool] = False

    def cells(self, column: pl.Series) -> tuple[NDArray[np.int64], pl.Series]:
        values = categorical(column)
        there = values.is_not_null()
        return np.flatnonzero(there.to_numpy()), values.filter(there)

    def value(self, text: str | None) -> str | None:
        found: str | None = categorical(pl.Series([text], dtype=pl.String))[0]
        return found

    def encode(self, column: pl.Series, *, file: str | None = None) -> NDArray[np.int64]:
        """Nums (R,) int64."""
        return self.vocabulary.encode(categorical(column))

    def make_encoder(
        self, embedding_dim: int, generator: torch.Generator | None
    ) -> CategoryEncoder:
        return CategoryEncoder(self, embedding_dim, generator)

    def terms(self, encoded: Tensor) -> Tensor:
        return encoded[:, None]


class CategoryEncoder(FeatureEncoder):
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

    def is_missing(self, values: Tensor) -> Tensor:
        """(R,) bool, of nums (R,)."""
        return values == PADDING

    def impute_missing(self, mean: Tensor, share: float) -> None:
        """Move the vector of a missing value towards the mean one (W,) by a share of the way."""
        self.missing.lerp_(mean.to(self.missing.dtype), share)

    def forward(self, nums: Tensor) -> Tensor:
        """(R,) int64 to (R, W)."""
        vectors: Tensor = self.table(nums)
        return torch.where(self.is_missing(nums)[:, None], self.missing, vectors)
