"""`text`: free text, as a bag of hashed words and word n-grams that are weighted by how rare they
are, or as the vector of a pretrained sentence encoder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field

from twotower.config.feature_type import (
    Feature,
    FeatureConfig,
    SavedFeature,
    register_feature,
)
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ragged_tensor import RaggedTensor
from twotower.data.features.cells import categorical, to_texts
from twotower.data.features.hashed_terms import distinct, hash_terms
from twotower.data.features.pretrained import (
    AT_ONCE,
    check_identity,
    content_key,
    load_sentence_model,
    model_identity,
    vector_cache,
)
from twotower.data.features.vectors import flagged
from twotower.data.features.vocabulary import PADDING
from twotower.data.values.request_values import text_values
from twotower.data.values.spelling import spelled
from twotower.errors import explain
from twotower.models.layers.embedding_bag import EmbeddingBag
from twotower.models.layers.vector_encoder import VectorEncoder


@register_feature
class TextConfig(FeatureConfig):
    """Free text, such as a title or a description."""

    type: Literal["text"]
    encoder: str = Field(default="bag", min_length=1)
    """`bag`: hashed words and word n-grams, with embeddings trained with the towers. Any other
    value is the folder or name of a sentence-transformers model, whose weights are not trained
    (needs `pip install 'twotower[text]'`)."""
    num_buckets: int = Field(default=32_768, ge=1, le=2**31 - 2)
    """`bag`: number of hash buckets for words and n-grams. The embedding table has one row per
    bucket that occurs in training."""
    ngrams: int = Field(default=2, ge=1, le=5)
    """`bag`: longest n-gram, in words."""
    max_terms: int = Field(default=512, ge=1)
    """`bag`: largest number of distinct terms per text; further terms are ignored."""
    min_count: int = Field(default=2, ge=1)
    """`bag`: terms that occur in fewer training texts are ignored."""
    embedding_dim: int | None = Field(default=None, ge=1)
    """Dimension of the embedding. Default: `retriever.embedding_dim`."""

    meaning: ClassVar[str] = (
        "Words and word pairs hashed into buckets; the weighted sum of their embeddings, with rare "
        "words weighted more."
    )
    suggestion: ClassVar[tuple[str, str]] = (
        "Encodes titles and descriptions, so that new items get a vector from their text.",
        '[features.item.description]\ntype = "text"',
    )
    precedence: ClassVar[int] = 2

    def fit(self, name: str, column: pl.Series) -> TextFeature | SentenceFeature:
        """Inverse document frequencies of the terms, or the width of a pretrained encoder.

        Raises:
            ConfigError: a pretrained encoder cannot be loaded.
            DataError: the column holds lists or bytes.
        """
        if self.encoder != "bag":
            dim = int(load_sentence_model(self.encoder).get_embedding_dimension())
            return SentenceFeature(name, self, dim, model_identity(self.encoder))
        unique, places = distinct(to_texts(column))
        rows, buckets = self.hash(unique)
        times = np.bincount(places[places >= 0], minlength=len(unique))
        count = np.bincount(buckets, weights=times[rows], minlength=self.num_buckets + 1)
        idf = np.log((1 + times.sum()) / (1 + count)) + 1
        idf[(count < self.min_count) | (count == 0)] = 0
        idf[0] = 0
        return TextFeature(name, self, idf.astype(np.float32))

    def load(self, name: str, saved: SavedFeature) -> TextFeature | SentenceFeature:
        if self.encoder == "bag":
            return TextFeature(name, self, saved.arrays["weights"])
        return SentenceFeature(name, self, saved.state["dim"], saved.state["identity"])

    def hash(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Text (T,) and bucket (T,) of the terms of texts."""
        return hash_terms(
            texts, num_buckets=self.num_buckets, ngrams=self.ngrams, max_terms=self.max_terms
        )

    def check(
        self,
        column: pl.Series,
        *,
        file: str | None = None,
        rows: bool = True,
        keys: str = "the feature's ",
    ) -> Self:
        to_texts(column, file=file)
        return self

    def count_terms(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """(T,) how many different terms texts have, those that are ignored among them."""
        uncut = self.model_copy(update={"max_terms": sys.maxsize})
        counts = np.zeros(len(texts), dtype=np.int64)
        for start in range(0, len(texts), AT_ONCE):
            block = texts[start : start + AT_ONCE]
            rows, _ = uncut.hash(block)
            counts[start : start + AT_ONCE] = np.bincount(rows, minlength=len(block))
        return counts

    def unusable(self, column: pl.Series, *, file: str | None = None) -> str | None:
        if self.encoder != "bag":
            return None
        unique, places = distinct(to_texts(column, file=file))
        lengths = self.count_terms(unique)[places[places >= 0]]
        longer = int((lengths > self.max_terms).sum())
        if not longer:
            return None
        ignored = int((lengths - self.max_terms).clip(min=0).sum())
        return explain(
            f"{longer:,} of {len(lengths):,} texts have more than {self.max_terms:,} different "
            f"terms, {int(lengths.max()):,} at most: {ignored:,} of {int(lengths.sum()):,} terms "
            "are ignored",
            file=file,
            column=column.name,
            fix="put the most important words first, or raise max_terms",
        )

    def with_paths(self, base: Path, folder: Path) -> Self:
        """The encoder as a folder if there is one of its name, else as a model name."""
        if self.encoder != "bag" and (base / self.encoder).is_dir():
            return self.model_copy(update={"encoder": str(base / self.encoder)})
        return self

    def kept(self, column: pl.Series, *, file: str | None = None) -> pl.Series:
        return spelled(column)

    def from_request(self, name: str, values: Sequence[Any]) -> pl.Series:
        return text_values(name, values)

    def count(self, column: pl.Series) -> tuple[int, int]:
        return super().count(categorical(column))


@dataclass(frozen=True, eq=False)
class TextFeature(Feature):
    """A bag of terms. Encoded as lists of term nums, each once, in the text's order; a missing
    text, and one without a known term, has none.

    Words are those of `split_words`; scripts without blanks between words give pairs of
    characters. Terms are hashed into buckets; each bucket that has a weight has a num from 1 on,
    and its terms share it.

    Attributes:
        weights: (num_buckets + 1,) float32 inverse document frequency of each bucket in training,
            log((1 + texts) / (1 + texts with it)) + 1; 0 for padding and for terms in fewer than
            `min_count` texts.
    """

    config: TextConfig
    weights: NDArray[np.float32]

    @cached_property
    def nums(self) -> NDArray[np.int64]:
        """(num_buckets + 1,) the num of each bucket, 0 of those without a weight."""
        return np.where(self.weights > 0, np.cumsum(self.weights > 0), PADDING)

    @cached_property
    def idf(self) -> NDArray[np.float32]:
        """(num_embeddings,) the weight of each num; 0 for padding."""
        return np.concatenate([np.zeros(1, np.float32), self.weights[self.weights > 0]])

    @property
    def num_terms(self) -> int:
        """Rows of a table with a row for each num."""
        return len(self.idf)

    def encode(self, column: pl.Series, *, file: str | None = None) -> Ragged:
        """Term nums of R texts, at most `max_terms` each.

        Raises:
            DataError: the column holds lists or bytes.
        """
        unique, places = distinct(to_texts(column, file=file))
        rows, buckets = self.config.hash(unique)
        found = self.nums[buckets]
        there = found != PADDING
        # A missing text has the place -1, where there is no list.
        return Ragged.of_sorted(rows[there], found[there], len(unique)).take(places)

    def save(self) -> SavedFeature:
        return SavedFeature(arrays={"weights": self.weights})

    def notes(self, where: str) -> list[str]:
        if (self.weights > 0).any():
            return []
        return [
            f"{where}: no term of column {self.column!r} occurs in "
            f"{self.config.min_count:,} texts of training (min_count), so that the feature "
            "has no effect. Lower min_count, or remove the feature."
        ]

    def make_encoder(self, embedding_dim: int, generator: torch.Generator | None) -> TextEncoder:
        return TextEncoder(self, embedding_dim, generator)

    def terms(self, encoded: RaggedTensor) -> RaggedTensor:
        return encoded

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TextFeature)
            and (self.name, self.config) == (other.name, other.config)
            and np.array_equal(self.weights, other.weights)
        )

    __hash__ = None  # type: ignore[assignment]


