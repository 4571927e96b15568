"""Texts to hashed words and word n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.features.word_splitting import split_words

CHARACTERS_PER_TERM = 32
"""Of a text, so many characters for each of its `max_terms` are looked at, so that a cell with a
megabyte of text costs no more than a page."""


def distinct(texts: pl.Series) -> tuple[list[str], NDArray[np.int64]]:
    """The different texts (U,), and the place of each row's among them (R,), -1 without one."""
    unique = texts.drop_nulls().unique(maintain_order=True)
    places = pl.DataFrame({"text": unique, "place": np.arange(len(unique), dtype=np.int64)})
    joined = texts.alias("text").to_frame().join(places, "text", "left", maintain_order="left")
    return unique.to_list(), joined["place"].fill_null(-1).to_numpy()


def hash_terms(
    texts: Sequence[str], *, num_buckets: int, ngrams: int, max_terms: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The terms of texts: text (T,) and bucket (T,) of each, in the texts' order, each bucket once
    a text, at most `max_terms` a text.

    The same term has the same bucket in every process: a word's hash is the CRC-32 of its UTF-8
    bytes, an n-gram's is mixed from its words'.

    Args:
        texts: without surrounding blanks.
        num_buckets: buckets are 1 .. num_buckets.
        ngrams: runs of up to this many words are terms.
        max_terms: further different terms of a text are left out.
    """
    words, lengths = _hash_words(texts, max_terms * CHARACTERS_PER_TERM)
    ends = np.cumsum(lengths)
    rows = np.repeat(np.arange(len(texts)), lengths)
    left = ends[rows] - np.arange(len(words))  # words from this one to the end of its text
    hashes = np.zeros((len(words), ngrams), dtype=np.uint64)
    there = np.zeros(hashes.shape, dtype=np.bool_)
    run = np.zeros(len(words), dtype=np.uint64)
    for size in range(ngrams):
        run = _mix(run ^ np.roll(words, -size))
        hashes[:, size], there[:, size] = run, left > size
    buckets = (1 + hashes[there] % np.uint64(num_buckets)).astype(np.int64)
    rows = np.repeat(rows, there.sum(axis=1))
    _, first = np.unique(rows * (num_buckets + 1) + buckets, return_index=True)
    first.sort()
    rows, buckets = rows[first], buckets[first]
    counts = np.bincount(rows, minlength=len(texts))
    kept = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows] < max_terms
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
