"""Item-kNN: items are similar if the same users interacted with them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from twotower.config.baselines import ItemKNNConfig
from twotower.data.dataset.interactions import Interactions
from twotower.models.baselines.base import Baseline, Progress, Validate
from twotower.models.baselines.matrix import Matrix
from twotower.models.baselines.storage import matrix_from_arrays, matrix_to_arrays

BM25_K1: Final = 1.2
BM25_B: Final = 0.75
"""The usual values of Robertson & Zaragoza 2009."""
SIMILARITIES_PER_BLOCK: Final = 1 << 23
"""Most similarities in memory at once."""


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
        size = max(1, SIMILARITIES_PER_BLOCK // max(1, vectors.shape[0]))
        starts = range(0, vectors.shape[0], size)
        blocks = []
        for done, start in enumerate(starts, start=1):
            blocks.append(self._nearest(vectors, start, min(start + size, vectors.shape[0])))
            if progress is not None:
                progress(done, len(starts))
        self.similarity = sparse.csr_array(sparse.vstack(blocks, format="csr").T)

    def _nearest(self, vectors: Matrix, start: int, end: int) -> Matrix:
        """(end - start, N) the K items most similar to each item of a block."""
        alpha = self.config.asymmetry
        squares = np.asarray(vectors.multiply(vectors).sum(axis=1), dtype=np.float32).ravel()
        products = (vectors[start:end] @ vectors.T).tocoo()
        rows, columns = (part.astype(np.int64) for part in (products.row, products.col))
        lengths = squares[start + rows] ** (1 - alpha) * squares[columns] ** alpha
        values = products.data / np.maximum(lengths + np.float32(self.config.shrinkage), 1e-12)
        values[columns == start + rows] = 0.0
        order = np.lexsort((columns, -values, rows))
        starts = np.searchsorted(rows[order], np.arange(end - start))
        ranks = np.arange(len(order)) - starts[rows[order]]
        kept = order[(ranks < self.config.neighbours) & (values[order] > 0)]
        return sparse.csr_array(
            (values[kept].astype(np.float32), (rows[kept], columns[kept])),
            shape=(end - start, vectors.shape[0]),
        )

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
