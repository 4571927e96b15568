"""Implicit alternating least squares, with new users folded in."""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from twotower.config.baselines import IALSConfig
from twotower.data.arrays.ranked import HISTORY
from twotower.data.dataset.interactions import Interactions
from twotower.models.baselines.base import Progress, Validate
from twotower.models.baselines.epochs import run_epochs
from twotower.models.baselines.factors import Factors
from twotower.models.baselines.matrix import Matrix
from twotower.models.baselines.popularity_ranker import row_blocks

UNOBSERVED_SHARE: Final = 10.0
"""Target of `unobserved_weight = "auto"`. The best of searches on validation rows: 6.8 on
ml-1m, 9.7 on yelp2018, 15 on gowalla."""
L2: Final = 0.007
"""`l2 = "auto"` for `L2_PAIRS` pairs; it falls with the third root of their number, from `MAX_L2`.
The best on validation rows of ml-1m, parts of it, and smaller sets: see docs/experiments.md."""
L2_PAIRS: Final = 660_000
MAX_L2: Final = 0.03
GATHERED_NUMBERS_PER_BLOCK: Final = 1 << 23
"""Numbers of gathered vectors in memory at once, 32 MB."""
STEPS: Final = 2
"""Steps of conjugate gradients per epoch. Epochs with 2 reach what exact ones reach on validation
rows of all data sets that were tried, epochs with 1 do not: see docs/experiments.md."""
FIRST_EPOCHS, FIRST_STEPS = 2, 6
"""Epochs that begin far from where they lead to, and their steps. On few rows one of these is the
best, and with as few steps as later on it falls short of an exact one."""
NUMBERS_PER_BLOCK: Final = 1 << 18
"""Numbers of a block of vectors that are improved together, 1 MB."""
ROWS_PER_SUM: Final = 8192
"""Rows whose squares are summed in single precision; sums of blocks are in double."""


class IALS(Factors[IALSConfig]):
    """Minimises, over the vectors p of users and q of items (Rendle et al. 2021, equations 3 to 5),

        sum over positive pairs of w (p_u · q_i - 1)² + a sum over all pairs of (p_u · q_i)²
        + sum over users of l2 (n_u + a N)^v |p_u|² + the same over items,

    a being the unobserved weight, n_u the number of the user's pairs, N the number of items, v the
    frequency exponent. An epoch improves all users and then all items by some steps of
    conjugate gradients from where the last epoch left them. A user without training rows is solved
    for exactly at request time, from the items that the user has seen.
    """

    name = "ials"
    config_type = IALSConfig
    reads_histories = True

    def _learn(
        self,
        train: Interactions,
        matrix: Matrix,
        rng: np.random.Generator,
        validate: Validate | None,
        progress: Progress | None,
    ) -> None:
        self.config = resolved(self.config, matrix)
        transposed = sparse.csr_array(matrix.T)
        dim = self.config.embedding_dim
        self.item_vectors = self._draw(rng, matrix.shape[1], dim, self.config.deviation * dim**-0.5)
        self.user_vectors = torch.zeros(matrix.shape[0], dim)
        num_users = int((np.diff(matrix.indptr) > 0).sum())

        def step(epoch: int) -> None:
            users, items, config = self.user_vectors, self.item_vectors, self.config
            steps = steps_of(epoch)
            users = improved(users, matrix, items, config, matrix.shape[1], steps=steps)
            items = improved(items, transposed, users, config, num_users, steps=steps)
            self.user_vectors, self.item_vectors = users, items

        run_epochs(self, self.config, step, validate=validate, progress=progress)

    def _queries(self, user_num: NDArray[np.int64]) -> Tensor:
        queries = super()._queries(user_num)
        folded = np.flatnonzero(self.path_of(user_num) == HISTORY)
        if len(folded):
            assert self.histories is not None
            rows = self.histories[user_num[folded]]
            vectors = solved(rows, self.item_vectors, self.config, len(self.item_vectors))
            queries[torch.from_numpy(folded)] = vectors
        return queries


def resolved(config: IALSConfig, matrix: Matrix) -> IALSConfig:
    """The config with numbers instead of "auto" for `unobserved_weight` and `l2`."""
    found: dict[str, float] = {}
    if config.unobserved_weight == "auto":
        num_users = int((np.diff(matrix.indptr) > 0).sum())
        found["unobserved_weight"] = (
            UNOBSERVED_SHARE * float(matrix.sum()) / (num_users * matrix.shape[1])
        )
    if config.l2 == "auto":
        l2 = L2 * (L2_PAIRS / max(matrix.nnz, 1)) ** (1 / 3)
        found["l2"] = min(float(f"{l2:.2g}"), MAX_L2)
    return config.model_copy(update=found)


