"""The protocols that indexes of item vectors follow. Scores are inner products."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import NO_ITEM
from twotower.errors import DataError, explain

BLOCK = 100_000
"""Vectors that are checked at once."""


class SearchResult(NamedTuple):
    """Items for each query, best first.

    Attributes:
        scores: (B, k) float32 inner products, -inf where there is no item.
        item_nums: (B, k) int64, `NO_ITEM` where there is none.
    """

    scores: NDArray[np.float32]
    item_nums: NDArray[np.int64]


class VectorIndex(Protocol):
    """Nearest neighbours by inner product among N item vectors.

    Attributes:
        kind: its name in the config.
    """

    kind: str

    @property
    def item_nums(self) -> NDArray[np.int64]:
        """(N,) ascending: the item num of each vector."""
        ...

    def search(
        self,
        query_vectors: NDArray[np.float32],
        k: int,
        *,
        excluded: Ragged | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> SearchResult:
        """The k best items of each query; filters are applied before the top-k, so that k items
        come back wherever k exist.

        Args:
            query_vectors: (B, D).
            k: at least 1.
            excluded: B lists of item nums to exclude for the query.
            allowed: (max item num + 1,) whether each item may be returned at all.

        Raises:
            ValueError: k is less than 1, or the queries have another shape.
            DataError: a query contains NaN or infinity.
        """
        ...

    def vectors(self) -> NDArray[np.float32]:
        """(N, D) the vectors, in the order of `item_nums`."""
        ...

    def vectors_of(self, nums: NDArray[np.integer]) -> NDArray[np.float32]:
        """(T, D) the vectors of item nums; zeros for an item that is not in the index."""
        ...


class StoredIndex(VectorIndex, Protocol):
    """An index that can be saved in a bundle."""

    def save(self, folder: Path) -> None:
        """Write the index into a folder."""
        ...


def check_search(query_vectors: NDArray[np.float32], k: int, *, width: int) -> None:
    """Refuse queries that no index of vectors (N, `width`) can answer."""
    if k < 1:
        raise ValueError(f"The 'k' parameter must be at least 1. Got {k} instead.")
    shape = query_vectors.shape
    if len(shape) != 2 or shape[1] != width:
        raise ValueError(
            f"The 'query_vectors' parameter must have the shape (B, {width}). Got {shape} instead."
        )
    check_finite(query_vectors, "query")


def check_finite(vectors: NDArray[np.float32], whose: str) -> None:
    """Refuse vectors with NaN or infinity, as of a model that diverged: NaN would rank first."""
    blocks = (vectors[start : start + BLOCK] for start in range(0, len(vectors), BLOCK))
    if not all(np.isfinite(block).all() for block in blocks):
        raise DataError(
            explain(
                f"the {whose} vectors contain NaN or infinity, because the weights of the model do",
                fix="train again with a lower training.learning_rate",
            )
        )


def share_found(found: NDArray[np.int64], exact: NDArray[np.int64]) -> float:
    """The share of the exact item nums (B, k) that are among those found (B, k), `NO_ITEM` being
    none; some are there."""
    hits = (found[:, :, None] == exact[:, None, :]) & (exact[:, None, :] != NO_ITEM)
    return float(hits.any(axis=1).sum() / (exact != NO_ITEM).sum())


def vectors_at(vectors: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
    """(T, D) rows of vectors (N, D); zeros for the place -1."""
    if not len(vectors):
        return np.zeros((len(places), vectors.shape[1]), dtype=np.float32)
    found = vectors[np.maximum(places, 0)].astype(np.float32, copy=False)
    missing = places < 0
    if missing.any():
        found[missing] = 0
    return found
