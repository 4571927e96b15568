"""What an evaluation found: as arrays for tests, as JSON, and in words for a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table
from rich.text import Text

from twotower.data.lists import Lists
from twotower.evaluation.metrics import Floats, mean, num_relevant
from twotower.evaluation.slices import SLICES

SHOWN = ("recall", "ndcg", "hit", "mrr")
"""The metrics of the JSON and of the table; the others are in `per_query`."""

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
        }


def shown(k: int) -> list[str]:
    """The names of the metrics that are shown."""
    return [f"{name}@{k}" for name in SHOWN]


def summarise(
    parts: dict[str, Lists], values: dict[str, dict[str, Floats]], k: int
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
    return Group(slice_table(evaluation), *(Text(line) for line in words(evaluation)))


def slice_table(evaluation: Evaluation) -> Table:
    """All queries and each slice that has any as rows, metrics as columns."""
    names = shown(evaluation.k)
    kind = "items" if evaluation.candidates == "all" else f"{evaluation.candidates} items"
    table = Table(
        title=f"Held-out interactions, ranked among {evaluation.num_items:,} {kind}",
        title_justify="left",
    )
    for name in ("slice", "users", *names):
        table.add_column(name, justify="left" if name == "slice" else "right")
    rows: list[tuple[str, int, dict[str, Any]]] = [
        ("all", len(evaluation.user_num), evaluation.metrics)
    ]
    for name in SLICES:
        part = evaluation.slices[name]
        rows.append((name.replace("_", " "), part["num_queries"], part))
    for label, users, figures in rows:
        if users:
            table.add_row(label, f"{users:,}", *(f"{figures[name]:.4f}" for name in names))
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
        f"recall@{k} = {recall:.3f}: of 100 items that a user went on to take, about "
        f"{100 * recall:.0f} were among the first {min(k, evaluation.num_items)} of "
        f"{evaluation.num_items:,}.",
        f"Answered by: {answered}. {coverage:.1%} of the items were recommended to somebody.",
    ]
    told = [
        ("users_unknown_to_training", "Test users unknown to training", "their queries count"),
        (
            "rows_with_items_unknown_to_training",
            "Test rows of items unknown to training",
            "they count",
        ),
        (
            "rows_with_items_outside_the_catalogue",
            "Of these, of items outside the catalogue",
            "they are misses",
        ),
        (
            "rows_masked_as_seen",
            "Test rows that repeat what the user had seen, which is masked",
            "they are misses, as long as [evaluation] mask_seen is true",
        ),
        (
            "rows_not_among_the_candidates",
            "Test rows of other items",
            "left out, as these are not ranked",
        ),
    ]
    lines += [
        f"{what}: {counts[name]:,}; {meaning}." for name, what, meaning in told if counts[name]
    ]
    return [*lines, *evaluation.notes]
