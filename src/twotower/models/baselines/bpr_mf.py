"""Matrix factorization trained pair against pair."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.baselines import BPRMFConfig
from twotower.data.interactions import Interactions
from twotower.models.baselines.base import Progress, Validate
from twotower.models.baselines.epochs import run_epochs
from twotower.models.baselines.factors import Factors
from twotower.models.baselines.matrix import Matrix, contains, pair_keys


class BPRMF(Factors[BPRMFConfig]):
    """Minimises, over pairs taken (u, i) and drawn items j that u did not take (Rendle et al.
    2009, section 4.3.1),

        w log(1 + exp(s_uj - s_ui)) + l2 / 2 (|p_u|² + |q_i|² + |q_j|² + b_i² + b_j²)

    with s_ui = p_u · q_i + b_i, by Adam on batches of pairs.
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
        taken = pair_keys(matrix)

        def step(epoch: int) -> None:
            order = rng.permutation(len(users))
            for start in range(0, len(order), config.batch_size):
                rows = order[start : start + config.batch_size]
                drawn = self._negatives(taken, users[rows], chances, rng)
                self._gradients(users[rows], items[rows], pairs.data[rows], *drawn)
                optimizer.step()

        run_epochs(self, config, step, validate=validate, progress=progress)

    def _negatives(
        self,
        taken: NDArray[np.int64],
        users: NDArray[np.int64],
        chances: NDArray[np.float64] | None,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Items (B, m) for users (B,), and which of them their user did not take, by the keys of
        all pairs."""
        shape, num_items = (len(users), self.config.negatives_per_pair), len(self.item_vectors)
        if chances is None:
            drawn = rng.integers(0, num_items, shape)
        else:
            drawn = np.searchsorted(chances, rng.random(shape), side="right")
        return drawn, ~contains(taken, (users[:, None] * num_items + drawn).ravel()).reshape(shape)

    def _gradients(
        self,
        users: NDArray[np.int64],
        items: NDArray[np.int64],
        weights: NDArray[np.float32],
        drawn: NDArray[np.int64],
        kept: NDArray[np.bool_],
    ) -> None:
        """Put the gradient of a batch's mean loss into the tables' `grad`."""
        assert self.item_bias is not None
        l2, share = self.config.l2, 1 / max(1, drawn.size)
        user_num, item_num, other_num = (torch.from_numpy(n) for n in (users, items, drawn))
        user, item = self.user_vectors[user_num], self.item_vectors[item_num]
        others = self.item_vectors[other_num.flatten()].view(*drawn.shape, -1)
        margin = (user * item).sum(1, keepdim=True) - (others @ user[:, :, None])[:, :, 0]
        margin += self.item_bias[item_num][:, None] - self.item_bias[other_num]
        pull = torch.sigmoid(-margin) * torch.from_numpy(weights[:, None] * kept) * share
        each = share * drawn.shape[1]
        total = pull.sum(1, keepdim=True)
        of_user = (pull[:, None, :] @ others)[:, 0] - total * item + l2 * each * user
        of_item = l2 * each * item - total * user
        of_others = pull[:, :, None] * user[:, None, :] + (l2 * share) * others
        for table in (self.user_vectors, self.item_vectors, self.item_bias):
            assert table.grad is not None
            table.grad.zero_()
        _grad(self.user_vectors).index_add_(0, user_num, of_user)
        _grad(self.item_vectors).index_add_(0, item_num, of_item)
        _grad(self.item_vectors).index_add_(0, other_num.flatten(), of_others.flatten(0, 1))
        bias = self.item_bias
        _grad(bias).index_add_(0, item_num, l2 * each * bias[item_num] - total[:, 0])
        others_bias = (pull + (l2 * share) * bias[other_num]).flatten()
        _grad(bias).index_add_(0, other_num.flatten(), others_bias)


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
