"""EASE: a linear autoencoder with a zero diagonal, in closed form."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from twotower.config.baselines import EASEConfig
from twotower.data.dataset.interactions import Interactions
from twotower.errors import DataError, explain
from twotower.models.baselines.base import Baseline, Progress, Validate
from twotower.models.baselines.matrix import Matrix

GRAM_CELLS_PER_BLOCK: Final = 1 << 24
"""Cells of a block of the Gram matrix, 64 MB."""
SPARE_BYTES: Final = 1 << 30
"""Memory kept free for blocks and scores."""
MAX_USERS_PER_ITEM: Final = 0.9
"""With fewer users than this share of the items, the users' matrix is inverted instead."""


class EASE(Baseline[EASEConfig]):
    """Scores x_u B, where B minimises |X - X B|² + l2 |B|² with a zero diagonal (Steck 2019,
    equation 8): B_ij = -P_ij / P_jj off the diagonal, P = (X'X + l2 I)^-1.

    Memory is that of one dense N x N matrix of float32, and of one of users x users where the
    inverse is found through the users; time grows with the cube of the smaller number.
    """

    name = "ease"
    config_type = EASEConfig
    reads_histories = True
    weights: Tensor
    """(N, N) B."""

    def _learn(
        self,
        train: Interactions,
        matrix: Matrix,
        rng: np.random.Generator,
        validate: Validate | None,
        progress: Progress | None,
    ) -> None:
        inverse = inverse_gram(matrix, self.config.l2)
        inverse /= -inverse.diagonal().clone()
        self.weights = inverse.fill_diagonal_(0.0)
        if progress is not None:
            progress(1, 1)

    def _scores(self, user_num: NDArray[np.int64]) -> Tensor:
        assert self.histories is not None
        rows = self.histories[user_num]
        return F.embedding_bag(
            torch.from_numpy(rows.indices.astype(np.int64)),
            self.weights,
            torch.from_numpy(rows.indptr.astype(np.int64)),
            mode="sum",
            per_sample_weights=torch.from_numpy(rows.data),
            include_last_offset=True,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"weights": self.weights.numpy()}

    def _take(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.weights = torch.from_numpy(arrays["weights"])


def inverse_gram(matrix: Matrix, l2: float) -> Tensor:
    """(N, N) float32 (X'X + l2 I)^-1 of an interaction matrix X.

    Where there are clearly fewer users than items it is found through the users' matrix:
    (X'X + l2 I)^-1 = (I - X' (XX' + l2 I)^-1 X) / l2, whose inverse is the smaller one.

    Raises:
        DataError: it does not fit into the free memory.
    """
    rows = matrix[np.diff(matrix.indptr) > 0]
    num_users, num_items = rows.shape
    free = psutil.virtual_memory().available - SPARE_BYTES
    if num_users < MAX_USERS_PER_ITEM * num_items and _bytes(num_items, num_users) <= free:
        return _through_users(rows, inverse_of(gram(sparse.csr_array(rows.T), l2)), l2)
    if _bytes(num_items) > free:
        raise DataError(
            explain(
                f"EASE on {num_items:,} items needs {_bytes(num_items) / 1e9:.1f} GB of memory, "
                f"but only {max(0, free) / 1e9:.1f} GB are free",
                fix="leave 'ease' out: 'ials' needs a vector for each user and item alone",
            )
        )
    return inverse_of(gram(rows, l2))


def _bytes(*sizes: int) -> int:
    return sum(4 * size * size for size in sizes)


def gram(matrix: Matrix, l2: float) -> Tensor:
    """(N, N) X'X + l2 I, dense, a block of rows at a time."""
    size = matrix.shape[1]
    transposed = sparse.csr_array(matrix.T)
    dense = torch.empty(size, size)
    step = max(1, GRAM_CELLS_PER_BLOCK // max(1, size))
    for start in range(0, size, step):
        block = (transposed[start : start + step] @ matrix).toarray()
        dense[start : start + step] = torch.from_numpy(block)
    dense.diagonal().add_(l2)
    return dense


def inverse_of(dense: Tensor) -> Tensor:
    """The inverse of a symmetric, positive definite matrix, in its own memory."""
    # LAPACK works in place on columns; the matrix is symmetric, so its rows will do.
    columns = dense.T
    failed = torch.zeros((), dtype=torch.int32)
    torch.linalg.cholesky_ex(columns, out=(columns, failed))
    if failed:
        raise DataError(
            explain("the matrix of the items cannot be inverted", fix="raise the baseline's l2")
        )
    torch.cholesky_inverse(columns, out=columns)
    return dense


def _through_users(rows: Matrix, inverse: Tensor, l2: float) -> Tensor:
    """(N, N) (I - X' M X) / l2 of X (U, N) and M (U, U), a block of items at a time."""
    size = rows.shape[1]
    transposed = sparse.csr_array(rows.T)
    users = inverse.numpy()
    dense = torch.empty(size, size)
    step = max(1, GRAM_CELLS_PER_BLOCK // max(1, size))
    for start in range(0, size, step):
        half = transposed[start : start + step] @ users
        block = transposed @ np.ascontiguousarray(half.T)
        dense[start : start + step] = torch.from_numpy(block.T) / -l2
    dense.diagonal().add_(1 / l2)
    return dense
