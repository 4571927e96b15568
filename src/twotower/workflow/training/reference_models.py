"""The baselines that every evaluation is compared with: popularity, recent popularity (if there are
timestamps), and a fast linear model, item-kNN or EASE.

They are fitted on the model's own training rows, which the recommender keeps in its histories, so
that `train` and `evaluate` fit them alike. `train` chooses the half-life of recent popularity and
the linear model on validation rows and keeps both choices in the manifest; all other settings are
the defaults of `compare`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import psutil

from twotower.config.baselines import ItemKNNConfig, RecentPopularityConfig
from twotower.data.arrays.ragged import Ragged
from twotower.data.dataset.interactions import Interactions
from twotower.evaluation.baseline_verdict import verdict
from twotower.evaluation.report import Candidates, Evaluation
from twotower.models.baselines import BASELINES, Baseline
from twotower.models.baselines.ease import SPARE_BYTES
from twotower.serving.answer.recommender import Recommender
from twotower.workflow.evaluate import evaluate
from twotower.workflow.training.validation import VALIDATION_USERS, sample_users

HALF_LIVES: Final = (1.0, 7.0, 30.0, 180.0)
"""Candidate half-lives in days; the third is the default of `compare`."""
MAX_EASE_ITEMS: Final = 8_000
"""EASE inverts the matrix of this many items in 4 s on one core; the time grows with their
cube."""
MAX_PAIRS: Final = 300_000_000
"""Pairs of items with a user in common, which both linear models count: 2 s on one core."""
MAX_SIMILARITIES: Final = 150_000_000
"""Distinct pairs of items with a user in common, of which item-kNN keeps the nearest: 5 to 10 s on
one core."""
QUICK_SIMILARITIES: Final = 5_000_000
"""Up to this many pairs, both linear models are fitted and validation chooses."""
MAX_SCORES: Final = 2_000_000_000
"""Scores (queries times items) that a linear model computes in about 20 s on one core."""
SECONDS_A_ROW: Final = 2e-5
"""What a fit of a linear model, and its ranking, may take beyond these limits, about a tenth of a
training on a CPU: an epoch takes 20 to 60 microseconds a row, and ten epochs are few."""
MAX_KEPT: Final = 60_000_000
"""Similarities that item-kNN keeps, in the bundle and in each machine's memory: 480 MB."""
MEMORY_SHARE: Final = 0.5
"""The share of the free memory that a linear model may use."""
BLOCK_BYTES: Final = 600_000_000
"""Memory for counting pairs, in addition to the result."""
ROW_BYTES: Final = 40
"""Memory for a row, as a matrix of users and items, transposed and weighted."""

LINEAR: Final = ("item_knn", "ease")


@dataclass(frozen=True)
class References:
    """Fitted baselines.

    Attributes:
        models: name -> model.
        settings: the choices, as JSON: `half_life_days`, `linear`.
        figures: name -> ndcg@k on the validation part; empty without one.
        note: why there is no linear model; empty if there is one.
    """

    models: Mapping[str, Baseline[Any]]
    settings: Mapping[str, Any]
    figures: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    def knowing(self, rows: Interactions, seen: Ragged) -> References:
        """The same models with later events of their users; see `Baseline.knowing`."""
        models = {name: model.knowing(rows, seen) for name, model in self.models.items()}
        return replace(self, models=models)


def training_rows(recommender: Recommender) -> Interactions:
    """The rows that a recommender was trained on, from its histories; all of them if the bundle
    does not record which were used for training."""
    histories = recommender.served.histories
    items = np.asarray(histories.items.values)
    kept = (items >= recommender.items.first_known) & (items < recommender.items.end_warm)
    if histories.learned is not None:
        kept &= histories.learned
    weight = histories.weight
    if weight is not None:
        kept &= weight > 0
    rows = np.flatnonzero(kept)
    return Interactions(
        users=recommender.users,
        items=recommender.items,
        user_num=histories.items.keys()[rows].astype(np.int32),
        item_num=items[rows],
        weight=np.ones(len(rows), dtype=np.float32) if weight is None else weight[rows],
        timestamp=None if histories.time is None else histories.time[rows],
        context={},
    )


