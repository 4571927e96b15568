"""Results of an evaluation: as arrays, as JSON, and as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table
from rich.text import Text

from twotower.data.arrays.ragged import Ragged
from twotower.evaluation.metrics import Floats, mean, num_relevant
from twotower.evaluation.reachability import Reachability
from twotower.evaluation.slices import SLICES
from twotower.html import table

REPORTED_METRICS = ("recall", "ndcg", "hit", "mrr")
"""The metrics of the JSON and of the table; the others are in `per_query`."""

BASELINE_TITLES = {
    "popularity": "popularity",
    "recent_popularity": "recent popularity",
    "item_knn": "item-kNN",
    "ease": "EASE",
}
"""Name of a baseline -> its name in reports."""

UNREACHABLE_COUNTS = (
    (
        "rows_with_items_outside_the_catalogue",
        "Of these, rows with items outside the catalogue",
        "they count as misses",
    ),
    (
        "rows_masked_as_seen",
        "Test rows that repeat an item that the user had already seen, which is masked",
        "they count as misses while evaluation.mask_seen is true",
    ),
)
"""Counts that are reported only where the upper bound, which explains them, is not."""

Candidates = Literal["all", "cold", "warm"]


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a model on a test part, and what they were measured on.

    Attributes:
        k: the cut-off.
        candidates: `all`, `cold`: only items of the test part without a training row, or `warm`:
            only items with one.
        num_items: candidates ranked.
        user_num: (Q,) the queries: users with at least one test row.
        ranked: (Q, k) items recommended to them.
        per_query: metric -> (Q,) values.
        metrics: metric -> mean over queries.
        per_slice: slice -> metric -> (Q,) values, NaN for a query without an item of the slice.
        slices: slice -> number of queries and of relevant items, and means (None if it is empty).
        paths: answer path -> number of queries.
        counts: of unknown users and items, repeated rows, and the like.
        beyond: coverage, novelty (bits) and Gini index of the recommended items.
        notes: on rows of the test file that were ignored or accepted, one sentence each.
        stages: of the pipeline that answered.
        reach: what can be found in the part.
        split: the method of the split; None where it is not known.
        baselines: name -> evaluation of a baseline on the same rows.
        baseline_settings: configuration of the baselines, as JSON.
        verdict: how the model compares with the baselines, empty without one.
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
    reach: Reachability | None = None
    split: str | None = None
    baselines: Mapping[str, Evaluation] = field(default_factory=dict)
    baseline_settings: Mapping[str, Any] = field(default_factory=dict)
    verdict: str = ""

    def __repr__(self) -> str:
        figures = ", ".join(f"{name} {self.metrics[name]:.4f}" for name in reported_metrics(self.k))
        return (
            f"Evaluation({figures}; {len(self.user_num):,} users, {self.num_items:,} items ranked)"
        )

    def _repr_html_(self) -> str:
        frame = self.to_frame()
        rows = [
            [
                f"{value:.4f}"
                if isinstance(value, float)
                else f"{value:,}"
                if isinstance(value, int)
                else value.replace("_", " ")
                for value in row
            ]
            for row in frame.iter_rows()
        ]
        return table(f"Ranked among {self.num_items:,} items", frame.columns, rows)

    def to_frame(self) -> pl.DataFrame:
        """A row for each slice that has users and each ranker: `slice` ("all" first), `ranker`
        ("model", then the baselines), `users`, `recall@k`, `ndcg@k`, `hit@k`, `mrr@k`."""
        rankers = {"model": self, **self.baselines}
        rows = []
        for part in ("all", *SLICES):
            for name, found in rankers.items():
                figures = found.slices.get(
                    part, {"num_queries": len(found.user_num), **found.metrics}
                )
                if figures["num_queries"]:
                    metrics = {
                        metric: float(figures[metric]) for metric in reported_metrics(self.k)
                    }
                    rows.append(
                        {"slice": part, "ranker": name, "users": figures["num_queries"], **metrics}
                    )
        return pl.DataFrame(rows)

    @property
    def cautions(self) -> list[str]:
        """Reasons why the metrics may not measure the model."""
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
            "metrics": {name: self.metrics[name] for name in reported_metrics(self.k)},
            "slices": self.slices,
            "paths": self.paths,
            "counts": self.counts,
            "beyond_accuracy": self.beyond,
            "notes": list(self.notes),
            "ceiling": None if self.reach is None else dict(self.reach.ceiling),
            "cautions": self.cautions,
            "verdict": self.verdict,
            "baselines": {
                name: {metric: found.metrics[metric] for metric in reported_metrics(self.k)}
                for name, found in self.baselines.items()
            },
            "baseline_slices": {name: found.slices for name, found in self.baselines.items()},
            "split": self.split,
            "baseline_settings": dict(self.baseline_settings),
        }


def reported_metrics(k: int) -> list[str]:
    """The names of the reported metrics."""
    return [f"{name}@{k}" for name in REPORTED_METRICS]


def summarise_slices(
    parts: dict[str, Ragged], values: dict[str, dict[str, Floats]], k: int
) -> dict[str, dict[str, Any]]:
    """Slice -> number of queries and of relevant items, and means (None in an empty slice).

    Args:
        parts: slice -> (Q lists) its relevant items.
        values: slice -> metric -> (Q,).
        k: the cut-off.
    """
    return {
        name: {
            "num_queries": int((part.lengths > 0).sum()),
            "num_relevant": int(num_relevant(part).sum()),
            **{metric: mean(values[name][metric]) for metric in reported_metrics(k)},
        }
        for name, part in parts.items()
    }


def render(evaluation: Evaluation) -> Group:
    """A table of slices and metrics for a terminal, with explanations below."""
    verdict = [Text(evaluation.verdict, style="bold")] if evaluation.verdict else []
    return Group(
        slice_table(evaluation), *verdict, *(Text(line) for line in explanations(evaluation))
    )


def slice_table(evaluation: Evaluation) -> Table:
    """Rows: all queries and each slice that is not empty, the baselines below the model. Columns:
    metrics."""
    names = reported_metrics(evaluation.k)
    kind = "items" if evaluation.candidates == "all" else f"{evaluation.candidates} items"
    table = Table(
        title=f"Held-out interactions, ranked among {evaluation.num_items:,} {kind}",
        title_justify="left",
    )
    baselines = evaluation.baselines
    for name in ("slice", "users", *(["ranked by"] if baselines else []), *names):
        left = name in ("slice", "ranked by")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    systems = {
        "model": evaluation,
        **{BASELINE_TITLES.get(name, name): e for name, e in baselines.items()},
    }
    for part in ("all", *SLICES):
        for title, found in systems.items():
            own = found.slices.get(part, {"num_queries": len(found.user_num), **found.metrics})
            if not own["num_queries"]:
                continue
            is_first = found is evaluation
            table.add_row(
                *([part.replace("_", " "), f"{own['num_queries']:,}"] if is_first else ["", ""]),
                *([title] if baselines else []),
                *(f"{own[name]:.4f}" for name in names),
            )
        if baselines:
            table.add_section()
    return table


def explanations(evaluation: Evaluation) -> list[str]:
    """What the metrics mean, one line for each aspect."""
    k, counts = evaluation.k, evaluation.counts
    recall = evaluation.metrics[f"recall@{k}"]
    coverage = evaluation.beyond[f"coverage@{k}"]
    paths = ", ".join(f"{number:,} {path}" for path, number in evaluation.paths.items() if number)
    lines = [
        *evaluation.cautions,
        f"recall@{k} = {recall:.3f}: of 100 items that users interacted with later, about "
        f"{100 * recall:.0f} were among the top {min(k, evaluation.num_items)} of "
        f"{evaluation.num_items:,}.",
        f"Answer paths: {paths}. Catalog coverage: {coverage:.1%} of the items were recommended.",
    ]
    has_ceiling = evaluation.reach is not None and evaluation.reach.has_ceiling
    explained_counts = [
        (
            "users_unknown_to_training",
            "Test users that are not in the training data",
            "their queries count",
        ),
        (
            "rows_with_items_unknown_to_training",
            "Test rows with items that are not in the training data",
            "they count",
        ),
        *([] if has_ceiling else UNREACHABLE_COUNTS),
        (
            "rows_not_among_the_candidates",
            "Test rows with items that are not candidates",
            "they are ignored",
        ),
    ]
    lines += [
        f"{what}: {counts[name]:,}; {effect}."
        for name, what, effect in explained_counts
        if counts[name]
    ]
    return [*lines, *evaluation.notes]
