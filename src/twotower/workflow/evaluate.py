"""How good a recommender is on held-out interactions, ranked over the full catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table

from twotower.data.columns import USER_ID
from twotower.data.dataset import context_columns, number_interactions
from twotower.data.entities import EntityTable, Features
from twotower.data.interactions import Interactions
from twotower.data.lists import Lists
from twotower.data.ranking import PATHS, Ranked
from twotower.data.tables import read_interactions
from twotower.errors import DataError, explain
from twotower.evaluation import metrics as m
from twotower.evaluation.slices import SLICES, slice_relevant
from twotower.serving.bundle import held_out_rows
from twotower.serving.recommender import Recommender

SHOWN = ("recall", "ndcg", "hit", "mrr")
"""The metrics of the JSON; the others are in `per_query`."""

Candidates = Literal["all", "cold"]


class Ranker(Protocol):
    """What can be measured: a `Recommender`, a baseline."""

    users: EntityTable
    items: EntityTable
    item_counts: NDArray[np.int64]
    seen: Lists

    def top_k(
        self,
        user_num: NDArray[np.integer],
        k: int,
        *,
        context: Features | None = None,
        mask_seen: bool = True,
        excluded: Lists | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Ranked:
        """See `Recommender.top_k`."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        k: the cut-off.
        candidates: `all`, or `cold`: only items of the test part that training lacks.
        user_num: (Q,) the queries: users with at least one test row.
        ranked: (Q, k) what they were recommended.
        per_query: metric -> (Q,) values.
        metrics: metric -> mean over queries.
        per_slice: slice -> metric -> (Q,) values, NaN for a query without an item of the slice.
        slices: slice -> its queries, its relevant items, its means (None where it is empty).
        paths: path -> queries that it answered.
        counts: what a reader should know: unknown users and items, repeated rows.
        beyond: coverage, novelty (bits) and Gini of what was recommended.
    """

    k: int
    candidates: Candidates
    num_items: int
    user_num: NDArray[np.int64]
    ranked: NDArray[np.int64]
    per_query: dict[str, m.Floats]
    metrics: dict[str, float]
    per_slice: dict[str, dict[str, m.Floats]]
    slices: dict[str, dict[str, Any]]
    paths: dict[str, int]
    counts: dict[str, int]
    beyond: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """The object that `evaluate --json` prints."""
        return {
            "protocol": "full_catalog",
            "candidates": self.candidates,
            "stages": ["retrieve"],
            "k": self.k,
            "num_queries": len(self.user_num),
            "num_items": self.num_items,
            "metrics": {name: self.metrics[name] for name in _names(SHOWN, self.k)},
            "slices": self.slices,
            "paths": self.paths,
            "counts": self.counts,
            "beyond_accuracy": self.beyond,
        }


def evaluate(
    ranker: Ranker,
    test: Interactions,
    *,
    k: int = 20,
    mask_seen: bool = True,
    candidates: Candidates = "all",
) -> Evaluation:
    """Rank the catalogue for each user of a part, and compare with what the user took.

    Users and items that training does not know stay in: a user is answered by the fallback chain,
    an item outside the catalogue is a miss. A relevant item that the user has seen before cannot be
    found while seen items are masked; it stays in the denominator and is counted. A query's context
    is that of the user's first row in the part.

    Args:
        ranker: what to measure; `ranker.seen` holds what its users have seen.
        test: the part, numbered by the ranker's tables; at least one row.
        k: the cut-off.
        mask_seen: leave out what a user has seen.
        candidates: `cold` ranks only items that the part has and training lacks.

    Raises:
        DataError: the part is empty.
    """
    if not len(test):
        raise DataError(
            explain(
                "there is no test row to measure on", fix="give a larger test part, or --test FILE"
            )
        )
    users, first_row = np.unique(test.user_num, return_index=True)
    user_num = users.astype(np.int64)
    relevant = test.by_user().take(user_num)
    items = ranker.items
    warm_items = ranker.item_counts > 0
    allowed = None
    if candidates == "cold":
        allowed = np.zeros(len(items), dtype=np.bool_)
        inside = test.item_num[test.item_num >= 0]
        allowed[inside[~warm_items[inside]]] = True
    rows = torch.from_numpy(first_row)
    context = {name: column[rows] for name, column in test.context.items()} or None
    answer = ranker.top_k(user_num, k, context=context, mask_seen=mask_seen, allowed=allowed)
    warm_users = ranker.users.is_warm(user_num)
    per_query = m.ranking_metrics(answer.item_nums, relevant, k)
    parts = slice_relevant(relevant, warm_users, warm_items)
    per_slice = {name: m.ranking_metrics(answer.item_nums, part, k) for name, part in parts.items()}
    num_items = len(items) - items.first_known if allowed is None else int(allowed.sum())
    return Evaluation(
        k=k,
        candidates=candidates,
        num_items=num_items,
        user_num=user_num,
        ranked=answer.item_nums,
        per_query=per_query,
        metrics={name: m.mean(values) or 0.0 for name, values in per_query.items()},
        per_slice=per_slice,
        slices=summarise(parts, per_slice, k),
        paths={name: int((answer.path == place).sum()) for place, name in enumerate(PATHS)},
        counts=count(ranker, test, relevant, user_num, warm_users, warm_items, mask_seen=mask_seen),
        beyond={
            f"coverage@{k}": m.coverage(answer.item_nums, num_items),
            f"novelty@{k}": m.novelty(answer.item_nums, ranker.item_counts),
            f"gini@{k}": m.gini(answer.item_nums, num_items),
        },
    )


def summarise(
    parts: dict[str, Lists], values: dict[str, dict[str, m.Floats]], k: int
) -> dict[str, dict[str, Any]]:
    """Slice -> number of queries and relevant items, and the metrics, None in an empty slice."""
    return {
        name: {
            "num_queries": int((part.lengths > 0).sum()),
            "num_relevant": len(part.values),
            **{metric: m.mean(values[name][metric]) for metric in _names(SHOWN, k)},
        }
        for name, part in parts.items()
    }


def count(
    ranker: Ranker,
    test: Interactions,
    relevant: Lists,
    user_num: NDArray[np.int64],
    warm_users: NDArray[np.bool_],
    warm_items: NDArray[np.bool_],
    *,
    mask_seen: bool,
) -> dict[str, int]:
    """What was unknown, and what could not be found."""
    outside = test.item_num < 0
    cold = ~outside
    cold[cold] = ~warm_items[test.item_num[cold]]
    seen = ranker.seen.take(user_num)
    width = len(ranker.items)
    repeated = 0
    if mask_seen:
        inside = relevant.values >= 0
        keys = relevant.keys()[inside] * width + relevant.values[inside]
        repeated = int(np.isin(keys, seen.keys() * width + seen.values).sum())
    return {
        "rows": len(test),
        "users_unknown_to_training": int((~warm_users).sum()),
        "rows_with_items_unknown_to_training": int(outside.sum() + cold.sum()),
        "rows_with_items_outside_the_catalogue": int(outside.sum()),
        "rows_masked_as_seen": repeated,
    }


def evaluate_bundle(path: Path, test_file: str | None = None, k: int | None = None) -> Evaluation:
    """Measure a bundle on its own held-out rows, or on a file of interactions.

    Raises:
        BundleError: the bundle is damaged.
        DataError: the file is not right, or there are no rows.
    """
    recommender = Recommender.load(path)
    config = recommender.config
    if test_file is None:
        rows = held_out_rows(path)
    else:
        rows = read_interactions(test_file, config.data, context=context_columns(config))
    users = recommender.users.with_more(rows[USER_ID]) if len(rows) else recommender.users
    recommender.set_users(users)
    settings = config.evaluation
    return evaluate(
        recommender,
        number_interactions(rows, users, recommender.items, file=test_file),
        k=k or settings.k,
        mask_seen=settings.mask_seen,
        candidates=settings.candidates,
    )


def render(evaluation: Evaluation) -> Group:
    """A table of slices and metrics for a terminal, and what it means in words."""
    k = evaluation.k
    table = Table(
        title=f"Held-out interactions, ranked among {evaluation.num_items:,} items",
        title_justify="left",
    )
    for name in ("slice", "users", *_names(SHOWN, k)):
        table.add_column(name, justify="left" if name == "slice" else "right")
    table.add_row(
        "all",
        f"{len(evaluation.user_num):,}",
        *(f"{evaluation.metrics[name]:.4f}" for name in _names(SHOWN, k)),
    )
    for name in SLICES:
        part = evaluation.slices[name]
        if part["num_queries"]:
            table.add_row(
                name.replace("_", " "),
                f"{part['num_queries']:,}",
                *(f"{part[metric]:.4f}" for metric in _names(SHOWN, k)),
            )
    recall = evaluation.metrics[f"recall@{k}"]
    answered = ", ".join(
        f"{number:,} {path}" for path, number in evaluation.paths.items() if number
    )
    words = [
        f"Of 100 items that a user went on to take, about {100 * recall:.0f} were among the first "
        f"{k} of {evaluation.num_items:,}.",
        f"Answered by: {answered}.",
    ]
    masked = evaluation.counts["rows_masked_as_seen"]
    if masked:
        words.append(
            f"{masked:,} test rows repeat what the user had seen, which is masked: they "
            "count as misses."
        )
    return Group(table, *words)


def _names(metrics: tuple[str, ...], k: int) -> list[str]:
    return [f"{name}@{k}" for name in metrics]
