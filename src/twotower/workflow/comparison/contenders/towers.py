"""Two-tower models: the config's own, and those that tell what its features and its depth add."""

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
    Learned,
    Shelf,
    curve_of,
    featured,
    has_features,
    seen_by,
    value_at,
    whole,
    with_settings,
)
from twotower.workflow.comparison.tuning import Settings, Space
from twotower.workflow.evaluate import Ranker
from twotower.workflow.training.fit_retriever import fit_retriever


def two_tower(config: Config) -> Contender:
    """The retriever of the config."""
    deep = has_features(config) or bool(config.retriever.hidden not in ("auto", ()))
    return Contender(
        "two_tower",
        "two-tower",
        "deep" if deep else "matrix_factorization",
        "The retriever of the config, with all of its features."
        if deep
        else "The retriever of the config: with ids alone and no layers, matrix factorization.",
        train_towers,
        *tower_space(config),
    )


def two_tower_linear(config: Config) -> Contender:
    """The same features without a hidden layer: tells what depth adds from what features add."""
    flat = with_settings(config, {"retriever.hidden": ()})
    return Contender(
        "two_tower_linear",
        "linear two-tower",
        "linear",
        "The same features and loss without hidden layers.",
        train_towers,
        *tower_space(flat),
        view=lambda dataset: seen_by(dataset, flat),
        enters=featured,
    )


def two_tower_ids(config: Config) -> Contender:
    """Matrix factorization with the same loss, sampler and early stopping."""
    bare = ids_only(config)
    return Contender(
        "two_tower_ids",
        "softmax MF",
        "matrix_factorization",
        "A vector a user and a vector an item, trained with the two-tower's own softmax loss.",
        train_towers,
        *tower_space(bare),
        view=lambda dataset: seen_by(dataset, bare),
    )


def factorization_machine(config: Config) -> Contender:
    """Pairs of features, without depth."""
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
        view=lambda dataset: seen_by(dataset, machine),
        enters=featured,
    )


def as_machine(config: Config) -> Config:
    """The config whose linear two-tower is a factorization machine; a history is the mean of its
    items, as such machines read it."""
    keys = {f"retriever.{name}": value for name, value in AS_A_MACHINE.items()}
    if config.features.history is not None:
        keys["features.user.history.encoder"] = "mean"
    return with_settings(config, keys)


def ids_only(config: Config) -> Config:
    """The same without features and layers."""
    bare = config.model_copy(update={"features": FeaturesConfig.model_validate({})})
    return with_settings(bare, {"retriever.hidden": ()})


def tower_space(config: Config) -> tuple[Space, Settings]:
    """What is searched for two towers, and the config's own values of it.

    Not id dropout: a validation part of known users and items would choose none, and new items
    would never come up.
    """
    space: dict[str, SearchRange | SearchChoice] = {
        "training.learning_rate": SearchRange(0.003, 0.03, log=True)
    }
    if config.retriever.normalize:
        space["retriever.temperature"] = SearchRange(0.05, 0.2, log=True)
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
    shelf: Shelf,
    make: type[TwoTower] = TwoTower,
) -> Learned:
    """Train the retriever of the data's config, changed by some settings."""
    del shelf
    config = with_settings(dataset.config, settings)
    dataset = seen_by(dataset, config)
    model = make(config.retriever, dataset.schema, seed=config.training.seed)
    served, result = fit_retriever(
        model, dataset.train, dataset.validation, config=config, monitor=monitor
    )
    whole(result)
    return Learned(
        lambda histories: Recommender.build(served, dataset.train, config, histories=histories),
        sum(weight.numel() for weight in served.parameters()),
        curve_of(f"ndcg@{config.evaluation.k}", result),
        index_stage,
    )


def index_stage(ranker: Ranker, dataset: Dataset) -> dict[str, Any]:
    """What the index loses against exact search."""
    del dataset
    assert isinstance(ranker, Recommender)
    return {"index": ranker.served.index.kind, "index_recall": ranker.served.index_recall}
