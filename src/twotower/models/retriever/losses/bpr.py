"""Bayesian personalised ranking."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from twotower.models.retriever.losses.base import register_loss
from twotower.models.retriever.losses.pairwise import PairwiseLoss
from twotower.models.retriever.losses.weighting import weighted_mean


def bpr(positive_scores: Tensor, negative_scores: Tensor, weight: Tensor) -> Tensor:
    """Bayesian personalised ranking: -log sigmoid(s_t - s_j), mean over pairs and their negatives
    (Rendle et al. 2009).

    Args:
        positive_scores: (T,).
        negative_scores: (T, K), K negatives of each target.
        weight: (T,).
    """
    gaps = positive_scores[:, None] - negative_scores
    return weighted_mean((F.softplus(-gaps).mean(dim=1) * weight).sum(), weight)


@register_loss("bpr")
class BPR(PairwiseLoss):
    """`bpr` with `negatives_per_pair` negatives."""

    of_scores = staticmethod(bpr)