class TextEncoder(EmbeddingBag):
    """Term nums of R texts to the sums of their vectors, each weighted by its inverse document
    frequency (R, W)."""

    def __init__(
        self, feature: TextFeature, embedding_dim: int, generator: torch.Generator | None
    ) -> None:
        width = feature.config.embedding_dim or embedding_dim
        idf = torch.from_numpy(feature.idf.copy())
        super().__init__(idf, width, column=feature.column, generator=generator)


@dataclass(frozen=True)
class SentenceFeature(Feature):
    """Free text as the vector (E) of a sentence encoder. Encoded as (R, E + 1) float32: the vector,
    a missing flag.

    Attributes:
        dim: E.
        identity: of the model; another model is refused.
    """

    config: TextConfig
    dim: int
    identity: str

    def encode(self, column: pl.Series, *, file: str | None = None) -> NDArray[np.float32]:
        """(R, E + 1) float32; each different text is read once, ever.

        Raises:
            DataError: the column holds lists or bytes.
            ConfigError: there is a new text, and the model cannot be loaded.
        """
        texts, places = distinct(to_texts(column, file=file))
        keys = [content_key(self.identity, text.encode("utf-8", "replace")) for text in texts]
        cache = vector_cache(self.identity, self.dim)
        new = [place for place, key in enumerate(keys) if key not in cache]
        if new:
            check_identity(self.config.encoder, self.identity)
            cache.add([keys[place] for place in new], self._read([texts[place] for place in new]))
        vectors = np.zeros((len(texts) + 1, self.dim), dtype=np.float32)
        if keys:
            vectors[:-1] = cache.rows(keys)
        return flagged(vectors[places], places < 0)

    def _read(self, texts: Sequence[str]) -> NDArray[np.float32]:
        model = load_sentence_model(self.config.encoder)
        made = model.encode(list(texts), batch_size=AT_ONCE, show_progress_bar=False)
        return np.asarray(made, dtype=np.float32)

    def save(self) -> SavedFeature:
        return SavedFeature({"dim": self.dim, "identity": self.identity})

    def make_encoder(self, embedding_dim: int, generator: torch.Generator | None) -> VectorEncoder:
        width = self.config.embedding_dim or embedding_dim
        return VectorEncoder(self.dim, width, generator)
