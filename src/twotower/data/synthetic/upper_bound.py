"""The best ranking of the synthetic catalogue, from its true probabilities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.data.synthetic.planted_taste import Floats, Nums, Taste

ROWS_PER_CHUNK = 512
"""Users, or visits, whose probabilities over all items are in memory at once."""


class Visits(NamedTuple):
    """What was chosen when: rows (T,) of the taste's users and items, day and context."""

    user: Nums
    item: Nums
    day: Nums
    context: Nums


def best_metrics(
    taste: Taste, visits: Visits, k: int, *, seen: tuple[Nums, Nums]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """recall@k and ndcg@k, (Q,) each, of the Q users that have a visit, in their order.

    A user's items are ranked by the sum over the user's visits of P(i | u, t, c, seen), excluding
    seen items.

    Args:
        taste: the true probabilities.
        visits: the choices to be found.
        k: cut-off.
        seen: user and item (S,) of the choices made before.
    """
    order = np.argsort(visits.user, kind="stable")
    visits = Visits(*(column[order] for column in visits))
    users, starts = np.unique(visits.user, return_index=True)
    bounds = np.append(starts, len(order))
    recall, ndcg = np.empty(len(users)), np.empty(len(users))
    for first in range(0, len(users), ROWS_PER_CHUNK):
        chunk = slice(first, min(first + ROWS_PER_CHUNK, len(users)))
        part = Visits(*(column[bounds[first] : bounds[chunk.stop]] for column in visits))
        scores = _true_scores(taste, users[chunk], part, seen)
        relevant = np.zeros(scores.shape, dtype=np.bool_)
        relevant[np.searchsorted(users[chunk], part.user), part.item] = True
        recall[chunk], ndcg[chunk] = _metrics(scores, relevant, k)
    return recall, ndcg


def _true_scores(taste: Taste, users: Nums, visits: Visits, seen: tuple[Nums, Nums]) -> Floats:
    """(B, N) of the users (B,), -inf for seen items."""
    affinity = taste.affinity(users)
    place = np.minimum(np.searchsorted(users, seen[0]), len(users) - 1)
    here = users[place] == seen[0]
    masked = (place[here], seen[1][here])
    taste.take(affinity, *masked)
    scores = np.zeros_like(affinity)
    user = np.searchsorted(users, visits.user)
    for first in range(0, len(user), ROWS_PER_CHUNK):
        part = slice(first, first + ROWS_PER_CHUNK)
        weights = taste.weights(affinity[user[part]], visits.day[part], visits.context[part])
        np.add.at(scores, user[part], weights / weights.sum(axis=1, keepdims=True))
    scores[masked] = -np.inf
    return scores


def _metrics(
    scores: Floats, relevant: NDArray[np.bool_], k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """hits / relevant items and the ndcg of binary gains (B,), of scores (B, N)."""
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(relevant, ranked, axis=1)
    number = relevant.sum(axis=1)
    discounts = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.cumsum(discounts)[np.minimum(number, len(discounts)) - 1]
    return hits.sum(axis=1) / number, hits @ discounts / ideal