# --- which fit --------------------------------------------------------------------------------


def linear_models(rows: Interactions, queries: int) -> tuple[tuple[str, ...], str]:
    """The linear models that are worth their time and memory, and the reason if there is none.

    Args:
        rows: the training rows.
        queries: how many test users the models will rank items for.
    """
    items = rows.items.num_warm
    counts = np.bincount(rows.user_num, minlength=1).astype(np.float64)
    pairs = float((counts**2).sum())
    similarities = min(pairs, float(items) ** 2)
    few = pairs <= MAX_PAIRS and queries * items <= MAX_SCORES
    seconds = seconds_of(pairs, similarities, items, queries, float(counts.mean()))
    worth = {name: seconds[name] <= SECONDS_A_ROW * len(rows) for name in LINEAR}
    kept = min(similarities, ItemKNNConfig().neighbours * items)
    quick = {
        "item_knn": kept <= MAX_KEPT
        and (worth["item_knn"] or (few and similarities <= MAX_SIMILARITIES)),
        "ease": worth["ease"] or (few and items <= MAX_EASE_ITEMS),
    }
    if not any(quick.values()):
        return (), (
            f"No linear baseline (item-kNN, EASE) was fitted: {items:,} items and {pairs:.1g} "
            "pairs of items of one user would take too much of a training's time, or of memory. "
            "`twotower compare` fits them."
        )
    needed, free = memory_of(rows), free_memory()
    chosen = tuple(name for name in LINEAR if quick[name] and needed[name] <= free)
    if not chosen:
        return (), too_large(min(needed[name] for name in LINEAR if quick[name]), free)
    return chosen if similarities <= QUICK_SIMILARITIES else chosen[-1:], ""


def memory_of(rows: Interactions) -> dict[str, float]:
    """About how many bytes the linear models need while they are fitted to training rows."""
    items = rows.items.num_warm
    held = BLOCK_BYTES + ROW_BYTES * len(rows)
    return {
        "item_knn": 16 * ItemKNNConfig().neighbours * items + held,
        "ease": 3 * 4 * items**2 + held,
    }


def free_memory() -> float:
    """Bytes that a linear model may take."""
    available = psutil.virtual_memory().available
    return min(MEMORY_SHARE * available, available - SPARE_BYTES)


def too_large(needed: float, free: float) -> str:
    """Why no linear model was fitted."""
    return (
        f"No linear baseline (item-kNN, EASE) was fitted: it needs {needed / 1e9:.1f} GB of "
        f"memory, and {max(free, 0) / 1e9:.1f} GB are available."
    )


def seconds_of(
    pairs: float, similarities: float, items: int, queries: int, length: float
) -> dict[str, float]:
    """About how long the linear models take on one core, fitting and ranking (measured: see
    docs/experiments.md, "Linear models by size").

    Args:
        pairs: pairs of items of one user.
        similarities: different ones of them, at most.
        items: that are ranked.
        queries: that they are ranked for.
        length: items of a query.
    """
    counting, scores = 5e-9 * pairs, 1e-8 * queries * items
    asked = queries * length
    near = asked * ItemKNNConfig().neighbours
    return {
        "item_knn": counting + 6e-8 * similarities + 1e-8 * near + scores,
        "ease": counting + 1.4e-11 * items**3 + 3e-8 * items**2 + 5e-10 * asked * items + scores,
    }


# --- fitting ----------------------------------------------------------------------------------


