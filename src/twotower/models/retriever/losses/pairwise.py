"""Losses of each target's score and those of a few negatives of its own."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from twotower.data.batches.batches import Batch
from twotower.models.retriever.losses.base import Loss, LossInputs


class PairwiseLoss(Loss):
    """`negatives_per_pair` sampled items for each target."""

    shares_sample = False

    def num_sampled(self, batch: Batch) -> int:
        """See `Loss`."""
        return max(batch.num_targets, 1) * self.config.negatives_per_pair

    def __call__(self, inputs: LossInputs) -> Tensor:
        """See `Loss`."""
        query_vectors, items = inputs.query_vectors, inputs.items
        item_num = inputs.batch.item_num[:, 0]
        each = self.config.negatives_per_pair
        drawn = inputs.sampled_items().item_num[: len(item_num) * each].reshape(-1, each)
        positive = (query_vectors * items.vectors(item_num)).sum(dim=1)
        negative = torch.einsum("bd,bkd->bk", query_vectors, items.vectors(drawn))
        return self.of_scores(positive, negative, inputs.batch.weight[:, 0])

    @staticmethod
    @abstractmethod
    def of_scores(positive_scores: Tensor, negative_scores: Tensor, weight: Tensor) -> Tensor:
        """Scores of targets (T,) and of K negatives of each (T, K), weights (T,), to the mean."""
