"""Binary cross-entropy."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from twotower.models.retriever.losses.base import register_loss
from twotower.models.retriever.losses.pairwise import PairwiseLoss
from twotower.models.retriever.losses.weighting import weighted_mean


def bce(positive_scores: Tensor, negative_scores: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy of each target (label 1) and its K negatives (label 0): the sum of their
    1 + K terms, mean over targets (He et al. 2017, eq. 7).

    Args: as `bpr`.
    """
    terms = F.softplus(-positive_scores) + F.softplus(negative_scores).sum(dim=1)
    return weighted_mean((terms * weight).sum(), weight)


@register_loss("bce")
class BCE(PairwiseLoss):
    """`bce` with `negatives_per_pair` negatives."""

    of_scores = staticmethod(bce)
