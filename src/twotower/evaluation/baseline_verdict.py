"""Where a model stands among the baselines, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from twotower.evaluation.report import TITLES, Evaluation
from twotower.evaluation.significance import paired_p_value

SIGNIFICANT: Final = 0.05
"""A p-value below it is more than chance."""

TO_TRY: Final = {
    "popularity": (
        "Try retriever.item_bias = true, a lower training.learning_rate, or a history "
        "([features.user.history]) if there is none."
    ),
    "recent_popularity": (
        'What is popular changes quickly here: try training.refit = "train", fewer old rows, or a '
        "history ([features.user.history]) if there is none."
    ),
    "item_knn": (
        "Try a history ([features.user.history]) if there is none, item features, or a wider "
        "retriever.embedding_dim."
    ),
    "ease": (
        "Try a history ([features.user.history]) if there is none, item features, or a wider "
        "retriever.embedding_dim."
    ),
}
"""Name of the baseline that the model does not beat -> what may help."""


@dataclass(frozen=True)
class Gap:
    """The model against one baseline.

    Attributes:
        name: of the baseline.
        ours, theirs: the metric of both.
        p_value: of the paired test over the queries of both.
    """

    name: str
    ours: float
    theirs: float
    p_value: float

    @property
    def title(self) -> str:
        """What reports call the baseline."""
        return TITLES.get(self.name, self.name)

    @property
    def is_level(self) -> bool:
        """Whether the difference may be chance."""
        return self.p_value >= SIGNIFICANT

    @property
    def is_behind(self) -> bool:
        """Whether the model is behind beyond chance."""
        return self.ours < self.theirs and not self.is_level


def verdict(model: Evaluation, baselines: Mapping[str, Evaluation]) -> str:
    """Whether the model is ahead of the strongest baseline on these queries by ndcg@k, level or
    below, by how much, and what to try where it is not ahead; empty without a baseline.

    Args:
        model, baselines: measured on the same queries.
    """
    if not baselines:
        return ""
    metric = f"ndcg@{model.k}"
    gaps = [
        Gap(
            name,
            model.metrics[metric],
            found.metrics[metric],
            p_value(model, found, metric),
        )
        for name, found in baselines.items()
    ]
    gaps.sort(key=lambda gap: -gap.theirs)
    best = gaps[0]
    to_try = TO_TRY[hardest(gaps)]
    figures = f"({metric} {short(best.ours)} against {short(best.theirs)}, {chance(best.p_value)})"
    if best.is_level:
        return (
            f"The model is level with {best.title}, not ahead {figures}. {to_try} "
            "`twotower compare` tunes models on the same rows."
        )
    if not best.is_behind:
        others = "" if len(gaps) == 1 else ", the best baseline"
        return f"The model is {percent(best)} above {best.title}{others} {figures}."
    also = [gap for gap in gaps[1:] if gap.is_behind]
    more = "".join(f", {percent(gap)} below {gap.title}" for gap in also)
    return (
        f"The model is {percent(best)} below {best.title} {figures}{more}. {to_try} "
        "`twotower compare` tunes models on the same rows."
    )


def hardest(gaps: Sequence[Gap]) -> str:
    """The baseline by which to tell what may help: popularity, where that of late is hardly better;
    `gaps` begin with the strongest baseline."""
    best = gaps[0]
    close = {gap.name for gap in gaps if gap.theirs >= 0.95 * best.theirs}
    late = best.name == "recent_popularity" and "popularity" in close
    return "popularity" if late else best.name


def p_value(first: Evaluation, second: Evaluation, metric: str) -> float:
    """Of the paired test over the queries that say something of both."""
    gaps = first.per_query[metric] - second.per_query[metric]
    return paired_p_value(gaps[~np.isnan(gaps)])


def percent(gap: Gap) -> str:
    """By how much of the baseline's figure the model differs from it."""
    if gap.theirs <= 0:
        return f"{abs(gap.ours - gap.theirs):.4f}"
    value = 100 * abs(gap.ours / gap.theirs - 1)
    return f"{value:.1f} %" if value < 10 else f"{value:,.0f} %"


def short(value: float) -> str:
    """A figure with four digits, without the 0 before the point."""
    return f"{value:.4f}".removeprefix("0")


def chance(p_value: float) -> str:
    """The p-value."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"
