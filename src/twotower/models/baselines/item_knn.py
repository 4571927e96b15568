"""Item-kNN: items are similar if the same users interacted with them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from twotower.config.baselines import ItemKNNConfig
from twotower.data.dataset.interactions import Interactions
from twotower.errors import DataError, explain
from twotower.models.baselines.base import Baseline, Progress, Validate
from twotower.models.baselines.matrix import Matrix
from twotower.models.baselines.storage import matrix_from_arrays, matrix_to_arrays

BM25_K1: Final = 1.2
BM25_B: Final = 0.75
"""The usual values of Robertson & Zaragoza 2009."""
SIMILARITIES_PER_BLOCK: Final = 1 << 23
"""About the most similarities in memory at once."""
BYTES_PER_SIMILARITY: Final = 64
"""Memory of one of a block, while the largest are found."""
BYTES_PER_NEIGHBOUR: Final = 36
"""Memory of one that is kept: it lies in three matrices until all are put together."""


class ItemKNN(Baseline[ItemKNNConfig]):
    """The score of an item is the sum of its similarities to the user's items, where only the K
    most similar items of each item count (Deshpande & Karypis 2004).

    similarity(i, j) = x_i · x_j / (|x_i|^2a |x_j|^2(1-a) + shrinkage), x being the weighted columns
    of the interaction matrix, i the user's item, and a the asymmetry.
    """

    name = "item_knn"
    config_type = ItemKNNConfig
    reads_histories = True
    similarity: Matrix
    """(N, N): of the user's item (row) to the recommended one (column)."""

    def _learn(
        self,
        train: Interactions,
        matrix: Matrix,
        rng: np.random.Generator,
        validate: Validate | None,
        progress: Progress | None,
    ) -> None:
        vectors = item_vectors(matrix, self.config.similarity)
        transposed = sparse.csr_array(vectors.T)
        squares = np.asarray(vectors.multiply(vectors).sum(axis=1), dtype=np.float32).ravel()
        sizes = most_neighbours(vectors, transposed)
        kept = np.minimum(sizes, self.config.neighbours).sum()
        check_memory(len(sizes), int(kept), int(sizes.sum()))
        bounds = blocks_of(sizes, SIMILARITIES_PER_BLOCK)
        blocks = []
        for done, (start, end) in enumerate(pairwise(bounds), start=1):
            products = sparse.csr_array(vectors[start:end] @ transposed)
            blocks.append(self._nearest(products, squares, start))
            if progress is not None:
                progress(done, len(bounds) - 1)
        self.similarity = sparse.csr_array(sparse.vstack(blocks, format="csr").T)

    def _nearest(self, products: Matrix, squares: NDArray[np.float32], start: int) -> Matrix:
        """(B, N) the K items most similar to each of B items from `start` on, whose products with
        all items (B, N) are given, as are the squared lengths (N,); of equal ones the first."""
        alpha, columns = self.config.asymmetry, products.indices
        rows = np.repeat(np.arange(products.shape[0]), np.diff(products.indptr))
        lengths = (squares ** (1 - alpha))[start + rows] * (squares**alpha)[columns]
        values = products.data / np.maximum(lengths + np.float32(self.config.shrinkage), 1e-12)
        kept = (values > 0) & (columns != start + rows)
        values[~kept] = 0.0
        for row in np.flatnonzero(np.diff(products.indptr) > self.config.neighbours):
            part = slice(products.indptr[row], products.indptr[row + 1])
            kept[part] &= are_largest(values[part], columns[part], self.config.neighbours)
        chosen = (values[kept].astype(np.float32), (rows[kept], columns[kept]))
        return sparse.csr_array(chosen, shape=products.shape)

    def _scores(self, user_num: NDArray[np.int64]) -> Tensor:
        assert self.histories is not None
        return torch.from_numpy((self.histories[user_num] @ self.similarity).toarray())

    def arrays(self) -> dict[str, NDArray[Any]]:
        return matrix_to_arrays("similarity", self.similarity)

    def _take(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.similarity = matrix_from_arrays("similarity", arrays, self.items.num_warm)

    @property
    def num_parameters(self) -> int:
        """The similarities that were kept."""
        return int(self.similarity.nnz)


def are_largest(
    values: NDArray[np.floating], columns: NDArray[np.integer], number: int
) -> NDArray[np.bool_]:
    """(L,) which of more than `number` values (L,) are the largest; of equal ones those of the
    lowest columns (L,)."""
    least = np.partition(values, -number)[-number]
    chosen: NDArray[np.bool_] = values > least
    level = np.flatnonzero(values == least)
    missing = number - np.count_nonzero(chosen)
    chosen[level[np.argsort(columns[level])[:missing]]] = True
    return chosen


def check_memory(num_items: int, kept: int, similarities: int) -> None:
    """Refuse what does not fit, before anything is allocated.

    Args:
        num_items: N.
        kept: similarities that are kept.
        similarities: those that are computed.

    Raises:
        DataError: it does not fit into the free memory.
    """
    block = min(similarities, max(SIMILARITIES_PER_BLOCK, num_items))
    needed = BYTES_PER_NEIGHBOUR * kept + BYTES_PER_SIMILARITY * block
    free = psutil.virtual_memory().available
    if needed > free:
        raise DataError(
            explain(
                f"item-kNN on {num_items:,} items needs {needed / 1e9:.1f} GB of memory, but only "
                f"{free / 1e9:.1f} GB are free",
                fix="lower the baseline's 'neighbours', or leave 'item_knn' out: 'ials' needs a "
                "vector for each user and item alone",
            )
        )


def most_neighbours(vectors: Matrix, transposed: Matrix) -> NDArray[np.int64]:
    """(N,) for each item, how many items have a user in common with it, at most: pairs by way of
    two users count twice, but never more than all items.

    Args:
        vectors: (N, users).
        transposed: (users, N).
    """
    of_users = np.diff(transposed.indptr).astype(np.int64)[vectors.indices]
    sums = np.append(0, of_users.cumsum())[vectors.indptr]
    return np.minimum(np.diff(sums), vectors.shape[0])


def blocks_of(sizes: NDArray[np.int64], limit: int) -> list[int]:
    """Where to cut rows (N,) into blocks, the first row of each and the end: as many rows as have
    the sizes of at most `limit` together, at least one."""
    ends, bounds = sizes.cumsum(), [0]
    while bounds[-1] < len(sizes):
        before = ends[bounds[-1] - 1] if bounds[-1] else 0
        bounds.append(max(int(np.searchsorted(ends, before + limit, side="right")), bounds[-1] + 1))
    return bounds


def item_vectors(matrix: Matrix, kind: str) -> Matrix:
    """(N, len(users)) the weighted columns of the interaction matrix.

    `tfidf`: times the users' idf, log(N / (1 + items of the user)), at least 0; `bm25`: the same
    times x (k1 + 1) / (x + k1 (1 - b + b n / mean of n)), n being the weights of the item's users
    summed.
    """
    vectors = sparse.csr_array(matrix.T)
    if kind == "cosine":
        return vectors
    items_per_user = np.diff(matrix.indptr)
    idf = np.maximum(np.log(max(1, vectors.shape[0]) / (1.0 + items_per_user)), 0.0)
    data = vectors.data.astype(np.float64)
    if kind == "bm25":
        totals: NDArray[np.float64] = np.asarray(vectors.sum(axis=1), dtype=np.float64).ravel()
        norms = BM25_K1 * (1 - BM25_B + BM25_B * totals / max(totals.mean(), 1e-12))
        data = data * (BM25_K1 + 1) / (data + np.repeat(norms, np.diff(vectors.indptr)))
    weighted = (data * idf[vectors.indices]).astype(np.float32)
    return sparse.csr_array((weighted, vectors.indices, vectors.indptr), shape=vectors.shape)
