"""The neural ranker, behind the towers and alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twotower.config import Config, RankerConfig
from twotower.config.baselines import SearchChoice, SearchRange
from twotower.data.dataset.dataset import Dataset
from twotower.models.ranker.ncf import NeuralCF
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.training.monitor import Monitor
from twotower.workflow.comparison.contenders.base import (
    Contender,
    Learned,
    Shelf,
    curve_of,
    ranked,
    seen_by,
    value_at,
    whole,
    with_settings,
)
from twotower.workflow.comparison.tuning import Settings, Space, Value
from twotower.workflow.evaluate import Ranker
from twotower.workflow.training.catalog_ranker import FullCatalogRanker, fit_full_catalog
from twotower.workflow.training.fit_ranker import fit_ranker
from twotower.workflow.training.fit_retriever import fit_retriever
from twotower.workflow.training.stage_report import stage_report

RETRIEVER = "retriever"


def with_ranker(config: Config) -> Config:
    """The config with a `[ranker]`, an empty one where it has none."""
    ranker = RankerConfig() if config.ranker is None else config.ranker
    return config.model_copy(update={"ranker": ranker})


def ranker_space(config: Config, **more: SearchRange | SearchChoice) -> tuple[Space, Settings]:
    """What is searched for a ranker, and the config's own values of it."""
    space: dict[str, SearchRange | SearchChoice] = {
        "ranker.learning_rate": SearchRange(0.0005, 0.01, log=True),
        "ranker.layer_learning_rate": SearchRange(0.0003, 0.003, log=True),
        "ranker.dropout": SearchRange(0.0, 0.4),
        **{f"ranker.{name}": place for name, place in more.items()},
    }
    values = {name: value_at(config, name) for name in space}
    defaults: dict[str, Value] = {n: value for n, value in values.items() if value is not None}
    return space, defaults


# --- behind the towers ------------------------------------------------------------------------


def pipeline(config: Config) -> Contender:
    """The towers of the config, then its ranker; its search is the ranker's, the towers stay."""
    chosen = with_ranker(config)
    space, defaults = ranker_space(chosen, hard_share=SearchChoice((0.0, 0.25)))
    return Contender(
        "pipeline",
        "two-tower + NCF",
        "deep",
        "The retriever as the config says, and the neural ranker over what it retrieves.",
        train_pipeline,
        space,
        defaults,
        view=lambda dataset: seen_by(dataset, chosen),
        enters=ranked,
    )


def train_pipeline(dataset: Dataset, settings: Settings, monitor: Monitor, shelf: Shelf) -> Learned:
    """Train both stages; trials of one search share the first, which no setting changes."""
    config = with_settings(dataset.config, settings)
    assert config.ranker is not None
    if RETRIEVER not in shelf:
        shelf[RETRIEVER] = fit_retriever(
            TwoTower(config.retriever, dataset.schema, seed=config.training.seed),
            dataset.train,
            dataset.validation,
            config=config,
            monitor=monitor,
        )
    retriever, first = shelf[RETRIEVER]
    whole(first)
    model = NeuralCF(config.ranker, dataset.schema, seed=config.training.seed)
    ranker, second = fit_ranker(
        model,
        dataset.train,
        dataset.validation,
        config=config,
        retriever=retriever,
        dislikes=dataset.dislikes,
        monitor=monitor,
    )
    whole(second)
    numbers = sum(weight.numel() for weight in (*retriever.parameters(), *model.parameters()))
    if ranker.neighbours is not None:
        numbers += ranker.neighbours.weights.size
    return Learned(
        lambda histories: Recommender.build(
            retriever, dataset.train, config, histories=histories, ranker=ranker
        ),
        numbers,
        curve_of(f"ndcg@{config.evaluation.k}", first, second),
        stages_of,
    )


def stages_of(ranker: Ranker, dataset: Dataset) -> dict[str, Any]:
    """What each stage adds and loses, on the test part."""
    assert isinstance(ranker, Recommender)
    return {
        "index": ranker.served.index.kind,
        "index_recall": ranker.served.index_recall,
        **stage_report(ranker, dataset.test, k=dataset.config.evaluation.k),
    }


# --- alone ------------------------------------------------------------------------------------


def ncf(config: Config) -> Contender:
    """The ranker without towers: it scores the whole catalogue for each request."""
    alone = with_settings(with_ranker(config), {"ranker.blend": False, "ranker.hard_share": 0.0})
    space, defaults = ranker_space(alone, num_negatives=SearchRange(4, 16, integer=True))
    return Contender(
        "ncf",
        "NCF",
        "deep",
        "Neural collaborative filtering with all features, over the whole catalogue.",
        train_alone,
        space,
        defaults,
        view=lambda dataset: seen_by(dataset, alone),
        enters=ranked,
    )


def train_alone(dataset: Dataset, settings: Settings, monitor: Monitor, shelf: Shelf) -> Learned:
    """Train the ranker of the data's config, changed by some settings."""
    del shelf
    config = with_settings(dataset.config, settings)
    model, result = fit_full_catalog(replace(dataset, config=config), monitor=monitor)
    whole(result)
    return Learned(
        lambda histories: FullCatalogRanker.build(model, dataset.train, histories),
        sum(weight.numel() for weight in model.parameters()),
        curve_of(f"ndcg@{config.evaluation.k}", result),
    )
