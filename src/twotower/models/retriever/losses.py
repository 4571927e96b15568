"""The losses of a retriever, on vectors. Scores are inner products; the caller has divided the
query vectors by the temperature, so that a learned temperature gets its gradient.

Shapes: B queries, D embedding_dim, P targets a query, N items, M sampled candidates. Each loss is
the weighted mean over the targets that count, and 0 (with gradients of 0) where none does.

The softmax losses are, with the score s_t of a target and the candidates j it is told from,

    loss_t = c * log( exp(s_t) + sum_j exp(s_j) ) - s_t,

c being `negative_weight`. c = 1 is the cross-entropy. Above 1 the negative side weighs more, as if
it had a temperature of its own; the settings that Wu et al. 2023 ("BSL") report amount to 1.1 to
1.2.

What a candidate stands for. A target must be told from all other items. The full softmax has them
all; the others draw candidates, and a candidate drawn with expected count q stands for 1 / q items,
so log q is subtracted from its score (logQ correction). The positive is not drawn, it is there with
certainty, and is not corrected: the sum over candidates is then an unbiased estimate of the sum
over all other items. Sources: Bengio & Senécal 2008; Yi et al. 2019 (eq. 3, which corrects the
positive, too); Khrylchenko et al. 2025, "Correcting the LogQ Correction", on leaving it out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from twotower.models.kernels.masked_softmax import masked_softmax_loss
from twotower.models.positives.user_positives import UserPositives, ranges


class CandidateVectors(NamedTuple):
    """Items that a batch is told from.

    Attributes:
        vectors: (M, D).
        item_num: (M,) to find accidental hits by.
        logq: (M,) log of the expected count of each in the sample, or None for no correction.
    """

    vectors: Tensor
    item_num: Tensor
    logq: Tensor | None = None


def full_softmax(
    query_vectors: Tensor,
    item_vectors: Tensor,
    targets: Tensor,
    mask: Tensor,
    weight: Tensor,
    *,
    negative_weight: float = 1.0,
    taken: UserPositives | None = None,
) -> Tensor:
    """Softmax of each target against all N items but the query's other targets. With one target a
    query that is the plain softmax over the catalogue, or, with `taken`, over what the query's user
    has not.

    Args:
        query_vectors: (B, D), divided by the temperature.
        item_vectors: (N, D).
        targets: (B, P) rows of `item_vectors`.
        mask: (B, P) bool.
        weight: (B, P) float32.
        negative_weight: c.
        taken: rows of `item_vectors` that are no negatives of a query; left out, its targets.
    """
    rows, places = mask.nonzero(as_tuple=True)
    columns = targets[rows, places]
    masked = UserPositives(rows, columns) if taken is None else taken
    positive = (F.embedding(rows, query_vectors) * F.embedding(columns, item_vectors)).sum(dim=1)
    counted = weight[rows, places]
    total = masked_softmax_loss(query_vectors, item_vectors, positive, None, rows, counted, masked)
    return _balanced(total, positive, counted, negative_weight)


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
    `negatives`, against sampled items, too (mixed negatives: Yang et al. 2020).

    Every candidate that equals the pair's own item is masked (accidental hits).

    Args:
        query_vectors: (B, D), divided by the temperature.
        item_vectors: (B, D), row b is the item of pair b.
        item_num: (B,).
        weight: (B,).
        logq: (B,) log of the expected count of each pair's item in the batch.
        negatives: shared by all rows; their own log q must count the batch in where both can hold
            the same item.
        negative_weight: c.
    """
    candidates = CandidateVectors(item_vectors, item_num, logq)
    if negatives is not None:
        candidates = CandidateVectors(
            torch.cat([item_vectors, negatives.vectors]),
            torch.cat([item_num, negatives.item_num]),
            _join(logq, negatives, len(item_num)),
        )
    positive = (query_vectors * item_vectors).sum(dim=1)
    targets = item_num[:, None]
    hits = accidental_hits(targets, torch.ones_like(targets, dtype=torch.bool), candidates.item_num)
    rows = torch.arange(len(item_num), device=item_num.device)
    total = masked_softmax_loss(
        query_vectors, candidates.vectors, positive, _bias(candidates), rows, weight, hits
    )
    return _balanced(total, positive, weight, negative_weight)


