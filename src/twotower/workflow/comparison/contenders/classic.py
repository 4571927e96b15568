"""The baselines: models that use only user and item ids."""

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
    Point,
    TrainedModel,
    TrialCache,
    always,
    never,
)
from twotower.workflow.evaluate import evaluate
from twotower.workflow.training.validation import VALIDATION_USERS, sample_users
from twotower.workflow.tuning.settings import Settings

MAX_EASE_ITEMS = 20_000
"""Catalogue size up to which EASE is a default model: it stores a dense item-item matrix."""

TITLES: dict[str, tuple[str, Family]] = {
    "popularity": ("popularity", "popularity"),
    "recent_popularity": ("recent popularity", "popularity"),
    "item_knn": ("item-kNN", "neighbourhood"),
    "ease": ("EASE", "linear"),
    "ials": ("iALS", "matrix_factorization"),
    "bpr_mf": ("BPR-MF", "matrix_factorization"),
    "logistic_mf": ("logistic MF", "matrix_factorization"),
    "svd": ("SVD", "matrix_factorization"),
}
"""Name -> title and family."""


def baselines(config: Config) -> list[Contender]:
    """All baselines."""
    return [baseline(name, kind, config) for name, kind in BASELINES.items()]


def baseline(name: str, kind: type[Baseline[Any]], config: Config) -> Contender:
    """One baseline. Unless its `embedding_dim` is searched, it equals that of the towers."""
    title, family = TITLES[name]
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
        default_for=default_rule(name, kind),
    )


def default_rule(name: str, kind: type[Baseline[Any]]) -> Callable[[Dataset], bool]:
    """The rule by which a baseline is included if no models are named."""
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
    cache: TrialCache,
    *,
    width: int,
) -> TrainedModel:
    """Fit a baseline; one with epochs stops early by ndcg@k on validation.

    Raises:
        KeyboardInterrupt: Ctrl-C stopped the training; an incomplete training is not a trial.
    """
    del monitor, cache
    config, train = dataset.config, dataset.train
    k, mask_seen = config.evaluation.k, config.evaluation.mask_seen
    part = sample_users(dataset.validation, VALIDATION_USERS, config.training.seed)
    fields = kind.config_type.model_fields
    wide = {"embedding_dim": width} if "embedding_dim" in fields else {}
    chosen: Any = kind.config_type.model_validate({**wide, **settings})
    curve: list[Point] = []
    start = time.perf_counter()

    def validate(model: Any) -> float:
        metric = evaluate(model, part, k=k, mask_seen=mask_seen).metrics[f"ndcg@{k}"]
        epoch = min((len(curve) + 1) * chosen.validate_every, chosen.epochs)
        seconds = round(time.perf_counter() - start, 2)
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
    return TrainedModel(
        lambda histories: model.knowing(train, histories.items),
        model.num_parameters,
        tuple(curve),
    )
