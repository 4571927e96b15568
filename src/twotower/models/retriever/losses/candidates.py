"""Candidates that targets are contrasted with: logQ correction, and which of them are masked."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from twotower.models.positives.user_positives import UserPositives, ranges


class CandidateVectors(NamedTuple):
    """Items that a batch is contrasted with.

    Attributes:
        vectors: (M, D).
        item_num: (M,) to find accidental hits by.
        logq: (M,) log of the expected count of each in the sample, or None for no correction.
    """

    vectors: Tensor
    item_num: Tensor
    logq: Tensor | None = None

    @property
    def bias(self) -> Tensor | None:
        """(M,) what the correction adds to the scores, or None."""
        return None if self.logq is None else -self.logq

    def followed_by(self, others: CandidateVectors) -> CandidateVectors:
        """These candidates and then others; one without a correction gets one of 0 if the other
        has one."""
        logq = None
        if self.logq is not None or others.logq is not None:
            logq = torch.cat([_logq(part) for part in (self, others)])
        return CandidateVectors(
            torch.cat([self.vectors, others.vectors]),
            torch.cat([self.item_num, others.item_num]),
            logq,
        )


def accidental_hits(item_num: Tensor, mask: Tensor, candidates: Tensor) -> UserPositives:
    """Which candidates are targets of the query itself.

    Args:
        item_num: (B, P).
        mask: (B, P).
        candidates: (M,) item nums, the same num any number of times.

    Returns:
        Columns of the candidates in the place of items.
    """
    if item_num.shape[1] == 1:
        # Queries of the same item share its columns, which are many where the item is popular.
        items, owner = torch.unique(torch.where(mask, item_num, -1)[:, 0], return_inverse=True)
        rows = torch.arange(len(items), device=items.device)
        return columns_of(UserPositives(rows, items, owner), candidates)
    rows, places = mask.nonzero(as_tuple=True)
    return columns_of(UserPositives(rows, item_num[rows, places]), candidates)


def columns_of(positives: UserPositives, candidates: Tensor) -> UserPositives:
    """The columns of the candidates (M,) that are positives of each user, in the place of items."""
    order = candidates.argsort()
    ordered = candidates[order]
    first = torch.searchsorted(ordered, positives.item_num)
    counts = torch.searchsorted(ordered, positives.item_num, right=True) - first
    hits, places = ranges(first, counts)
    return positives._replace(rows=positives.rows[hits], item_num=order[places])


def _logq(candidates: CandidateVectors) -> Tensor:
    if candidates.logq is None:
        return candidates.vectors.new_zeros(len(candidates.item_num))
    return candidates.logq
