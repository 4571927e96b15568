"""The baselines that every evaluation is printed beside: popularity, recent popularity where there
are times, and a quick linear model, item-kNN or EASE.

They learn from the rows that the model learned from, which the recommender knows as the learned
events of its histories, so that `train` and `evaluate` fit them in the same way. What there is to
choose (the half-life of recent popularity, which linear model) is chosen on validation rows in
`train` and kept in the manifest; their other settings are the defaults of `compare`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
"""Half-lives in days among which validation chooses; the third is the default of `compare`."""
MAX_EASE_ITEMS: Final = 8_000
"""EASE inverts a matrix of so many items in 4 s on one core; the time grows with their cube."""
MAX_PAIRS: Final = 300_000_000
"""Pairs of two items of one user, which both linear models count, in 2 s on one core."""
MAX_SIMILARITIES: Final = 60_000_000
"""Pairs of two items that have a user in common, which item-kNN sorts: 12 s for 50 million on one
core."""
QUICK_SIMILARITIES: Final = 5_000_000
"""Up to so many, both linear models are fitted and validation chooses."""
MAX_SCORES: Final = 2_000_000_000
"""Queries times items that a linear model is asked for, some 20 s on one core."""
MEMORY_SHARE: Final = 0.5
"""Of the free memory, that a linear model may take."""
BLOCK_BYTES: Final = 600_000_000
"""What counting pairs takes beside the result."""

LINEAR: Final = ("item_knn", "ease")


@dataclass(frozen=True)
class References:
    """Fitted baselines.

    Attributes:
        models: name -> model.
        settings: what was chosen, as JSON: `half_life_days`, `linear`.
        note: why there is no linear model, empty where there is one.
    """

    models: Mapping[str, Baseline[Any]]
    settings: Mapping[str, Any]
    note: str = ""

    def knowing(self, rows: Interactions, seen: Ragged) -> References:
        """The same models when more is known of their users; see `Baseline.knowing`."""
        models = {name: model.knowing(rows, seen) for name, model in self.models.items()}
        return replace(self, models=models)


def learned_rows(recommender: Recommender) -> Interactions:
    """The rows that a recommender was trained on, from its histories; of a bundle that does not say
    which of them were learned from, all."""
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
    """The linear models that are fitted in some seconds, and why there is none, where there is
    none.

    Args:
        rows: the training rows.
        queries: how many users of the test part will be asked for.
    """
    items = rows.items.num_warm
    counts = np.bincount(rows.user_num, minlength=1).astype(np.float64)
    pairs = float((counts**2).sum())
    similarities = min(pairs, float(items) ** 2)
    available = psutil.virtual_memory().available
    free = min(MEMORY_SHARE * available, available - SPARE_BYTES)
    needed = {
        "item_knn": 16 * ItemKNNConfig().neighbours * items + BLOCK_BYTES,
        "ease": 3 * 4 * items**2 + BLOCK_BYTES,
    }
    quick = {
        "item_knn": similarities <= MAX_SIMILARITIES,
        "ease": items <= MAX_EASE_ITEMS,
    }
    if pairs > MAX_PAIRS or queries * items > MAX_SCORES or not any(quick.values()):
        return (), (
            f"No linear baseline (item-kNN, EASE) was fitted: {items:,} items and {pairs:.1g} "
            "pairs of items of one user would take minutes. `twotower compare` fits them."
        )
    chosen = tuple(name for name in LINEAR if quick[name] and needed[name] <= free)
    if not chosen:
        least = min(needed[name] for name in LINEAR if quick[name])
        return (), (
            f"No linear baseline (item-kNN, EASE) was fitted: it needs {least / 1e9:.1f} GB of "
            f"memory, and {max(free, 0) / 1e9:.1f} GB may be taken."
        )
    return chosen if similarities <= QUICK_SIMILARITIES else chosen[-1:], ""


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
    """Fit the baselines, and choose among half-lives and linear models by ndcg@k on validation.

    Args:
        rows: what they learn from.
        validation: numbered by the same tables; without a row the half-life is that of `compare`,
            and of two linear models the last of `LINEAR` is taken.
        queries: as in `linear_models`.
        k, mask_seen: of the evaluation.
        seed: of the validation users, where there are many.
    """
    part = sample_users(validation, VALIDATION_USERS, seed) if len(validation) else None

    def best(models: Mapping[Any, Baseline[Any]], otherwise: Any) -> Any:
        if part is None or len(models) < 2:
            return otherwise
        figures = {
            name: evaluate(model, part, k=k, mask_seen=mask_seen).metrics[f"ndcg@{k}"]
            for name, model in models.items()
        }
        return max(figures, key=lambda name: figures[name])

    names, note = linear_models(rows, queries)
    linear = {name: BASELINES[name].fit(rows) for name in names}
    name = best(linear, names[-1] if names else None)
    models: dict[str, Baseline[Any]] = {"popularity": BASELINES["popularity"].fit(rows)}
    half_life = None
    if rows.timestamp is not None:
        recent = {days: recent_popularity(rows, days) for days in HALF_LIVES}
        half_life = best(recent, HALF_LIVES[2])
        models["recent_popularity"] = recent[half_life]
    if name is not None:
        models[name] = linear[name]
    return References(models, {"half_life_days": half_life, "linear": name}, note)


def fit_references(rows: Interactions, settings: Mapping[str, Any], *, queries: int) -> References:
    """Fit the baselines as they were chosen before.

    Args:
        rows: what they learn from.
        settings: those of `References`; of a bundle without them, the defaults.
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
        models[name] = BASELINES[name].fit(rows)
    return References(models, {"half_life_days": half_life, "linear": name}, note)


def recent_popularity(rows: Interactions, half_life_days: float) -> Baseline[Any]:
    """Recent popularity with a half-life."""
    config = RecentPopularityConfig(half_life_days=half_life_days)
    return BASELINES["recent_popularity"].fit(rows, config)


# --- measuring --------------------------------------------------------------------------------


def beside(
    evaluation: Evaluation,
    references: References,
    test: Interactions,
    *,
    mask_seen: bool,
    candidates: Candidates,
    split: str | None,
) -> Evaluation:
    """An evaluation with those of the baselines on the same rows, and where the model stands.

    Args:
        evaluation: of the model.
        references: knowing what the users of the test part have seen.
        test: what the model was measured on.
        mask_seen, candidates: as it was measured.
        split: how the test part was cut; None where that is not known.
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
