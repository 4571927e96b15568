"""The raw id as a feature.

It is not a feature type: it is fitted on the interactions, and the towers, id dropout and smoothing
are built around its table. `models/layers/encoders.py` has its encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl
from numpy.typing import NDArray

from twotower.config import IdFeatureConfig
from twotower.config.feature_type import Feature, FeatureDescription, SavedFeature
from twotower.data.features.categorical import vocabulary_facts
from twotower.data.features.vocabulary import Vocabulary


@dataclass(frozen=True)
class IdFeature:
    """The raw id. Encoded as num (R,) int64."""

    name: str
    config: IdFeatureConfig
    column: str
    vocabulary: Vocabulary

    type: ClassVar[str] = "id"
    meaning: ClassVar[str] = (
        "A learned embedding per id in training; unknown ids share out-of-vocabulary (OOV) rows."
    )

    def encode(self, column: pl.Series, *, file: str | None = None) -> NDArray[Any]:
        """Nums (R,) int64; unknown ids become OOV nums."""
        return self.vocabulary.encode(column)

    def save(self) -> SavedFeature:
        """Nothing: the schema keeps the ids of both sides."""
        return SavedFeature()

    def describe(self) -> FeatureDescription:
        """What pages show of it."""
        return FeatureDescription(facts=vocabulary_facts(self.vocabulary))


FittedFeature = IdFeature | Feature
