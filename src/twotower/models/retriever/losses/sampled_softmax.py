"""The softmax over sampled items that all queries of a batch share."""

from __future__ import annotations

from torch import Tensor

from twotower.config import RetrieverConfig
from twotower.data.batches.batches import Batch
from twotower.models.kernels.masked_softmax import masked_softmax_loss
from twotower.models.positives.user_positives import UserPositives
from twotower.models.retriever.losses.base import Loss, LossInputs, register_loss
from twotower.models.retriever.losses.candidates import (
    CandidateVectors,
    accidental_hits,
    columns_of,
)
from twotower.models.retriever.losses.weighting import balanced_mean, negative_weight


def sampled_softmax(
    query_vectors: Tensor,
    positive_vectors: Tensor,
    item_num: Tensor,
    mask: Tensor,
    weight: Tensor,
    negatives: CandidateVectors,
    *,
    negative_weight: float = 1.0,
    positives: UserPositives | None = None,
) -> Tensor:
    """Softmax of each target against M sampled items shared by the batch. A sampled item that is a
    target of the query is masked for it, or, with `positives`, one that is a positive of its user.

    With all N items as negatives and log q = 0 it is the full softmax.

    Args:
        query_vectors: (B, D), divided by the temperature.
        positive_vectors: (B, P, D).
        item_num: (B, P).
        mask: (B, P) bool.
        weight: (B, P).
        negatives: M sampled items.
        negative_weight: c.
        positives: item nums that are not negatives of a query. Default: its targets.
    """
    rows, places = mask.nonzero(as_tuple=True)
    positive = (query_vectors[rows] * positive_vectors[rows, places]).sum(dim=1)
    counted = weight[rows, places]
    masked = (
        accidental_hits(item_num, mask, negatives.item_num)
        if positives is None
        else columns_of(positives, negatives.item_num)
    )
    total = masked_softmax_loss(
        query_vectors, negatives.vectors, positive, negatives.bias, rows, counted, masked
    )
    return balanced_mean(total, positive, counted, negative_weight)


def sampled_candidates(inputs: LossInputs, config: RetrieverConfig) -> CandidateVectors:
    """The sampled items of a step as candidates, corrected if `logq_correction`."""
    item_num, logq = inputs.sampled_items()
    corrected = logq if config.logq_correction else None
    return CandidateVectors(inputs.items.vectors(item_num), item_num, corrected)


@register_loss("sampled_softmax")
class SampledSoftmax(Loss):
    """`sampled_softmax` with `num_negatives` items a batch."""

    batches = "users"

    @property
    def sentence(self) -> str:
        """See `Loss`."""
        return f"softmax over {self.num_negatives:,} sampled items a step"

    def num_sampled(self, batch: Batch) -> int:
        """See `Loss`."""
        del batch
        return self.num_negatives

    def __call__(self, inputs: LossInputs) -> Tensor:
        """See `Loss`."""
        batch = inputs.batch
        negatives = sampled_candidates(inputs, self.config)
        return sampled_softmax(
            inputs.query_vectors,
            inputs.items.vectors(batch.item_num),
            batch.item_num,
            batch.mask,
            batch.weight,
            negatives,
            negative_weight=negative_weight(self.config, batch),
            positives=inputs.positives,
        )
