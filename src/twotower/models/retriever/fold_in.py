"""Users whom training has not seen, or not lately, from what they took: the vector of their id is
predicted.

Where ids are smoothed over the interaction graph, the id vector of a user is nearly a linear
function of those of the user's items. That function is found by ridge regression over the users
that training saw, and applied to those without a row of their own and to those who have taken
something since ("folding in", as in latent semantic analysis, Deerwester et al. 1990). Figures:
docs/experiments.md, "Folding in".

Shapes: Q queries, D the width of id vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.arrays.ragged import Ragged
from twotower.data.columns import ID_FEATURE
from twotower.data.dataset.entities import Features, tensor_of
from twotower.data.dataset.interactions import Interactions
from twotower.models.layers.rounding import read_rows
from twotower.models.retriever.two_tower import TwoTower

FIT_USERS = 50_000
"""Of more users, so many are fitted on."""
RIDGE = 1e-3
"""The penalty, relative to the mean square of a column."""


@dataclass(frozen=True)
class FoldIn:
    """Predicts id vectors of users from their items.

    Attributes:
        model: with ids on both sides, trained.
        weights: (D + 1, D) from what a user's items say to the id vector of the user; the last row
            is a constant.
        first_known: the num of the first user that training saw.
    """

    model: TwoTower
    weights: Tensor
    first_known: int

    @staticmethod
    @torch.no_grad()
    def fit(model: TwoTower, train: Interactions) -> FoldIn:
        """Fit it on the users and the items of a training part.

        Args:
            model: trained on it; its ids can be smoothed.
            train: at least one row.
        """
        users = train.users
        nums = np.arange(users.first_known, users.end_warm)
        if len(nums) > FIT_USERS:
            nums = np.sort(np.random.default_rng(0).choice(nums, FIT_USERS, replace=False))
        query, _ = model.id_encoders()
        wanted = (
            read_rows(query.table.weight, torch.from_numpy(nums).to(model.device)).cpu().double()
        )
        unfitted = FoldIn(model, torch.zeros(0, 0), users.first_known)
        chosen = np.zeros(len(users), dtype=np.bool_)
        chosen[nums] = True
        rows = train.take(np.flatnonzero(chosen[train.user_num]))
        given = unfitted.summaries(rows.by_user().take(nums)).double()
        squares = given.T @ given
        penalty = RIDGE * squares.diagonal().mean() * torch.eye(len(squares), dtype=squares.dtype)
        weights = torch.linalg.solve(squares + penalty, given.T @ wanted).float()
        return FoldIn(model, weights, users.first_known)

    def fits(self) -> bool:
        """Whether the weights are of this model."""
        query, item = (encoder.table.embedding_dim for encoder in self.model.id_encoders())
        return self.weights.shape == (item + 1, query) and bool(self.weights.isfinite().all())

    @torch.no_grad()
    def summaries(self, user_items: Ragged) -> Tensor:
        """Q lists of item nums to (Q, D + 1): the sum of the id vectors of the different items that
        training saw, divided by the square root of their number, and a 1; zeros without such an
        item."""
        table = self.model.id_encoders()[1].table.weight
        lists = user_items.distinct()
        there = (lists.values >= self.model.first_known_item) & (lists.values < len(table))
        lists = Ragged.group(lists.keys()[there], lists.values[there], len(lists))
        nums = torch.from_numpy(lists.values.astype(np.int64)).to(table.device)
        if table.dtype != torch.float32:
            # Sums of bf16 are bf16, too.
            distinct, nums = torch.unique(nums, return_inverse=True)
            table = read_rows(table, distinct)
        summed = F.embedding_bag(
            nums,
            table,
            torch.from_numpy(lists.offsets).to(table.device),
            mode="sum",
            include_last_offset=True,
        ).cpu()
        lengths = torch.from_numpy(lists.lengths)[:, None]
        mean = summed * lengths.clamp(min=1).to(summed.dtype).rsqrt()
        return torch.cat([mean, (lengths > 0).to(mean.dtype)], dim=1)

    @torch.no_grad()
    def folded(
        self,
        users: Features,
        user_items: Ragged,
        has_newer: NDArray[np.bool_] | None = None,
    ) -> tuple[Features, Tensor | None]:
        """The features of Q users, and the table (Q, D) in which to look up their ids; None stands
        for the model's own table, where no user is folded in.

        Args:
            users: name -> (Q, ...).
            user_items: Q lists of item nums. A user without an item from training keeps the row of
                the id.
            has_newer: (Q,) whether the user has items that training did not see; known users who do
                are folded in as well. None: no known user is.
        """
        nums = tensor_of(users, ID_FEATURE).cpu()
        asked = nums < self.first_known
        if has_newer is not None:
            asked |= torch.from_numpy(has_newer)
        if not asked.any():
            return users, None
        rows = torch.nonzero(asked)[:, 0]
        said = self.summaries(user_items.take(rows.numpy()))
        there = said[:, -1] > 0
        rows, said = rows[there], said[there]
        if not len(rows):
            return users, None
        # Not by BLAS, whose last digits depend on how many queries there are.
        predicted = np.einsum("qe,ed->qd", said.numpy(), self.weights.numpy())
        table = self.model.id_encoders()[0].table.weight
        vectors = read_rows(table, nums.to(table.device))
        vectors[rows.to(table.device)] = torch.from_numpy(predicted).to(table.device)
        return {**users, ID_FEATURE: torch.arange(len(nums), device=table.device)}, vectors
