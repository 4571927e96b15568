"""The bilateral softmax loss."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.data.batches.batches import Batch
from twotower.models.kernels.masked_softmax import masked_softmax_loss
from twotower.models.retriever.losses.base import Loss, LossInputs, register_loss
from twotower.models.retriever.losses.candidates import CandidateVectors, accidental_hits
from twotower.models.retriever.losses.sampled_softmax import sampled_candidates
from twotower.models.retriever.losses.weighting import weighted_mean


def bsl(
    query_vectors: Tensor,
    positive_vectors: Tensor,
    item_num: Tensor,
    mask: Tensor,
    weight: Tensor,
    negatives: CandidateVectors,
    positive_temperature: float,
) -> Tensor:
    """Bilateral softmax loss: log-expectation-exp on the positive side, too (Wu et al. 2023, "BSL:
    Understanding and Improving Softmax Loss for Recommendation").

    loss_b = -c log( mean_p exp(s_bp / c) ) + log sum_j exp(s_bj - log q_j), with c =
    `positive_temperature`, the ratio of the positive side's temperature to the negative side's.
    Large c is the plain mean over a query's targets; small c follows the best fitting ones and
    forgives noisy ones.

    Args: as `sampled_softmax`. A query counts with the sum of its targets' weights.
    """
    scores = torch.einsum("bd,bpd->bp", query_vectors, positive_vectors) / positive_temperature
    counted = torch.where(mask, weight, 0.0)
    per_query = counted.sum(dim=1)
    log_weight = torch.where(counted > 0, counted.clamp(min=1e-30).log(), -torch.inf)
    used = per_query > 0
    positive = torch.logsumexp(scores[used] + log_weight[used], dim=1) - per_query[used].log()
    lse = masked_softmax_loss(
        query_vectors,
        negatives.vectors,
        None,
        negatives.bias,
        torch.arange(len(query_vectors), device=query_vectors.device),
        per_query,
        accidental_hits(item_num, mask, negatives.item_num),
    )
    total = lse - positive_temperature * (per_query[used] * positive).sum()
    return weighted_mean(total, per_query)


@register_loss("bsl")
class BilateralSoftmax(Loss):
    """`bsl` with `num_negatives` items a batch."""

    batches = "users"

    def num_sampled(self, batch: Batch) -> int:
        """See `Loss`."""
        del batch
        return self.num_negatives

    def __call__(self, inputs: LossInputs) -> Tensor:
        """See `Loss`."""
        batch = inputs.batch
        return bsl(
            inputs.query_vectors,
            inputs.items.vectors(batch.item_num),
            batch.item_num,
            batch.mask,
            batch.weight,
            sampled_candidates(inputs, self.config),
            self.config.positive_temperature,
        )