def unobserved(config: IALSConfig) -> float:
    """The weight of every pair, which `resolved` has set."""
    assert config.unobserved_weight != "auto"
    return config.unobserved_weight


def objective(
    matrix: Matrix, user_vectors: Tensor, item_vectors: Tensor, config: IALSConfig
) -> float:
    """The loss that `IALS` minimises."""
    users, items = user_vectors.double(), item_vectors.double()
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    scores = (users[rows] * items[matrix.indices.astype(np.int64)]).sum(dim=1)
    error = (torch.from_numpy(matrix.data).double() * (scores - 1) ** 2).sum()
    everything = ((users.T @ users) * (items.T @ items)).sum()
    total = error + unobserved(config) * everything
    of_users, of_items = (np.diff(m.indptr) for m in (matrix, sparse.csr_array(matrix.T)))
    for vectors, counts, others in (
        (users, of_users, matrix.shape[1]),
        (items, of_items, int((of_users > 0).sum())),
    ):
        total = (
            total
            + (torch.from_numpy(ridges(counts, others, config)) * vectors.square().sum(1)).sum()
        )
    return float(total)


def ridges(counts: NDArray[np.integer], others: int, config: IALSConfig) -> NDArray[np.float64]:
    """(R,) l2 (n + a N)^v, the weight of |p|² of a row with n pairs among N others."""
    assert config.l2 != "auto"
    pairs = counts + unobserved(config) * others
    return np.asarray(config.l2 * pairs**config.frequency_exponent, dtype=np.float64)


def steps_of(epoch: int) -> int:
    """Steps of conjugate gradients of an epoch, the first being 1."""
    return FIRST_STEPS if epoch <= FIRST_EPOCHS else STEPS


