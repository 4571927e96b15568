"""The softmax over all items, in place of which large catalogues get the sampled softmax."""

from __future__ import annotations

from typing import Final

import torch.nn.functional as F
from torch import Tensor

from twotower.data.batches.batches import Batch
from twotower.models.kernels.masked_softmax import masked_softmax_loss
from twotower.models.positives.user_positives import UserPositives
from twotower.models.retriever.losses.base import (
    EncodedItems,
    LossInputs,
    Spread,
    register_loss,
)
from twotower.models.retriever.losses.sampled_softmax import SampledSoftmax
from twotower.models.retriever.losses.weighting import balanced_mean, negative_weight
from twotower.parallel.exchange import Exchange
from twotower.parallel.shards import Shards


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


def spread_softmax(inputs: LossInputs, spread: Spread, negative_weight: float) -> Tensor:
    """This process's part of `full_softmax` over the items and queries of several: each has the
    queries of all scored by its own items, and the losses of the targets among these; the sum of
    all parts is the mean over all targets. All processes.

    Args:
        inputs: with the items of this process alone.
        spread: who has the others.
        negative_weight: c.
    """
    processes, batch, items = spread.items.processes, inputs.batch, inputs.items
    first = sum(processes.counts(len(batch))[: processes.rank])
    queries = processes.gather(inputs.query_vectors)
    rows, places = batch.mask.nonzero(as_tuple=True)
    exchange = Exchange(spread.items, batch.item_num[rows, places])
    weight = exchange.send(batch.weight[rows, places])
    rows, columns = exchange.send(rows + first), items.rows(exchange.asked)
    masked = UserPositives(rows, columns)
    if inputs.positives is not None:
        masked = _of_all(inputs.positives, items, spread.items)
    positive = (F.embedding(rows, queries) * F.embedding(columns, items.all_vectors)).sum(dim=1)
    total = masked_softmax_loss(
        queries, items.all_vectors, positive, None, rows, weight, masked, processes
    )
    if negative_weight != 1:
        total = negative_weight * total + (negative_weight - 1) * (weight * positive).sum()
    return total / spread.total_weight


def _of_all(positives: UserPositives, items: EncodedItems, shards: Shards) -> UserPositives:
    """The positives of all processes' queries among this process's items, by their rows."""
    processes, owner = shards.processes, positives.owner
    assert owner is not None
    users = int(owner.max()) + 1 if len(owner) else 0
    first = sum(processes.counts(users)[: processes.rank])
    exchange = Exchange(shards, positives.item_num)
    rows = exchange.send(positives.rows + first)
    return UserPositives(rows, items.rows(exchange.asked), processes.gather(owner + first))


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
        if inputs.spread is not None:
            return spread_softmax(inputs, inputs.spread, negative_weight(self.config, inputs.batch))
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
