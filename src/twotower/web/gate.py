"""The activation gate: a new version must not be worse than the active one on held-out rows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from twotower.data.columns import USER_ID
from twotower.data.dataset.dataset import number_interactions
from twotower.errors import DataError, NotFoundError, TwoTowerError, explain
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
        active, candidate: its values for the two versions; None for one that cannot be measured.
        allowed_drop: maximum relative loss of the candidate.
        reason: why they cannot be compared; None if they were.
    """

    metric: str
    active: float | None
    candidate: float | None
    allowed_drop: float
    reason: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the candidate may be activated. What cannot be compared may not, unless any drop
        is allowed."""
        if self.active is None or self.candidate is None:
            return self.allowed_drop >= 1
        return self.candidate >= self.active * (1 - self.allowed_drop)


class ActivationGate:
    """Compares versions. Results are cached, since a bundle never changes: until another user is
    forgotten, whose rows count no more."""

    def __init__(self, pool: Pool, *, allowed_drop: float, max_users: int) -> None:
        self._pool = pool
        self._allowed_drop = allowed_drop
        self._max_users = max_users
        self._known: OrderedDict[tuple[str, str, int], Verdict] = OrderedDict()

    def compare(
        self, active: OverlaidModel, candidate: OverlaidModel, forgotten: Collection[str] = ()
    ) -> Verdict:
        """Evaluate both on the candidate's held-out rows, or on the active one's if it has none.

        Takes seconds for large bundles; do not call it on the thread that answers requests.

        Args:
            active, candidate: the versions.
            forgotten: ids of users whose rows are left out, as text.
        """
        pair = (active.version, candidate.version, len(forgotten))
        if pair not in self._known:
            self._known[pair] = self._measure(active, candidate, forgotten)
            if len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)
        return self._known[pair]

    def _measure(
        self, active: OverlaidModel, candidate: OverlaidModel, forgotten: Collection[str]
    ) -> Verdict:
        k = candidate.served.config.evaluation.k
        rows = self._rows(candidate, forgotten)
        if not len(rows):
            rows = self._rows(active, forgotten)
        rows = some_users(rows, self._max_users)
        values, reason = {}, None
        for model in (active, candidate):
            try:
                values[model.version] = held_out_ndcg(model.served, rows, k)
            except TwoTowerError as error:
                reason = f"version {model.version!r} cannot be measured: {error}"
        found = [values.get(model.version) for model in (active, candidate)]
        return Verdict(f"ndcg@{k}", found[0], found[1], self._allowed_drop, reason)

    def _rows(self, model: OverlaidModel, forgotten: Collection[str]) -> pl.DataFrame:
        """The held-out rows of a version; none if its folder was deleted while it answers."""
        try:
            return held_out_rows(self._pool.path(model.version), forgotten)
        except (NotFoundError, OSError):
            return pl.DataFrame(schema={USER_ID: pl.String})


def held_out_ndcg(served: ServedModel, rows: pl.DataFrame, k: int) -> float:
    """ndcg@k of a model on held-out rows.

    Raises:
        DataError: there are none, or the model cannot read them: they lack a column.
    """
    if not len(rows):
        raise DataError("there are no held-out rows.")
    for feature in served.schema.columns("context").values():
        if feature.column not in rows.columns:
            raise DataError(
                explain("the held-out rows lack a column that it reads", column=feature.column)
            )
    users = served.users.with_more(rows[USER_ID])
    own = Recommender(served.with_users(users))
    found = evaluate(own, number_interactions(rows, own.users, own.items), k=k)
    return found.metrics[f"ndcg@{k}"]
