"""`categories`: several values of a set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field

from twotower.config.feature_type import FeatureConfig, SavedFeature, register_feature
from twotower.data.arrays.distinct import distinct_values
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ragged_tensor import RaggedTensor
from twotower.data.features.categorical import CategoricalFeature, saved_vocabulary
from twotower.data.features.cells import refuse_inexact, refuse_nested, split_values
from twotower.data.features.vocabulary import PADDING, Vocabulary
from twotower.data.values.request_values import text_values
from twotower.data.values.spelling import spelled
from twotower.errors import shorten
from twotower.models.layers.embedding import category_width
from twotower.models.layers.embedding_bag import EmbeddingBag

WRITTEN_LIST: Final = r"^(\[.*\]|\{.*\})$"
"""A list of Python or JSON as text."""
SEPARATORS: Final = ("|", ";", ",", "/", ">", "\t")


@register_feature
class CategoriesConfig(FeatureConfig):
    """Several values, such as genres or tags."""

    type: Literal["categories"]
    separator: str | None = Field(default=None, min_length=1)
    """Separator of the values in a text cell. List columns do not need one."""
    hierarchical: bool = False
    """Cells are paths, such as `Home > Kitchen > Pans` with the separator `>`: every prefix of the
    path is a value. Blanks around the separator are ignored. Without a separator, a list is a
    path."""
    min_count: int = Field(default=1, ge=1)
    """Values with fewer training rows share the OOV row."""
    num_oov: int = Field(default=1, ge=1)
    """Number of embedding rows for values that are not in the training data."""
    max_values: int = Field(default=64, ge=1)
    """Largest number of values per row; further values are ignored."""
    embedding_dim: int | None = Field(default=None, ge=1)
    """Dimension of the embedding. Default: grows with the number of values, at most
    `retriever.embedding_dim`."""

    meaning: ClassVar[str] = (
        "The sum of the values' embeddings over the square root of their number."
    )
    precedence: ClassVar[int] = 2

    def cells(self, column: pl.Series) -> tuple[NDArray[np.int64], pl.Series]:
        """Row (T,) and value (T,) of what the cells of a column hold."""
        return split_values(column, self.separator, hierarchical=self.hierarchical)

    def fit(self, name: str, column: pl.Series) -> CategoriesFeature:
        vocabulary = Vocabulary.build(
            self.cells(column)[1], min_count=self.min_count, num_oov=self.num_oov
        )
        return CategoriesFeature(name, self, vocabulary)

    def load(self, name: str, saved: SavedFeature) -> CategoriesFeature:
        return CategoriesFeature(name, self, saved_vocabulary(saved, self.num_oov))

    def check(
        self,
        column: pl.Series,
        *,
        file: str | None = None,
        rows: bool = True,
        keys: str = "the feature's ",
    ) -> Self:
        refuse_nested(column, file, lists=True)
        refuse_inexact(column, file, rows)
        return self

    def kept(self, column: pl.Series, *, file: str | None = None) -> pl.Series:
        return spelled(column)

    def from_request(self, name: str, values: Sequence[Any]) -> pl.Series:
        return text_values(name, values)

    def to_cell(self, value: Any) -> Any:
        if self.separator and isinstance(value, list | tuple):
            return self.separator.join(map(str, value))
        return value

    def count(self, column: pl.Series) -> tuple[int, int]:
        rows, values = self.cells(column)
        return len(distinct_values(rows)), values.n_unique()

    def notes(self, where: str, column: pl.Series) -> list[str]:
        """Sentences where no cell of a text column is cut, where cells are lists written as text,
        and where cells have more values than are read."""
        return [*self._notes_on_cells(where, column), *self._notes_on_lengths(where, column)]

    def _notes_on_lengths(self, where: str, column: pl.Series) -> list[str]:
        lengths = np.bincount(self.cells(column)[0], minlength=1)
        longer = int((lengths > self.max_values).sum())
        if not longer:
            return []
        ignored, total = int((lengths - self.max_values).clip(min=0).sum()), int(lengths.sum())
        return [
            f"{where}: {longer:,} rows have more than {self.max_values} values in "
            f"{column.name!r}, {int(lengths.max()):,} at most: {ignored:,} of {total:,} values are "
            "ignored. Put the most important values first, or raise max_values."
        ]

    def _notes_on_cells(self, where: str, column: pl.Series) -> list[str]:
        cells = column.drop_nulls()
        if column.dtype != pl.String or not len(cells):
            return []
        lists = cells.str.strip_chars().str.contains(WRITTEN_LIST)
        if int(lists.sum()) * 2 > len(cells):
            return [
                f"{where}: {int(lists.sum()):,} of {len(cells):,} cells of {column.name!r} are "
                f"lists written as text, such as {shorten(cells.filter(lists)[0], 40)}: their "
                "brackets and quotes are read as part of the values. Write the values with a "
                "separator, such as a|b, or as lists of JSON Lines or Parquet."
            ]
        if self.separator is None:
            problem = f"no separator is set, so that each cell of {column.name!r} is one value"
        elif not cells.str.contains(self.separator, literal=True).any():
            problem = f"no cell of {column.name!r} holds the separator {self.separator!r}"
        else:
            return []
        shares = {
            other: float(cells.str.contains(other, literal=True).mean() or 0)  # type: ignore[arg-type]
            for other in SEPARATORS
            if other != self.separator
        }
        best = max(shares, key=lambda other: shares[other])
        found = f": {shares[best]:.0%} of the cells hold {best!r}" if shares[best] > 0.5 else ""
        fix = (
            f"Set separator = {json.dumps(best)}"
            if found
            else "Set the separator, or declare a category"
        )
        return [f"{where}: {problem}{found}. {fix}."]


@dataclass(frozen=True)
class CategoriesFeature(CategoricalFeature):
    """Several values of a set. Encoded as lists of nums; a missing value is an empty one."""

    config: CategoriesConfig

    multiple: ClassVar[bool] = True

    def cells(self, column: pl.Series) -> tuple[NDArray[np.int64], pl.Series]:
        return self.config.cells(column)

    def value(self, text: str | None) -> str | None:
        """A single value of a filter as cells hold it: a whole path where they hold paths."""
        separator = self.config.separator if self.config.hierarchical else None
        column = pl.Series([text], dtype=pl.String)
        found = split_values(column, separator, hierarchical=self.config.hierarchical)[1]
        return found[-1] if len(found) else None

    def encode(self, column: pl.Series, *, file: str | None = None) -> Ragged:
        """Nums of R rows, at most `max_values` each."""
        rows, values = self.cells(column)
        lengths = np.bincount(rows, minlength=len(column))
        places = np.arange(len(rows)) - (np.cumsum(lengths) - lengths)[rows]
        kept = places < self.config.max_values
        return Ragged.of_sorted(rows[kept], self.vocabulary.encode(values)[kept], len(column))

    def make_encoder(
        self, embedding_dim: int, generator: torch.Generator | None
    ) -> CategoriesEncoder:
        return CategoriesEncoder(self, embedding_dim, generator)

    def terms(self, encoded: RaggedTensor) -> RaggedTensor:
        return encoded


class CategoriesEncoder(EmbeddingBag):
    """Nums of R rows to the sums of their embeddings over the square root of their number
    (R, W)."""

    def __init__(
        self, feature: CategoriesFeature, limit: int, generator: torch.Generator | None
    ) -> None:
        weights = torch.ones(feature.vocabulary.num_embeddings)
        weights[PADDING] = 0
        width = feature.config.embedding_dim or category_width(len(weights), limit)
        super().__init__(weights, width, column=feature.column, generator=generator)
