"""Matrix factorization with biases and the logistic loss."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.baselines import LogisticMFConfig
from twotower.data.arrays.distinct import distinct_values
from twotower.data.dataset.interactions import Interactions
from twotower.models.baselines.base import Progress, Validate
from twotower.models.baselines.epochs import run_epochs
from twotower.models.baselines.factors import Factors
from twotower.models.baselines.matrix import Matrix


class LogisticMF(Factors[LogisticMFConfig]):
    """Minimises, with s_ui = p_u · q_i + b_u + b_i (Rendle et al. 2020, section 3),

        sum over positive pairs of w log(1 + exp(-s_ui))
        + sum over users and all items of m n_u / N log(1 + exp(s_uj))
        + l2 / 2 (sum over users of (1 + m) n_u (|p_u|² + b_u²) + the same over items),

    which is what m uniform negatives for each pair give on average, n_u being the user's pairs and
    N the number of items; an item weighs in the last sum as often as it occurs in the first two.
    A step processes some users with all of their pairs and all items at once, so that an epoch
    costs three matrix products instead of (1 + m) gathered vectors per pair.
    """

    name = "logistic_mf"
    config_type = LogisticMFConfig
    user_bias: Tensor
    item_bias: Tensor

    def _learn(
        self,
        train: Interactions,
        matrix: Matrix,
        rng: np.random.Generator,
        validate: Validate | None,
        progress: Progress | None,
    ) -> None:
        config = self.config
        dim = config.embedding_dim
        deviation = config.deviation * dim**-0.5
        counts = torch.from_numpy(np.diff(matrix.indptr).astype(np.float32))
        self.user_vectors = self._draw(rng, matrix.shape[0], dim, deviation)
        self.user_vectors *= (counts > 0)[:, None]
        self.item_vectors = self._draw(rng, matrix.shape[1], dim, deviation)
        self.user_bias = torch.zeros(matrix.shape[0])
        self.item_bias = torch.zeros(matrix.shape[1])
        of_users = [self.user_vectors, self.user_bias]
        of_items = [self.item_vectors, self.item_bias]
        for table in (*of_users, *of_items):
            table.grad = torch.zeros_like(table)
        each_epoch = torch.optim.Adam(of_users, lr=config.user_learning_rate, fused=True)
        each_step = torch.optim.Adam(of_items, lr=config.learning_rate, fused=True)
        asked = np.flatnonzero(np.diff(matrix.indptr))

        def step(epoch: int) -> None:
            order = rng.permutation(asked)
            for start in range(0, len(order), config.batch_size):
                self._gradients(matrix, order[start : start + config.batch_size], rng)
                each_step.step()
            each_epoch.step()

        run_epochs(self, config, step, validate=validate, progress=progress)

    def _gradients(
        self, matrix: Matrix, users: NDArray[np.int64], rng: np.random.Generator
    ) -> None:
        """Write the gradient of some users' (B,) part of the loss into the tables' `grad`: that of
        the items replaces the previous one, that of the users goes into their own rows."""
        config, rows = self.config, matrix[users]
        counts = np.diff(rows.indptr)
        columns, chances = self._columns(rows, rng)
        shares = torch.from_numpy(counts.astype(np.float32)) * config.negatives_per_pair
        user_num = torch.from_numpy(users)
        user, items = self.user_vectors[user_num], self.item_vectors[columns]
        user_bias, item_bias = self.user_bias[user_num], self.item_bias[columns]
        predicted = torch.addmm(user_bias[:, None] + item_bias, user, items.T).sigmoid_()
        places = (
            torch.from_numpy(np.repeat(np.arange(len(users)), counts)),
            torch.searchsorted(columns, torch.from_numpy(rows.indices.astype(np.int64))),
        )
        pull = torch.from_numpy(rows.data) * (1 - predicted[places])
        push = predicted.mul_(shares[:, None]).mul_(chances)
        push[places] -= pull
        of_users = config.l2 * (1 + config.negatives_per_pair) * torch.from_numpy(counts)
        _grad(self.user_vectors)[user_num] = push @ items + of_users[:, None] * user
        _grad(self.user_bias)[user_num] = push.sum(1) + of_users * user_bias
        of_items = torch.bincount(places[1], minlength=len(columns)) + shares.sum() * chances
        of_items *= config.l2
        for table in (self.item_vectors, self.item_bias):
            _grad(table).zero_()
        _grad(self.item_vectors)[columns] = push.T @ user + of_items[:, None] * items
        _grad(self.item_bias)[columns] = push.sum(0) + of_items * item_bias

    def _columns(self, rows: Matrix, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Items (C,), ascending, and each one's share of a user's negatives (C,): all items alike,
        or, where they are too many, drawn ones, and with none the other items of the rows."""
        num_items, most = rows.shape[1], self.config.max_items
        if num_items <= most:
            return torch.arange(num_items), torch.full((num_items,), 1 / num_items)
        drawn = rng.choice(num_items, most, replace=False)
        columns = distinct_values(np.concatenate([drawn, rows.indices]))
        chances = np.isin(columns, drawn) / most
        return torch.from_numpy(columns), torch.from_numpy(chances.astype(np.float32))


def _grad(table: Tensor) -> Tensor:
    assert table.grad is not None
    return table.grad
