"""Features whose values are a fixed set: a vocabulary of text."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.config.feature_type import Feature, FeatureDescription, SavedFeature
from twotower.data.features.vocabulary import Vocabulary


@dataclass(frozen=True)
class CategoricalFeature(Feature):
    """A feature with a vocabulary. Filters compare its column by value, and its values are terms.

    Attributes:
        vocabulary: the values of training.
    """

    vocabulary: Vocabulary

    multiple: ClassVar[bool]
    """Whether a cell can hold several values."""

    @abstractmethod
    def cells(self, column: pl.Series) -> tuple[NDArray[np.int64], pl.Series]:
        """Row (T,) and value (T,) of what the cells of a column hold, without missing values."""

    @abstractmethod
    def value(self, text: str | None) -> str | None:
        """A single value of a filter as cells hold it."""

    def save(self) -> SavedFeature:
        return SavedFeature(values=self.vocabulary.values)

    def describe(self) -> FeatureDescription:
        return FeatureDescription(
            values=self.vocabulary.values, facts=vocabulary_facts(self.vocabulary)
        )

    @property
    def num_terms(self) -> int:
        return self.vocabulary.num_embeddings


def saved_vocabulary(saved: SavedFeature, num_oov: int) -> Vocabulary:
    """The vocabulary of a saved feature."""
    assert saved.values is not None
    return Vocabulary(saved.values, num_oov=num_oov).as_text()


def vocabulary_facts(vocabulary: Vocabulary) -> dict[str, int]:
    """What a page says of a vocabulary."""
    return {
        "known values": len(vocabulary),
        "OOV rows": vocabulary.num_oov,
        "rows of the table": vocabulary.num_embeddings,
    }
