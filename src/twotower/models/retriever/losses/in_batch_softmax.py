"""The softmax over the other items of the batch, and sampled ones with mixed negatives."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.data.batches.batches import Batch
from twotower.data.batches.negatives import mixed_logq
from twotower.models.retriever.losses.base import Loss, LossInputs, register_loss
from twotower.models.retriever.losses.candidates import CandidateVectors
from twotower.models.retriever.losses.sampled_softmax import sampled_softmax
from twotower.models.retriever.losses.weighting import negative_weight

SMALL_BATCH_SHARE = 0.02
"""A batch with fewer items than this share of the catalogue gets a warning."""


def in_batch_softmax(
    query_vectors: Tensor,
    item_vectors: Tensor,
    item_num: Tensor,
    weight: Tensor,
    *,
    logq: Tensor | None = None,
    negatives: CandidateVectors | None = None,
    negative_weight: float = 1.0,
) -> Tensor:
    """Softmax of each pair's item against the other pairs' items (Yi et al. 2019), and, with
    `negatives`, also against sampled items (mixed negatives: Yang et al. 2020).

    Every candidate that equals the pair's own item is masked (accidental hits).

    Args:
        query_vectors: (B, D), divided by the temperature.
        item_vectors: (B, D), row b is the item of pair b.
        item_num: (B,).
        weight: (B,).
        logq: (B,) log of the expected count of each pair's item in the batch.
        negatives: shared by all rows; their own log q must count the batch in if both can hold the
            same item.
        negative_weight: c.
    """
    candidates = CandidateVectors(item_vectors, item_num, logq)
    if negatives is not None:
        candidates = candidates.followed_by(negatives)
    targets = item_num[:, None]
    return sampled_softmax(
        query_vectors,
        item_vectors[:, None],
        targets,
        torch.ones_like(targets, dtype=torch.bool),
        weight[:, None],
        candidates,
        negative_weight=negative_weight,
    )


@register_loss("in_batch_softmax")
class InBatchSoftmax(Loss):
    """`in_batch_softmax`, with `num_negatives` sampled items if `mixed_negatives`."""

    contrasts_batch = True

    def num_sampled(self, batch: Batch) -> int:
        """See `Loss`."""
        del batch
        return self.num_negatives if self.config.mixed_negatives else 0

    def warnings(self, batch_size: int, num_warm_items: int) -> tuple[str, ...]:
        """See `Loss`."""
        if self.config.mixed_negatives or batch_size >= SMALL_BATCH_SHARE * num_warm_items:
            return ()
        return (
            f"The batch is small for its negatives: {batch_size:,} in-batch negatives stand for "
            f"{num_warm_items:,} items. Raise training.batch_size, set "
            'retriever.mixed_negatives = true, or use retriever.loss = "softmax".',
        )

    def __call__(self, inputs: LossInputs) -> Tensor:
        """See `Loss`."""
        batch, items, sampled = inputs.batch, inputs.items, inputs.sampled
        others = inputs.batch_items
        corrects = self.config.logq_correction
        logq = self._logq(inputs, others) if corrects else None
        candidates = CandidateVectors(items.vectors(others), others, logq)
        if sampled is not None:
            logq = self._logq(inputs, sampled.item_num) if corrects else None
            drawn = CandidateVectors(items.vectors(sampled.item_num), sampled.item_num, logq)
            candidates = candidates.followed_by(drawn)
        return sampled_softmax(
            inputs.query_vectors,
            items.vectors(batch.item_num),
            batch.item_num,
            batch.mask,
            batch.weight,
            candidates,
            negative_weight=negative_weight(self.config, batch),
        )

    @staticmethod
    def _logq(inputs: LossInputs, item_num: Tensor) -> Tensor:
        """log q (M,) of items among the candidates of a step: an item can come from the batch and
        from the sample, so its expected counts add."""
        logq: Tensor = inputs.in_batch_logq[item_num]
        if inputs.sampled is None:
            return logq
        num = len(inputs.sampled.item_num)
        return mixed_logq(logq, inputs.sampler.logq(item_num.cpu(), num).to(logq.device))
