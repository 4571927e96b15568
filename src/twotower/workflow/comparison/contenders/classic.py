"""The baselines: models of user and item ids alone."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from twotower.config import Config
from twotower.data.dataset.dataset import Dataset
from twotower.models.baselines import BASELINES, Baseline
from twotower.training.monitor import Monitor
from twotower.workflow.comparison.contenders.base import (
    Contender,
    Family,
    Learned,
    Point,
    Shelf,
    always,
    never,
)
from twotower.workflow.comparison.tuning import Settings
from twotower.workflow.evaluate import evaluate
from twotower.workflow.training.validation import VALIDATION_USERS, sample_users

MAX_EASE_ITEMS = 20_000
"""With more items EASE, which keeps a number a pair of them, enters only when it is named."""

FACES: dict[str, tuple[str, Family]] = {
    "popularity": ("popularity", "popularity"),
    "recent_popularity": ("recent popularity", "popularity"),
    "item_knn": ("item-kNN", "neighbourhood"),
    "ease": ("EASE", "linear"),
    "ials": ("iALS", "matrix_factorization"),
    "bpr_mf": ("BPR-MF", "matrix_factorization"),
    "logistic_mf": ("logistic MF", "matrix_factorization"),
    "svd": ("SVD", "matrix_factorization"),
}
"""Name -> title and kind."""


def baselines(config: Config) -> list[Contender]:
    """All of them."""
    return [baseline(name, kind, config) for name, kind in BASELINES.items()]


def baseline(name: str, kind: type[Baseline[Any]], config: Config) -> Contender:
    """One of them; where the width of its vectors is not searched, they are as wide as the
    towers'."""
    title, family = FACES[name]
    search = kind.config_type.SEARCH
    plain = kind.config_type().model_dump()
    return Contender(
        name,
        title,
        family,
        (inspect.getdoc(kind.config_type) or "").replace("\n", " "),
        partial(train_baseline, kind, width=config.retriever.embedding_dim),
        search,
        {setting: plain[setting] for setting in search},
        enters=entry_of(name, kind),
    )


def entry_of(name: str, kind: type[Baseline[Any]]) -> Callable[[Dataset], bool]:
    """When a baseline enters without being named."""
    if name in ("svd", "logistic_mf"):
        return never
    if kind.needs_times:
        return lambda dataset: dataset.train.timestamp is not None
    if name == "ease":
        return lambda dataset: dataset.items.num_warm <= MAX_EASE_ITEMS
    return always


def train_baseline(
    kind: type[Baseline[Any]],
    dataset: Dataset,
    settings: Settings,
    monitor: Monitor,
    shelf: Shelf,
    *,
    width: int,
) -> Learned:
    """Fit a baseline; those with epochs stop by ndcg@k on validation.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; half a training is no trial.
    """
    del monitor, shelf
    config, train = dataset.config, dataset.train
    k, mask_seen = config.evaluation.k, config.evaluation.mask_seen
    part = sample_users(dataset.validation, VALIDATION_USERS, config.training.seed)
    fields = kind.config_type.model_fields
    wide = {"embedding_dim": width} if "embedding_dim" in fields else {}
    chosen: Any = kind.config_type.model_validate({**wide, **settings})
    curve: list[Point] = []
    begun = time.perf_counter()

    def validate(model: Any) -> float:
        metric = evaluate(model, part, k=k, mask_seen=mask_seen).metrics[f"ndcg@{k}"]
        epoch = min((len(curve) + 1) * chosen.validate_every, chosen.epochs)
        seconds = round(time.perf_counter() - begun, 2)
        curve.append({"epoch": epoch, "seconds": seconds, "metric": metric})
        return metric

    model = kind.fit(
        train,
        chosen,
        rng=np.random.default_rng(config.training.seed),
        validate=validate if "epochs" in fields else None,
    )
    if model.interrupted:
        raise KeyboardInterrupt
    return Learned(
        lambda histories: model.knowing(train, histories.items),
        model.num_parameters,
        tuple(curve),
    )
