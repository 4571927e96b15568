"""The activation gate: a new version must not be worse than the active one on held-out rows."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import polars as pl

from twotower.data.columns import USER_ID
from twotower.data.dataset.dataset import number_interactions
from twotower.errors import TwoTowerError
from twotower.serving.answer.overlaid_model import OverlaidModel
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.bundle import held_out_rows, some_users
from twotower.serving.bundle.served_model import ServedModel
from twotower.serving.live.versions import Pool
from twotower.workflow.evaluate import evaluate

MAX_REMEMBERED = 64


@dataclass(frozen=True)
class Verdict:
    """The gate's decision.

    Attributes:
        metric: name of the metric, ndcg@k.
        active, candidate: its values for the two versions; None if there are no held-out rows.
        allowed_drop: maximum relative loss of the candidate.
    """

    metric: str
    active: float | None
    candidate: float | None
    allowed_drop: float

    @property
    def passed(self) -> bool:
        """Whether the candidate may be activated; true if it cannot be measured."""
        if self.active is None or self.candidate is None:
            return True
        return self.candidate >= self.active * (1 - self.allowed_drop)


class ActivationGate:
    """Compares versions. Results are cached, since a bundle never changes."""

    def __init__(self, pool: Pool, *, allowed_drop: float, max_users: int) -> None:
        self._pool = pool
        self._allowed_drop = allowed_drop
        self._max_users = max_users
        self._known: OrderedDict[tuple[str, str], Verdict] = OrderedDict()

    def compare(self, active: OverlaidModel, candidate: OverlaidModel) -> Verdict:
        """Evaluate both on the candidate's held-out rows, or on the active one's if it has none.

        Takes seconds for large bundles; do not call it on the thread that answers requests.
        """
        pair = (active.version, candidate.version)
        if pair not in self._known:
            self._known[pair] = self._measure(active, candidate)
            if len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)
        return self._known[pair]

    def _measure(self, active: OverlaidModel, candidate: OverlaidModel) -> Verdict:
        k = candidate.served.config.evaluation.k
        rows = held_out_rows(self._pool.path(candidate.version))
        if not len(rows):
            rows = held_out_rows(self._pool.path(active.version))
        rows = some_users(rows, self._max_users)
        values = [held_out_ndcg(model.served, rows, k) for model in (active, candidate)]
        return Verdict(f"ndcg@{k}", values[0], values[1], self._allowed_drop)


def held_out_ndcg(served: ServedModel, rows: pl.DataFrame, k: int) -> float | None:
    """ndcg@k of a model on held-out rows; None if it cannot be measured on them."""
    if not len(rows):
        return None
    try:
        users = served.users.with_more(rows[USER_ID])
        own = Recommender(served.with_users(users))
        found = evaluate(own, number_interactions(rows, own.users, own.items), k=k)
    except TwoTowerError:
        return None
    return found.metrics[f"ndcg@{k}"]
