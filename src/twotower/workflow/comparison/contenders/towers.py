"""Two-tower models: the configured one, and ablations of its features and hidden layers."""

from __future__ import annotations

from functools import partial
from typing import Any

from twotower.config import Config, FeaturesConfig
from twotower.config.baselines import SearchChoice, SearchRange
from twotower.data.dataset.dataset import Dataset
from twotower.models.baselines.factorization_machine import AS_A_MACHINE, FactorizationMachine
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.training.monitor import Monitor
from twotower.workflow.comparison.contenders.base import (
    Contender,
    TrainedModel,
    TrialCache,
    curve_of,
    has_side_features,
)
from twotower.workflow.evaluate import Ranker
from twotower.workflow.training.fit_retriever import fit_retriever
from twotower.workflow.tuning.settings import (
    Settings,
    Space,
    has_features,
    value_at,
    with_config,
    with_settings,
)
from twotower.workflow.tuning.trial import uninterrupted

LINEAR: dict[str, Any] = {
    "retriever.query_tower": "mlp",
    "retriever.item_tower": "mlp",
    "retriever.hidden": (),
}
"""Settings of towers without hidden layers."""


def two_tower(config: Config) -> Contender:
    """The configured retriever."""
    deep = has_features(config) or bool(config.retriever.hidden not in ("auto", ()))
    return Contender(
        "two_tower",
        "two-tower",
        "deep" if deep else "matrix_factorization",
        "The configured retriever, with all features."
        if deep
        else "The configured retriever: ids only and no hidden layers, i.e. matrix factorization.",
        train_towers,
        *tower_space(config),
    )


def two_tower_linear(config: Config) -> Contender:
    """The same features without hidden layers, to separate the effects of depth and of features."""
    flat = with_settings(config, LINEAR)
    return Contender(
        "two_tower_linear",
        "linear two-tower",
        "linear",
        "The same features and loss, without hidden layers.",
        train_towers,
        *tower_space(flat),
        view=lambda dataset: with_config(dataset, flat),
        default_for=has_side_features,
    )


def two_tower_ids(config: Config) -> Contender:
    """Matrix factorization with the same loss, sampler and early stopping."""
    bare = ids_only(config)
    return Contender(
        "two_tower_ids",
        "softmax MF",
        "matrix_factorization",
        "One vector per user and per item, trained with the same softmax loss as the two-tower.",
        train_towers,
        *tower_space(bare),
        view=lambda dataset: with_config(dataset, bare),
    )


def factorization_machine(config: Config) -> Contender:
    """Pairwise feature interactions, without hidden layers."""
    machine = as_machine(config)
    space, defaults = tower_space(machine)
    return Contender(
        "factorization_machine",
        "FM",
        "linear",
        "A factorization machine over the same features, trained with the same loss.",
        partial(train_towers, make=FactorizationMachine),
        space,
        defaults,
        view=lambda dataset: with_config(dataset, machine),
        default_for=has_side_features,
    )


def as_machine(config: Config) -> Config:
    """The config with which the linear two-tower is a factorization machine; a history is encoded
    as the mean of its items, as is usual for factorization machines."""
    keys = {f"retriever.{name}": value for name, value in AS_A_MACHINE.items()}
    if config.features.history is not None:
        keys["features.user.history.encoder"] = "mean"
    return with_settings(config, keys)


def ids_only(config: Config) -> Config:
    """The config without features and hidden layers."""
    bare = config.model_copy(update={"features": FeaturesConfig.model_validate({})})
    return with_settings(bare, LINEAR)


def tower_space(config: Config) -> tuple[Space, Settings]:
    """Search space of a two-tower model, and the config's own values as defaults.

    Id dropout is not searched: a validation part of known users and items would always favour no
    dropout, at the expense of new items.
    """
    space: dict[str, SearchRange | SearchChoice] = {
        "training.learning_rate": SearchRange(0.003, 0.03, log=True)
    }
    if config.retriever.normalize:
        space["retriever.temperature"] = SearchRange(0.05, 0.5, log=True)
    else:
        space["training.weight_decay"] = SearchRange(0.001, 1.0, log=True)
    if has_features(config):
        space["training.layer_learning_rate"] = SearchRange(0.0003, 0.003, log=True)
    if config.retriever.hidden != () and has_features(config):
        space["retriever.dropout"] = SearchRange(0.0, 0.4)
    if config.features.history is None and config.retriever.normalize:
        space["retriever.smoothing_layers"] = SearchChoice((0, 1, 2))
    values = {name: value_at(config, name) for name in space}
    return space, {name: value for name, value in values.items() if value is not None}


def train_towers(
    dataset: Dataset,
    settings: Settings,
    monitor: Monitor,
    cache: TrialCache,
    make: type[TwoTower] = TwoTower,
) -> TrainedModel:
    """Train the configured retriever with some settings replaced."""
    del cache
    config = with_settings(dataset.config, settings)
    dataset = with_config(dataset, config)
    model = make(config.retriever, dataset.schema, seed=config.training.seed)
    served, result = fit_retriever(
        model, dataset.train, dataset.validation, config=config, monitor=monitor
    )
    uninterrupted(result)
    return TrainedModel(
        lambda histories: Recommender.build(served, dataset.train, config, histories=histories),
        sum(weight.numel() for weight in served.parameters()),
        curve_of(f"ndcg@{config.evaluation.k}", result),
        index_stage,
    )


def index_stage(ranker: Ranker, dataset: Dataset) -> dict[str, Any]:
    """Recall of the index against exact search."""
    del dataset
    assert isinstance(ranker, Recommender)
    return {"index": ranker.served.index.kind, "index_recall": ranker.served.index_recall}
