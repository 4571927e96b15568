"""One sentence on how the model compares with the baselines, and advice where it is not better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from twotower.evaluation.report import BASELINE_TITLES, Evaluation
from twotower.evaluation.significance import paired_p_value

SIGNIFICANCE_LEVEL: Final = 0.05

ADVICE: Final = {
    "popularity": (
        "Try retriever.item_bias = true, a lower training.learning_rate, or a history "
        "([features.user.history]) if there is none."
    ),
    "recent_popularity": (
        'Popularity changes quickly in this data. Try training.refit = "train", fewer old rows, or '
        "a history ([features.user.history]) if there is none."
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
class BaselineGap:
    """The model against one baseline.

    Attributes:
        name: of the baseline.
        ours, theirs: the metric of the model and of the baseline.
        p_value: of the paired test over their common queries.
    """

    name: str
    ours: float
    theirs: float
    p_value: float

    @property
    def title(self) -> str:
        """The name of the baseline in reports."""
        return BASELINE_TITLES.get(self.name, self.name)

    @property
    def is_tie(self) -> bool:
        """Whether the difference is not significant."""
        return self.p_value >= SIGNIFICANCE_LEVEL

    @property
    def is_loss(self) -> bool:
        """Whether the model is significantly worse."""
        return self.ours < self.theirs and not self.is_tie


def verdict(model: Evaluation, baselines: Mapping[str, Evaluation]) -> str:
    """Whether the model's ndcg@k is above the strongest baseline's, on par or below, by how much,
    and what to try where it is not above; empty without a baseline.

    Args:
        model, baselines: measured on the same queries.
    """
    if not baselines:
        return ""
    metric = f"ndcg@{model.k}"
    gaps = [
        BaselineGap(
            name,
            model.metrics[metric],
            found.metrics[metric],
            p_value(model, found, metric),
        )
        for name, found in baselines.items()
    ]
    gaps.sort(key=lambda gap: -gap.theirs)
    best = gaps[0]
    advice = ADVICE[baseline_for_advice(gaps)]
    figures = (
        f"({metric} {in_digits(best.ours)} against {in_digits(best.theirs)}, {as_p(best.p_value)})"
    )
    if best.is_tie:
        return (
            f"The model is on par with {best.title}, not better {figures}. {advice} "
            "`twotower compare` tunes models on the same rows."
        )
    if not best.is_loss:
        others = "" if len(gaps) == 1 else ", the best baseline"
        return f"The model is {relative(best)} above {best.title}{others} {figures}."
    also = [gap for gap in gaps[1:] if gap.is_loss]
    more = "".join(f", {relative(gap)} below {gap.title}" for gap in also)
    return (
        f"The model is {relative(best)} below {best.title} {figures}{more}. {advice} "
        "`twotower compare` tunes models on the same rows."
    )


def baseline_for_advice(gaps: Sequence[BaselineGap]) -> str:
    """The strongest baseline, which `gaps` begin with; popularity where recent popularity is less
    than 5% better, as popularity then hardly changes over time."""
    best = gaps[0]
    close = {gap.name for gap in gaps if gap.theirs >= 0.95 * best.theirs}
    is_stable = best.name == "recent_popularity" and "popularity" in close
    return "popularity" if is_stable else best.name


def p_value(first: Evaluation, second: Evaluation, metric: str) -> float:
    """Of the paired test over the queries for which both have a value."""
    gaps = first.per_query[metric] - second.per_query[metric]
    return paired_p_value(gaps[~np.isnan(gaps)])


def relative(gap: BaselineGap) -> str:
    """The difference relative to the baseline's metric, in per cent; absolute where that is 0."""
    if gap.theirs <= 0:
        return f"{abs(gap.ours - gap.theirs):.4f}"
    value = 100 * abs(gap.ours / gap.theirs - 1)
    return f"{value:.1f}%" if value < 10 else f"{value:,.0f}%"


def in_digits(value: float) -> str:
    """A metric with four decimals, without the leading 0."""
    return f"{value:.4f}".removeprefix("0")


def as_p(p_value: float) -> str:
    """A p-value, such as `p = 0.03`."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"