def improved(
    last: Tensor,
    matrix: Matrix,
    vectors: Tensor,
    config: IALSConfig,
    others: int,
    *,
    steps: int = STEPS,
) -> Tensor:
    """(R, D) vectors of the rows of a matrix (R, M), closer to the optimal ones than the last ones
    (R, D), given those of its columns (M, D); 0 for rows without pairs.

    The systems of `solved`, by some steps of conjugate gradients with the diagonal of each
    row's own system as the preconditioner (Saad 2003, algorithm 9.1). The objective never rises.
    """
    rotated, values, basis = _diagonalised(vectors, config)
    squares = rotated.square()
    counts = np.diff(matrix.indptr)
    asked = np.flatnonzero(counts)
    pairs = matrix[asked]
    ridge = torch.from_numpy(ridges(counts[asked], others, config)).float()
    nums = torch.from_numpy(asked)
    start = last[nums] @ basis
    size = max(1, NUMBERS_PER_BLOCK // vectors.shape[1])
    blocks = [
        _conjugate(
            _Systems(
                pairs[first : first + size], rotated, values + ridge[first : first + size, None]
            ),
            start[first : first + size],
            squares,
            steps,
        )
        for first in range(0, len(asked), size)
    ]
    found = torch.zeros_like(last)
    if blocks:
        found[nums] = torch.cat(blocks) @ basis.T
    return found


class _Systems:
    """The systems (diag(d) + Y'WY) x = Y'w of B rows, which are multiplied but never formed: Y are
    the vectors of a row's pairs, w and W their weights.

    Attributes:
        pairs: (B, M) a row's columns and weights.
        vectors: (M, D).
        diagonal: (B, D) d.
    """

    def __init__(self, pairs: Matrix, vectors: Tensor, diagonal: Tensor) -> None:
        self.weights = torch.from_numpy(pairs.data)
        self.columns = torch.from_numpy(pairs.indices.astype(np.int64))
        self.starts = torch.from_numpy(pairs.indptr.astype(np.int64))
        self.vectors, self.diagonal = vectors, diagonal
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
            self.pattern = torch.sparse_csr_tensor(
                self.starts, self.columns, self.weights, size=pairs.shape, check_invariants=False
            )

    def times(self, x: Tensor) -> Tensor:
        """(B, D) (diag(d) + Y'WY) x."""
        return torch.addcmul(self.sums(self.vectors, self._scores(x)), self.diagonal, x)

    def residual(self, x: Tensor) -> Tensor:
        """(B, D) Y'w - (diag(d) + Y'WY) x."""
        sums = self.sums(self.vectors, 1 - self._scores(x))
        return torch.addcmul(sums, self.diagonal, x, value=-1)

    def sums(self, vectors: Tensor, values: Tensor | None = None) -> Tensor:
        """(B, D) the sum over a row's pairs of weight, value (default: 1) and the column's vector,
        multiplied."""
        weights = self.weights if values is None else self.weights * values
        summed: Tensor = F.embedding_bag(
            self.columns,
            vectors,
            self.starts,
            mode="sum",
            per_sample_weights=weights,
            include_last_offset=True,
        )
        return summed

    def _scores(self, x: Tensor) -> Tensor:
        """(nnz,) Y x."""
        product: Tensor = torch.sparse.sampled_addmm(self.pattern, x, self.vectors.T, beta=0.0)
        return product.values()


def _conjugate(systems: _Systems, x: Tensor, squares: Tensor, steps: int) -> Tensor:
    """(B, D) the vectors after some steps of conjugate gradients from x (B, D).

    Args:
        squares: (M, D) the squares of the systems' vectors.
    """
    tiny = torch.finfo(x.dtype).tiny
    inverse = 1 / (systems.diagonal + systems.sums(squares))
    residual = systems.residual(x)
    direction = scaled = inverse * residual
    size = (residual * scaled).sum(dim=1, keepdim=True)
    for step in range(steps):
        if step:
            scaled = inverse * residual
            before, size = size, (residual * scaled).sum(dim=1, keepdim=True)
            direction = torch.addcmul(scaled, size / before.clamp(min=tiny), direction)
        product = systems.times(direction)
        length = size / (direction * product).sum(dim=1, keepdim=True).clamp(min=tiny)
        x = torch.addcmul(x, length, direction)
        residual = torch.addcmul(residual, length, product, value=-1)
    return x


def solved(matrix: Matrix, vectors: Tensor, config: IALSConfig, others: int) -> Tensor:
    """(R, D) the optimal vectors of the rows of a matrix (R, M), given those of its columns (M, D).

    Each row's system is diag + V_r' W V_r in the basis in which the Gram matrix of all columns is
    diagonal, so that rows with fewer pairs than D can be solved by a system of their pairs.
    """
    rotated, values, basis = _diagonalised(vectors, config)
    counts = np.diff(matrix.indptr).astype(np.int64)
    ridge = torch.from_numpy(ridges(counts, others, config))
    found = torch.zeros(matrix.shape[0], vectors.shape[1])
    asked = np.flatnonzero(counts)
    for places in row_blocks(counts[asked], max(1, GATHERED_NUMBERS_PER_BLOCK // vectors.shape[1])):
        rows = asked[places]
        nums, roots = _padded(matrix, rows, counts[rows])
        pulls = rotated.index_select(0, nums.flatten()).view(*nums.shape, -1) * roots[:, :, None]
        diagonal = (values + ridge[torch.from_numpy(rows)][:, None]).float()
        found[torch.from_numpy(rows)] = _solve(pulls, roots, diagonal)
    back: Tensor = found @ basis.T
    return back


def _diagonalised(vectors: Tensor, config: IALSConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors (M, D) in the basis in which their Gram matrix is diagonal, the diagonal (D,) times
    the weight of all pairs, and the basis (D, D)."""
    gram = torch.zeros(vectors.shape[1], vectors.shape[1], dtype=torch.float64)
    for block in torch.split(vectors, ROWS_PER_SUM):
        gram += block.T @ block
    values, basis = torch.linalg.eigh(unobserved(config) * gram)
    return vectors @ basis.float(), values.clamp(min=0).float(), basis.float()


def _padded(
    matrix: Matrix, rows: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """The columns (B, L) of some rows and the roots of their weights, 0 where a row is shorter."""
    inside = np.arange(counts.max()) < counts[:, None]
    places = np.where(inside, matrix.indptr[rows][:, None] + np.arange(counts.max()), 0)
    nums = np.where(inside, matrix.indices[places], 0).astype(np.int64)
    roots = np.where(inside, np.sqrt(matrix.data[places]), 0).astype(np.float32)
    return torch.from_numpy(nums), torch.from_numpy(roots)


def _solve(pulls: Tensor, roots: Tensor, diagonal: Tensor) -> Tensor:
    """(B, D) x of (diag(d) + Y'Y) x = Y'r for each of B rows.

    Where L < D through the smaller (I + Y diag(1/d) Y') z = r, x = diag(1/d) Y'z.

    Args:
        pulls: (B, L, D) Y, the vectors of a row's pairs times the roots of their weights.
        roots: (B, L) r.
        diagonal: (B, D) d, above 0.
    """
    length, dim = pulls.shape[1:]
    if length < dim:
        scaled = pulls / diagonal[:, None, :]
        system = scaled @ pulls.mT
        system.diagonal(dim1=1, dim2=2).add_(1.0)
        inner = torch.cholesky_solve(roots[:, :, None], torch.linalg.cholesky(system))
        return (scaled.mT @ inner)[:, :, 0]
    system = pulls.mT @ pulls
    system.diagonal(dim1=1, dim2=2).add_(diagonal)
    target = pulls.mT @ roots[:, :, None]
    return torch.cholesky_solve(target, torch.linalg.cholesky(system))[:, :, 0]