def sampled_softmax(
    query_vectors: Tensor,
    positive_vectors: Tensor,
    item_num: Tensor,
    mask: Tensor,
    weight: Tensor,
    negatives: CandidateVectors,
    *,
    negative_weight: float = 1.0,
    taken: UserPositives | None = None,
) -> Tensor:
    """Softmax of each target against M sampled items shared by the batch; a sampled item that is a
    target of the query is masked for it, or, with `taken`, one that its user has.

    With all N items as negatives and log q = 0 it is the full softmax.

    Args:
        query_vectors: (B, D), divided by the temperature.
        positive_vectors: (B, P, D).
        item_num: (B, P).
        mask: (B, P) bool.
        weight: (B, P).
        negatives: M sampled items.
        negative_weight: c.
        taken: item nums that are no negatives of a query; left out, its targets.
    """
    rows, places = mask.nonzero(as_tuple=True)
    positive = (query_vectors[rows] * positive_vectors[rows, places]).sum(dim=1)
    counted = weight[rows, places]
    hits = (
        accidental_hits(item_num, mask, negatives.item_num)
        if taken is None
        else hits_of(taken, negatives.item_num)
    )
    total = masked_softmax_loss(
        query_vectors, negatives.vectors, positive, _bias(negatives), rows, counted, hits
    )
    return _balanced(total, positive, counted, negative_weight)


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
    `positive_temperature`, the ratio of the positive side's to the negative side's. Large c is the
    plain mean over a query's targets, small c listens to the best fitting ones and forgives noisy
    ones.

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
        _bias(negatives),
        torch.arange(len(query_vectors), device=query_vectors.device),
        per_query,
        accidental_hits(item_num, mask, negatives.item_num),
    )
    total = lse - positive_temperature * (per_query[used] * positive).sum()
    return _mean(total, per_query)


def bpr(positive_scores: Tensor, negative_scores: Tensor, weight: Tensor) -> Tensor:
    """Bayesian personalised ranking: -log sigmoid(s_t - s_j), mean over pairs and their negatives
    (Rendle et al. 2009).

    Args:
        positive_scores: (T,).
        negative_scores: (T, K), K negatives of each target.
        weight: (T,).
    """
    gaps = positive_scores[:, None] - negative_scores
    return _mean((F.softplus(-gaps).mean(dim=1) * weight).sum(), weight)


def bce(positive_scores: Tensor, negative_scores: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy of each target (label 1) and its K negatives (label 0): the sum of their
    1 + K terms, mean over targets (He et al. 2017, eq. 7).

    Args: as `bpr`.
    """
    terms = F.softplus(-positive_scores) + F.softplus(negative_scores).sum(dim=1)
    return _mean((terms * weight).sum(), weight)


def accidental_hits(item_num: Tensor, mask: Tensor, candidates: Tensor) -> UserPositives:
    """Where a candidate is one of the query's own targets.

    Args:
        item_num: (B, P).
        mask: (B, P).
        candidates: (M,) item nums, the same num any number of times.
    """
    if item_num.shape[1] == 1:
        # Queries of the same item share its columns, which are many where the item is popular.
        items, owner = torch.unique(torch.where(mask, item_num, -1)[:, 0], return_inverse=True)
        rows = torch.arange(len(items), device=items.device)
        return hits_of(UserPositives(rows, items, owner), candidates)
    rows, places = mask.nonzero(as_tuple=True)
    return hits_of(UserPositives(rows, item_num[rows, places]), candidates)


def hits_of(taken: UserPositives, candidates: Tensor) -> UserPositives:
    """The columns of the candidates (M,) that each user has, in the place of items."""
    order = candidates.argsort()
    ordered = candidates[order]
    first = torch.searchsorted(ordered, taken.item_num)
    counts = torch.searchsorted(ordered, taken.item_num, right=True) - first
    hits, places = ranges(first, counts)
    return taken._replace(rows=taken.rows[hits], item_num=order[places])


def _balanced(total: Tensor, positive: Tensor, counted: Tensor, negative_weight: float) -> Tensor:
    """c * log(...) - s, from the cross-entropy log(...) - s."""
    if negative_weight != 1:
        total = negative_weight * total + (negative_weight - 1) * (counted * positive).sum()
    return _mean(total, counted)


def _bias(candidates: CandidateVectors) -> Tensor | None:
    return None if candidates.logq is None else -candidates.logq


def _join(logq: Tensor | None, negatives: CandidateVectors, num_own: int) -> Tensor | None:
    if logq is None and negatives.logq is None:
        return None
    zeros = negatives.vectors.new_zeros
    own = zeros(num_own) if logq is None else logq
    drawn = zeros(len(negatives.item_num)) if negatives.logq is None else negatives.logq
    return torch.cat([own, drawn])


def _mean(total: Tensor, weight: Tensor) -> Tensor:
    return total / weight.sum().clamp(min=torch.finfo(torch.float32).tiny)
