"""Matrix factorization with a pairwise loss: BPR."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.baselines import BPRMFConfig
from twotower.data.dataset.interactions import Interactions
from twotower.models.baselines.base import Progress, Validate
from twotower.models.baselines.epochs import run_epochs
from twotower.models.baselines.factors import Factors
from twotower.models.baselines.matrix import Matrix, contains, pair_keys


class BPRMF(Factors[BPRMFConfig]):
    """Minimises, over positive pairs (u, i) and sampled items j that u has not interacted with
    (Rendle et al. 2009, section 4.3.1),

        w log(1 + exp(s_uj - s_ui)) + l2 / 2 (|p_u|² + |q_i|² + |q_j|² + b_i² + b_j²)

    with s_ui = p_u · q_i + b_i, by Adam on batches of pairs. j is the highest-scoring of
    `negatives_drawn` sampled items (Zhang et al. 2013): most others have hardly any gradient.
    """

    name = "bpr_mf"
    config_type = BPRMFConfig

    def _learn(
        self,
        train: Interactions,
        matrix: Matrix,
        rng: np.random.Generator,
        validate: Validate | None,
        progress: Progress | None,
    ) -> None:
        config = self.config
        dim, deviation = config.embedding_dim, config.deviation
        known = torch.from_numpy((np.diff(matrix.indptr) > 0).astype(np.float32))
        self.user_vectors = self._draw(rng, matrix.shape[0], dim, deviation) * known[:, None]
        self.item_vectors = self._draw(rng, matrix.shape[1], dim, deviation)
        self.item_bias = torch.zeros(matrix.shape[1])
        tables = [self.user_vectors, self.item_vectors, self.item_bias]
        optimizer = torch.optim.Adam(tables, lr=config.learning_rate, fused=True)
        for table in tables:
            table.grad = torch.zeros_like(table)
        pairs = matrix.tocoo()
        users, items = (part.astype(np.int64) for part in (pairs.row, pairs.col))
        chances = _chances(matrix, config.negative_power)
        positive_pairs = pair_keys(matrix)

        def step(epoch: int) -> None:
            order = rng.permutation(len(users))
            for start in range(0, len(order), config.batch_size):
                rows = order[start : start + config.batch_size]
                user, item, weight = users[rows], items[rows], pairs.data[rows]
                others, kept = self._negatives(positive_pairs, user, chances, rng)
                self._gradients(user, item, others, weight * kept)
                optimizer.step()

        run_epochs(self, config, step, validate=validate, progress=progress)

    def _negatives(
        self,
        positive_pairs: NDArray[np.int64],
        users: NDArray[np.int64],
        chances: NDArray[np.float64] | None,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The highest-scoring item (B,) among those sampled for each user (B,) that are not
        positives of the user, by the keys of all positive pairs, and whether there is one (B,)."""
        assert self.item_bias is not None
        shape, num_items = (len(users), self.config.negatives_drawn), len(self.item_vectors)
        if chances is None:
            drawn = rng.integers(0, num_items, shape)
        else:
            drawn = np.searchsorted(chances, rng.random(shape), side="right")
        kept = ~contains(positive_pairs, (users[:, None] * num_items + drawn).ravel()).reshape(
            shape
        )
        if shape[1] == 1:
            return drawn[:, 0], kept[:, 0]
        nums = torch.from_numpy(drawn)
        vectors = self.item_vectors.index_select(0, nums.flatten()).view(*shape, -1)
        user = self.user_vectors.index_select(0, torch.from_numpy(users))
        scores = (vectors * user[:, None]).sum(2) + self.item_bias[nums]
        scores.masked_fill_(torch.from_numpy(~kept), -torch.inf)
        best = scores.argmax(1).numpy()
        rows = np.arange(len(users))
        return drawn[rows, best], kept[rows, best]

    def _gradients(
        self,
        users: NDArray[np.int64],
        items: NDArray[np.int64],
        others: NDArray[np.int64],
        weights: NDArray[np.float32],
    ) -> None:
        """Write the gradient of the mean loss of a batch (B,) into the tables' `grad`."""
        assert self.item_bias is not None
        l2, share, bias = self.config.l2, 1 / max(1, len(users)), self.item_bias
        user_num, item_num, other_num = (torch.from_numpy(n) for n in (users, items, others))
        # index_select is several times faster than indexing by brackets.
        user = self.user_vectors.index_select(0, user_num)
        item = self.item_vectors.index_select(0, item_num)
        other = self.item_vectors.index_select(0, other_num)
        margin = (user * (item - other)).sum(1) + bias[item_num] - bias[other_num]
        pull = torch.sigmoid(-margin) * torch.from_numpy(weights) * share
        shrink = l2 * share
        for table in (self.user_vectors, self.item_vectors, bias):
            _grad(table).zero_()
        pulled = pull[:, None] * user
        of_users = pull[:, None] * (other - item) + shrink * user
        _grad(self.user_vectors).index_add_(0, user_num, of_users)
        _grad(self.item_vectors).index_add_(0, item_num, shrink * item - pulled)
        _grad(self.item_vectors).index_add_(0, other_num, shrink * other + pulled)
        _grad(bias).index_add_(0, item_num, shrink * bias[item_num] - pull)
        _grad(bias).index_add_(0, other_num, shrink * bias[other_num] + pull)


def _grad(table: Tensor) -> Tensor:
    assert table.grad is not None
    return table.grad


def _chances(matrix: Matrix, power: float) -> NDArray[np.float64] | None:
    """(N,) the cumulated chance of each item to be drawn, count^power; None where all have the
    same."""
    if power == 0:
        return None
    counts = np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(np.float64)
    total = np.cumsum(counts**power)
    chances: NDArray[np.float64] = total / total[-1]
    chances[-1] = 1.0
    return chances
