"""Free text as a bag of hashed words and word n-grams, weighted by how rare they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.config import TextConfig
from twotower.data.features.vocabulary import PADDING
from twotower.data.features.word_splitting import split_words
from twotower.data.values.spelling import spelled
from twotower.errors import DataError, explain

CHARACTERS_PER_TERM = 32
"""Of a text, so many characters for each of its `max_terms` are looked at, so that a cell with a
megabyte of text costs no more than a page."""


@dataclass(frozen=True, eq=False)
class TextFeature:
    """A bag of terms. Encoded as term nums (R, M) int64, each once, in the text's order, padded
    with 0; a missing text, and one without a known term, is all 0.

    Words are those of `split_words`, in scripts that write no blanks between them pairs of
    characters. Terms are hashed into buckets; each bucket that has a weight has a num from 1 on,
    and its terms share it.

    Attributes:
        weights: (num_buckets + 1,) float32 inverse document frequency of each bucket in training,
            log((1 + texts) / (1 + texts with it)) + 1; 0 for padding and for what too few texts of
            training hold.
    """

    name: str
    config: TextConfig
    weights: NDArray[np.float32]

    @staticmethod
    def fit(name: str, config: TextConfig, column: pl.Series) -> TextFeature:
        unique, places = distinct(to_texts(column))
        rows, buckets = hash_terms(unique, config)
        times = np.bincount(places[places >= 0], minlength=len(unique))
        count = np.bincount(buckets, weights=times[rows], minlength=config.num_buckets + 1)
        idf = np.log((1 + times.sum()) / (1 + count)) + 1
        idf[(count < config.min_count) | (count == 0)] = 0
        idf[0] = 0
        return TextFeature(name, config, idf.astype(np.float32))

    @property
    def column(self) -> str:
        return self.config.column or self.name

    @cached_property
    def nums(self) -> NDArray[np.int64]:
        """(num_buckets + 1,) the num of each bucket, 0 of those without a weight."""
        return np.where(self.weights > 0, np.cumsum(self.weights > 0), PADDING)

    @cached_property
    def idf(self) -> NDArray[np.float32]:
        """(num_embeddings,) the weight of each num; 0 for padding."""
        return np.concatenate([np.zeros(1, np.float32), self.weights[self.weights > 0]])

    @property
    def num_embeddings(self) -> int:
        """Rows of a table with a row for each num."""
        return len(self.idf)

    def encode(self, column: pl.Series, *, file: str | None = None) -> NDArray[np.int64]:
        """Term nums (R, M) int64; M is the longest row here, at most `max_terms`, at least 1.

        Raises:
            DataError: the column holds lists or bytes.
        """
        unique, places = distinct(to_texts(column, file=file))
        rows, buckets = hash_terms(unique, self.config)
        found = self.nums[buckets]
        rows, found = rows[found != PADDING], found[found != PADDING]
        lengths = np.bincount(rows, minlength=len(unique))
        # The last row stands for missing texts, whose place is -1.
        nums = np.zeros((len(unique) + 1, max(1, int(lengths.max(initial=0)))), dtype=np.int64)
        nums[rows, np.arange(len(rows)) - (np.cumsum(lengths) - lengths)[rows]] = found
        return nums[places]

    def state(self) -> dict[str, Any]:
        return {}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What was fitted and is too large for JSON."""
        return {"weights": self.weights}

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TextFeature)
            and (self.name, self.config) == (other.name, other.config)
            and np.array_equal(self.weights, other.weights)
        )

    __hash__ = None  # type: ignore[assignment]


def to_texts(column: pl.Series, *, file: str | None = None) -> pl.Series:
    """A column as text without surrounding blanks, null where there is none; numbers as they are
    spelled.

    Raises:
        DataError: the column holds lists, bytes or records.
    """
    nested = isinstance(column.dtype, pl.List | pl.Array)
    if nested or column.dtype in (pl.Struct, pl.Object, pl.Binary):
        fix = "declare it 'categories', or join each list into one text"
        raise DataError(
            explain(
                f"is declared text, but holds values of type {column.dtype}",
                file=file,
                column=column.name,
                fix=fix if nested else "write text",
            )
        )
    texts = spelled(column).str.strip_chars()
    return texts.set(texts == "", None)


def distinct(texts: pl.Series) -> tuple[list[str], NDArray[np.int64]]:
    """The different texts (U,), and the place of each row's among them (R,), -1 without one."""
    unique = texts.drop_nulls().unique(maintain_order=True)
    places = pl.DataFrame({"text": unique, "place": np.arange(len(unique), dtype=np.int64)})
    joined = texts.alias("text").to_frame().join(places, "text", "left", maintain_order="left")
    return unique.to_list(), joined["place"].fill_null(-1).to_numpy()


def hash_terms(
    texts: Sequence[str], config: TextConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The terms of texts: text (T,) and bucket (T,) of each, in the texts' order, each bucket once
    a text, at most `max_terms` a text.

    The same term has the same bucket in every process: a word's hash is the CRC-32 of its UTF-8
    bytes, an n-gram's is mixed from its words'.
    """
    words, lengths = _hash_words(texts, config.max_terms * CHARACTERS_PER_TERM)
    ends = np.cumsum(lengths)
    rows = np.repeat(np.arange(len(texts)), lengths)
    left = ends[rows] - np.arange(len(words))  # words from this one to the end of its text
    hashes = np.zeros((len(words), config.ngrams), dtype=np.uint64)
    there = np.zeros(hashes.shape, dtype=np.bool_)
    run = np.zeros(len(words), dtype=np.uint64)
    for size in range(config.ngrams):
        run = _mix(run ^ np.roll(words, -size))
        hashes[:, size], there[:, size] = run, left > size
    buckets = (1 + hashes[there] % np.uint64(config.num_buckets)).astype(np.int64)
    rows = np.repeat(rows, there.sum(axis=1))
    _, first = np.unique(rows * (config.num_buckets + 1) + buckets, return_index=True)
    first.sort()
    rows, buckets = rows[first], buckets[first]
    counts = np.bincount(rows, minlength=len(texts))
    kept = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows] < config.max_terms
    return rows[kept], buckets[kept]


def _hash_words(
    texts: Sequence[str], max_characters: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The hashes of all words, one text after the other, and the number of each text's words."""
    known: dict[str, int] = {}
    hashes: list[int] = []
    lengths = np.zeros(len(texts), dtype=np.int64)
    for place, text in enumerate(texts):
        words = split_words(text[:max_characters])
        lengths[place] = len(words)
        for word in words:
            found = known.get(word)
            if found is None:
                # Texts out of broken files hold halves of surrogate pairs, which UTF-8 has not.
                found = known[word] = crc32(word.encode("utf-8", "surrogatepass"))
            hashes.append(found)
    return np.array(hashes, dtype=np.uint64), lengths


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A bijection of 64 bits that spreads every bit over all (the finaliser of SplitMix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed
