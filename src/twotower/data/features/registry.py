"""Features of content: text, pictures and vectors, whichever encoder reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import polars as pl
from numpy.typing import NDArray

from twotower.config import ImageConfig, TextConfig, VectorConfig
from twotower.data.features.images import ImageFeature, ImageVectorFeature
from twotower.data.features.pretrained import SentenceFeature
from twotower.data.features.text import TextFeature
from twotower.data.features.vectors import VectorFeature

ContentConfig = TextConfig | ImageConfig | VectorConfig
EncodedFeature = VectorFeature | SentenceFeature | ImageVectorFeature
"""Those that are encoded as (R, E + 1) float32: a vector and a missing flag."""
ContentFeature = TextFeature | ImageFeature | EncodedFeature


@runtime_checkable
class HasArrays(Protocol):
    """A feature with a state that is too large for JSON."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By name, as a file can be named."""
        ...


def fit_content(name: str, config: ContentConfig, column: pl.Series) -> ContentFeature:
    """Fit a declared text, image or vector on the training part's column.

    Raises:
        ConfigError: a pretrained encoder cannot be loaded.
        DataError: a value is not of the declared type.
    """
    match config:
        case TextConfig(encoder="bag"):
            return TextFeature.fit(name, config, column)
        case TextConfig():
            return SentenceFeature.fit(name, config, column)
        case ImageConfig(encoder="cnn"):
            return ImageFeature.fit(name, config, column)
        case ImageConfig():
            return ImageVectorFeature.fit(name, config, column)
        case VectorConfig():
            return VectorFeature.fit(name, config, column)


def restore_content(
    name: str, config: ContentConfig, state: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> ContentFeature:
    """A feature from the `state` and the `arrays` that it gave."""
    match config:
        case TextConfig(encoder="bag"):
            return TextFeature(name, config, arrays["weights"])
        case TextConfig():
            return SentenceFeature(name, config, state["dim"], state["identity"])
        case ImageConfig(encoder="cnn"):
            return ImageFeature(name, config)
        case ImageConfig():
            return ImageVectorFeature(name, config, state["dim"], state["identity"])
        case VectorConfig():
            return VectorFeature(name, config, state["dim"])