def choose_references(
    rows: Interactions,
    validation: Interactions,
    *,
    queries: int,
    k: int,
    mask_seen: bool,
    seed: int,
) -> References:
    """Fit the baselines; choose the half-life and the linear model by ndcg@k on validation.

    Args:
        rows: the training rows.
        validation: numbered by the same tables; if it is empty, the half-life is the default of
            `compare` and the linear model is the last of `LINEAR`.
        queries: as in `linear_models`.
        k, mask_seen: of the evaluation.
        seed: for sampling validation users, if there are many.
    """
    part = sample_users(validation, VALIDATION_USERS, seed) if len(validation) else None

    def figure(model: Baseline[Any]) -> float:
        assert part is not None
        return evaluate(model, part, k=k, mask_seen=mask_seen).metrics[f"ndcg@{k}"]

    def best(models: Mapping[Any, Baseline[Any]], otherwise: Any, name: str | None = None) -> Any:
        """The key of the best model, whose figure is kept under a name, its key by default."""
        if part is None or not models:
            return otherwise
        measured = {key: figure(model) for key, model in models.items()}
        chosen = max(measured, key=lambda key: measured[key])
        figures[name or chosen] = measured[chosen]
        return chosen

    figures: dict[str, float] = {}

    names, note = linear_models(rows, queries)
    linear = {name: BASELINES[name].fit(rows) for name in names}
    name = best(linear, names[-1] if names else None)
    models: dict[str, Baseline[Any]] = {"popularity": BASELINES["popularity"].fit(rows)}
    best(models, None)
    half_life = None
    if rows.timestamp is not None:
        recent = {days: recent_popularity(rows, days) for days in HALF_LIVES}
        half_life = best(recent, HALF_LIVES[2], "recent_popularity")
        models["recent_popularity"] = recent[half_life]
    if name is not None:
        models[name] = linear[name]
    settings = {"half_life_days": half_life, "linear": name}
    return References(models, settings, figures, note)


def fit_references(rows: Interactions, settings: Mapping[str, Any], *, queries: int) -> References:
    """Fit the baselines with earlier choices.

    Args:
        rows: the training rows.
        settings: as in `References`; empty for the defaults.
        queries: as in `linear_models`.
    """
    names, note = linear_models(rows, queries)
    name = settings.get("linear", names[-1] if names else None)
    models: dict[str, Baseline[Any]] = {"popularity": BASELINES["popularity"].fit(rows)}
    half_life = None
    if rows.timestamp is not None:
        half_life = settings.get("half_life_days") or HALF_LIVES[2]
        models["recent_popularity"] = recent_popularity(rows, half_life)
    name = None if note else name
    if name is not None:
        needed, free = memory_of(rows)[name], free_memory()
        if needed > free:
            name, note = None, too_large(needed, free)
    if name is not None:
        models[name] = BASELINES[name].fit(rows)
    return References(models, {"half_life_days": half_life, "linear": name}, note=note)


def recent_popularity(rows: Interactions, half_life_days: float) -> Baseline[Any]:
    """Recent popularity with a half-life."""
    config = RecentPopularityConfig(half_life_days=half_life_days)
    return BASELINES["recent_popularity"].fit(rows, config)


# --- measuring --------------------------------------------------------------------------------


def with_baselines(
    evaluation: Evaluation,
    references: References,
    test: Interactions,
    *,
    mask_seen: bool,
    candidates: Candidates,
    split: str | None,
) -> Evaluation:
    """An evaluation with those of the baselines on the same rows, and the verdict.

    Args:
        evaluation: of the model.
        references: with all events of the test users before the test part.
        test: the part that the model was evaluated on.
        mask_seen, candidates: as in that evaluation.
        split: how the test part was cut; None if that is not known.
    """
    found = {
        name: evaluate(model, test, k=evaluation.k, mask_seen=mask_seen, candidates=candidates)
        for name, model in references.models.items()
    }
    return replace(
        evaluation,
        baselines=found,
        baseline_settings=references.settings,
        verdict=verdict(evaluation, found),
        split=split,
        notes=(*evaluation.notes, *([references.note] if references.note else [])),
    )
