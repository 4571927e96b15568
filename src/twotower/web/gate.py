"""Whether a new version may answer: both are measured on the same held-out rows."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import polars as pl

from twotower.data.columns import USER_ID
from twotower.data.dataset.dataset import number_interactions
from twotower.errors import TwoTowerError
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.bundle import held_out_rows, some_users
from twotower.serving.live.model import LiveModel
from twotower.serving.live.versions import Pool
from twotower.workflow.evaluate import evaluate

MAX_REMEMBERED = 64


@dataclass(frozen=True)
class Verdict:
    """What the gate found.

    Attributes:
        metric: its name, ndcg@k.
        active, candidate: the figures; None where there is nothing to measure on.
        allowed_drop: by which share the candidate's may be smaller.
    """

    metric: str
    active: float | None
    candidate: float | None
    allowed_drop: float

    @property
    def passed(self) -> bool:
        """Whether the candidate may answer; what cannot be measured may."""
        if self.active is None or self.candidate is None:
            return True
        return self.candidate >= self.active * (1 - self.allowed_drop)


class ActivationGate:
    """Compares versions; a comparison is made once, as bundles never change."""

    def __init__(self, pool: Pool, *, allowed_drop: float, max_users: int) -> None:
        self._pool = pool
        self._allowed_drop = allowed_drop
        self._max_users = max_users
        self._known: OrderedDict[tuple[str, str], Verdict] = OrderedDict()

    def compare(self, active: LiveModel, candidate: LiveModel) -> Verdict:
        """Measure both on the candidate's held-out rows, or on the active one's if it has none.

        Takes seconds for large bundles; for any thread but the one that answers.
        """
        pair = (active.version, candidate.version)
        if pair not in self._known:
            self._known[pair] = self._measure(active, candidate)
            if len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)
        return self._known[pair]

    def _measure(self, active: LiveModel, candidate: LiveModel) -> Verdict:
        k = candidate.recommender.served.config.evaluation.k
        rows = held_out_rows(self._pool.path(candidate.version))
        if not len(rows):
            rows = held_out_rows(self._pool.path(active.version))
        rows = some_users(rows, self._max_users)
        figures = [figure(model.recommender, rows, k) for model in (active, candidate)]
        return Verdict(f"ndcg@{k}", figures[0], figures[1], self._allowed_drop)


def figure(recommender: Recommender, rows: pl.DataFrame, k: int) -> float | None:
    """ndcg@k of a recommender; None where it cannot be measured on the rows."""
    if not len(rows):
        return None
    try:
        users = recommender.users.with_more(rows[USER_ID])
        own = Recommender(recommender.served.with_users(users))
        found = evaluate(own, number_interactions(rows, own.users, own.items), k=k)
    except TwoTowerError:
        return None
    return found.metrics[f"ndcg@{k}"]
