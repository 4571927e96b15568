"""What an evaluation found: as arrays for tests, as JSON, and in words for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table
from rich.text import Text

from twotower.data.arrays.ragged import Ragged
from twotower.evaluation.metrics import Floats, mean, num_relevant
from twotower.evaluation.reachability import Reach
from twotower.evaluation.slices import SLICES

SHOWN = ("recall", "ndcg", "hit", "mrr")
"""The metrics of the JSON and of the table; the others are in `per_query`."""

TITLES = {
    "popularity": "popularity",
    "recent_popularity": "recent popularity",
    "item_knn": "item-kNN",
    "ease": "EASE",
}
"""Name of a baseline -> what reports call it."""

MISSES = (
    (
        "rows_with_items_outside_the_catalogue",
        "Of these, of items outside the catalogue",
        "they are misses",
    ),
    (
        "rows_masked_as_seen",
        "Test rows that repeat what the user had seen, which is masked",
        "they are misses, as long as evaluation.mask_seen is true",
    ),
)
"""Counts that are a line each where they are too few for a ceiling."""

Candidates = Literal["all", "cold", "warm"]


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        k: the cut-off.
        candidates: `all`, or `cold`: only items of the test part that training lacks;
            `warm`: only items that training saw.
        num_items: candidates ranked.
        user_num: (Q,) the queries: users with at least one test row.
        ranked: (Q, k) what they were recommended.
        per_query: metric -> (Q,) values.
        metrics: metric -> mean over queries.
        per_slice: slice -> metric -> (Q,) values, NaN for a query without an item of the slice.
        slices: slice -> its queries, its relevant items, its means (None where it is empty).
        paths: path -> queries that it answered.
        counts: what a reader should know: unknown users and items, repeated rows.
        beyond: coverage, novelty (bits) and Gini of what was recommended.
        notes: what reading the test file left out or allowed, one sentence each.
        stages: what an answer went through.
        reach: what of the part can be found, and whom of it training knows.
        split: how the part was cut; None where that is not known.
        baselines: name -> the same of a baseline, on the same rows.
        baseline_settings: how the baselines were set, as JSON.
        verdict: where the model stands among them, empty without one.
    """

    k: int
    candidates: Candidates
    num_items: int
    user_num: NDArray[np.int64]
    ranked: NDArray[np.int64]
    per_query: dict[str, Floats]
    metrics: dict[str, float]
    per_slice: dict[str, dict[str, Floats]]
    slices: dict[str, dict[str, Any]]
    paths: dict[str, int]
    counts: dict[str, int]
    beyond: dict[str, float]
    notes: tuple[str, ...] = ()
    stages: tuple[str, ...] = ("retrieve",)
    reach: Reach | None = None
    split: str | None = None
    baselines: Mapping[str, Evaluation] = field(default_factory=dict)
    baseline_settings: Mapping[str, Any] = field(default_factory=dict)
    verdict: str = ""

    @property
    def cautions(self) -> list[str]:
        """What stands against taking the figures for those of the model."""
        return [] if self.reach is None else self.reach.notes(self.split)

    def to_json(self) -> dict[str, Any]:
        """The object that `evaluate --json` prints."""
        return {
            "protocol": "full_catalog",
            "candidates": self.candidates,
            "stages": list(self.stages),
            "k": self.k,
            "num_queries": len(self.user_num),
            "num_items": self.num_items,
            "metrics": {name: self.metrics[name] for name in shown(self.k)},
            "slices": self.slices,
            "paths": self.paths,
            "counts": self.counts,
            "beyond_accuracy": self.beyond,
            "notes": list(self.notes),
            "ceiling": None if self.reach is None else dict(self.reach.ceiling),
            "cautions": self.cautions,
            "verdict": self.verdict,
            "baselines": {
                name: {metric: found.metrics[metric] for metric in shown(self.k)}
                for name, found in self.baselines.items()
            },
            "baseline_slices": {name: found.slices for name, found in self.baselines.items()},
            "split": self.split,
            "baseline_settings": dict(self.baseline_settings),
        }


def shown(k: int) -> list[str]:
    """The names of the metrics that are shown."""
    return [f"{name}@{k}" for name in SHOWN]


def summarise(
    parts: dict[str, Ragged], values: dict[str, dict[str, Floats]], k: int
) -> dict[str, dict[str, Any]]:
    """Slice -> number of queries and of relevant items, and the means, None in an empty slice.

    Args:
        parts: slice -> (Q lists) its relevant items.
        values: slice -> metric -> (Q,).
        k: the cut-off.
    """
    return {
        name: {
            "num_queries": int((part.lengths > 0).sum()),
            "num_relevant": int(num_relevant(part).sum()),
            **{metric: mean(values[name][metric]) for metric in shown(k)},
        }
        for name, part in parts.items()
    }


def render(evaluation: Evaluation) -> Group:
    """A table of slices and metrics for a terminal, and what it means in words."""
    verdict = [Text(evaluation.verdict, style="bold")] if evaluation.verdict else []
    return Group(slice_table(evaluation), *verdict, *(Text(line) for line in words(evaluation)))


def slice_table(evaluation: Evaluation) -> Table:
    """All queries and each slice that has any as rows, the baselines below; metrics as columns."""
    names = shown(evaluation.k)
    kind = "items" if evaluation.candidates == "all" else f"{evaluation.candidates} items"
    table = Table(
        title=f"Held-out interactions, ranked among {evaluation.num_items:,} {kind}",
        title_justify="left",
    )
    beside = evaluation.baselines
    for name in ("slice", "users", *(["ranked by"] if beside else []), *names):
        left = name in ("slice", "ranked by")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    systems = {"model": evaluation, **{TITLES.get(name, name): e for name, e in beside.items()}}
    for part in ("all", *SLICES):
        for title, found in systems.items():
            own = found.slices.get(part, {"num_queries": len(found.user_num), **found.metrics})
            if not own["num_queries"]:
                continue
            is_first = found is evaluation
            table.add_row(
                *([part.replace("_", " "), f"{own['num_queries']:,}"] if is_first else ["", ""]),
                *([title] if beside else []),
                *(f"{own[name]:.4f}" for name in names),
            )
        if beside:
            table.add_section()
    return table


def words(evaluation: Evaluation) -> list[str]:
    """What the figures mean, one sentence a line."""
    k, counts = evaluation.k, evaluation.counts
    recall = evaluation.metrics[f"recall@{k}"]
    coverage = evaluation.beyond[f"coverage@{k}"]
    answered = ", ".join(
        f"{number:,} {path}" for path, number in evaluation.paths.items() if number
    )
    lines = [
        *evaluation.cautions,
        f"recall@{k} = {recall:.3f}: of 100 items that a user went on to take, about "
        f"{100 * recall:.0f} were among the first {min(k, evaluation.num_items)} of "
        f"{evaluation.num_items:,}.",
        f"Answered by: {answered}. {coverage:.1%} of the items were recommended to somebody.",
    ]
    counted = [
        ("users_unknown_to_training", "Test users unknown to training", "their queries count"),
        (
            "rows_with_items_unknown_to_training",
            "Test rows of items unknown to training",
            "they count",
        ),
        *([] if evaluation.reach is not None and evaluation.reach.has_ceiling else MISSES),
        (
            "rows_not_among_the_candidates",
            "Test rows of other items",
            "left out, as these are not ranked",
        ),
    ]
    lines += [
        f"{what}: {counts[name]:,}; {meaning}." for name, what, meaning in counted if counts[name]
    ]
    return [*lines, *evaluation.notes]
