"""The softmax over all items, in place of which large catalogues get the sampled softmax."""

from __future__ import annotations

from typing import Final

import torch.nn.functional as F
from torch import Tensor

from twotower.data.batches.batches import Batch
from twotower.models.kernels.masked_softmax import masked_softmax_loss
from twotower.models.positives.user_positives import UserPositives
from twotower.models.retriever.losses.base import LossInputs, register_loss
from twotower.models.retriever.losses.sampled_softmax import SampledSoftmax
from twotower.models.retriever.losses.weighting import balanced_mean, negative_weight


def full_softmax(
    query_vectors: Tensor,
    item_vectors: Tensor,
    targets: Tensor,
    mask: Tensor,
    weight: Tensor,
    *,
    negative_weight: float = 1.0,
    positives: UserPositives | None = None,
) -> Tensor:
    """Softmax of each target against all N items but the query's other targets. With one target a
    query it is the plain softmax over the catalogue, or, with `positives`, over the items that are
    not positives of the query's user.

    Args:
        query_vectors: (B, D), divided by the temperature.
        item_vectors: (N, D).
        targets: (B, P) rows of `item_vectors`.
        mask: (B, P) bool.
        weight: (B, P) float32.
        negative_weight: c.
        positives: rows of `item_vectors` that are not negatives of a query. Default: its targets.
    """
    rows, places = mask.nonzero(as_tuple=True)
    columns = targets[rows, places]
    masked = UserPositives(rows, columns) if positives is None else positives
    positive = (F.embedding(rows, query_vectors) * F.embedding(columns, item_vectors)).sum(dim=1)
    counted = weight[rows, places]
    total = masked_softmax_loss(query_vectors, item_vectors, positive, None, rows, counted, masked)
    return balanced_mean(total, positive, counted, negative_weight)


MAX_SCORES_PER_ROW: Final = 5000
"""Scores of a softmax over all items for each training row, up to which it is the default where
users are learned from with all their items: gowalla has 2,000 (docs/experiments.md, "Softmax by
cost")."""
ITEMS_PER_NEGATIVE: Final = 8
"""At least so many items stand behind each that is sampled."""


@register_loss("softmax")
class Softmax(SampledSoftmax):
    """`full_softmax` up to `max_full_softmax` items, `sampled_softmax` beyond; if that is "auto",
    `full_softmax` must cost no more than `MAX_SCORES_PER_ROW`, too."""

    @property
    def sentence(self) -> str:
        """See `Loss`."""
        if self.ranks_all_items:
            return f"softmax over all {self.num_items:,} items"
        why = f"more than retriever.max_full_softmax = {self.max_full_softmax:,}"
        if self.num_items <= self.max_full_softmax:
            why = (
                f"{self.scores_per_row:,.0f} scores a training row: retriever.max_full_softmax = "
                f"{self.num_items} takes all"
            )
        return f"{super().sentence} instead of all {self.num_items:,} ({why})"

    @property
    def scores_per_row(self) -> float:
        """What the softmax over all items computes for each training row; 0 before training."""
        size = self.size
        return 0.0 if size is None else self.num_items * size.queries / max(size.rows, 1)

    @property
    def num_negatives(self) -> int:
        """See `Loss`; fewer where the catalogue is small."""
        number = super().num_negatives
        if "num_negatives" not in self.automatic:
            return number
        return min(number, max(self.num_items // ITEMS_PER_NEGATIVE, 1))

    @property
    def ranks_all_items(self) -> bool:
        """See `Loss`."""
        if self.num_items > self.max_full_softmax:
            return False
        by_cost = "max_full_softmax" in self.automatic and self.size and self.size.by_user
        return not by_cost or self.scores_per_row <= MAX_SCORES_PER_ROW

    def num_sampled(self, batch: Batch) -> int:
        """See `Loss`."""
        return 0 if self.ranks_all_items else super().num_sampled(batch)

    def __call__(self, inputs: LossInputs) -> Tensor:
        """See `Loss`."""
        if not self.ranks_all_items:
            return super().__call__(inputs)
        batch, items, positives = inputs.batch, inputs.items, inputs.positives
        if positives is not None:
            positives = positives._replace(item_num=items.rows(positives.item_num))
        return full_softmax(
            inputs.query_vectors,
            items.all_vectors,
            items.rows(batch.item_num),
            batch.mask,
            batch.weight,
            negative_weight=negative_weight(self.config, batch),
            positives=positives,
        )
