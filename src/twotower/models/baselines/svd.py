"""The interaction matrix by its largest singular values."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from twotower.config.baselines import SVDConfig
from twotower.data.arrays.top_k import MIN_ROWS, multiply
from twotower.data.dataset.interactions import Interactions
from twotower.models.baselines.base import Baseline, Progress, Validate
from twotower.models.baselines.matrix import Matrix

OVERSAMPLING: Final = 32
ITERATIONS: Final = 8


class SVD(Baseline[SVDConfig]):
    """Scores x_u V V', V being the right singular vectors of the matrix with its rows and columns
    scaled (Cremonesi et al. 2010; scaled by counts as in graph smoothing, Shen et al. 2021)."""

    name = "svd"
    config_type = SVDConfig
    reads_histories = True
    item_vectors: Tensor
    """(N, D) V."""
    scale: Tensor
    """(N,) what columns are divided by."""

    def _learn(
        self,
        train: Interactions,
        matrix: Matrix,
        rng: np.random.Generator,
        validate: Validate | None,
        progress: Progress | None,
    ) -> None:
        counts = np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(np.float32)
        self.scale = torch.from_numpy(np.maximum(counts, 1) ** self.config.item_exponent)
        scaled = self._scaled(matrix)
        dim = min(self.config.embedding_dim, *matrix.shape)
        self.item_vectors = right_singular_vectors(scaled, dim, rng)
        if progress is not None:
            progress(1, 1)

    def _scaled(self, matrix: Matrix) -> Matrix:
        counts = np.diff(matrix.indptr)
        rows = np.maximum(counts, 1).astype(np.float32) ** -self.config.user_exponent
        data = matrix.data * np.repeat(rows, counts) / self.scale.numpy()[matrix.indices]
        return sparse.csr_array(
            (data.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape
        )

    def _scores(self, user_num: NDArray[np.int64]) -> Tensor:
        assert self.histories is not None
        taken = self._scaled(self.histories[user_num])
        queries = torch.from_numpy(taken @ self.item_vectors.numpy())
        buffer = torch.empty(max(MIN_ROWS, len(queries)), len(self.item_vectors))
        return multiply(queries, self.item_vectors * self.scale[:, None], buffer)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"item_vectors": self.item_vectors.numpy(), "scale": self.scale.numpy()}

    def _take(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.item_vectors = torch.from_numpy(arrays["item_vectors"])
        self.scale = torch.from_numpy(arrays["scale"])


def right_singular_vectors(matrix: Matrix, dim: int, rng: np.random.Generator) -> Tensor:
    """(N, dim) those of the largest singular values, by randomised subspace iteration (Halko,
    Martinsson & Tropp 2011, algorithms 4.4 and 5.1)."""
    width = min(dim + OVERSAMPLING, *matrix.shape)
    transposed = sparse.csr_array(matrix.T)
    drawn = rng.standard_normal((matrix.shape[1], width), dtype=np.float32)
    basis = _orthonormal(matrix @ drawn)
    for _ in range(ITERATIONS):
        basis = _orthonormal(matrix @ _orthonormal(transposed @ basis))
    small = torch.from_numpy(np.ascontiguousarray(transposed @ basis))
    # small = V S W' holds the right singular vectors of the projected matrix.
    vectors: Tensor = torch.linalg.svd(small, full_matrices=False).U[:, :dim].contiguous()
    return vectors


def _orthonormal(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = torch.linalg.qr(torch.from_numpy(columns)).Q.numpy()
    return result
