"""The NCF ranker, after the retriever and on its own."""

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
    TrainedModel,
    TrialCache,
    curve_of,
    has_ranker,
)
from twotower.workflow.evaluate import Ranker
from twotower.workflow.training.catalog_ranker import FullCatalogRanker, fit_full_catalog
from twotower.workflow.training.fit_ranker import fit_ranker
from twotower.workflow.training.fit_retriever import fit_retriever
from twotower.workflow.training.stage_report import stage_report
from twotower.workflow.tuning.settings import (
    Settings,
    Space,
    Value,
    value_at,
    with_config,
    with_settings,
)
from twotower.workflow.tuning.trial import uninterrupted

RETRIEVER = "retriever"


def with_ranker(config: Config) -> Config:
    """The config with a `[ranker]` section; the default one if it has none."""
    ranker = RankerConfig() if config.ranker is None else config.ranker
    return config.model_copy(update={"ranker": ranker})


def ranker_space(config: Config, **more: SearchRange | SearchChoice) -> tuple[Space, Settings]:
    """Search space of a ranker, and the config's own values as defaults."""
    space: dict[str, SearchRange | SearchChoice] = {
        "ranker.learning_rate": SearchRange(0.0005, 0.01, log=True),
        "ranker.layer_learning_rate": SearchRange(0.0003, 0.003, log=True),
        "ranker.dropout": SearchRange(0.0, 0.4),
        **{f"ranker.{name}": place for name, place in more.items()},
    }
    values = {name: value_at(config, name) for name in space}
    defaults: dict[str, Value] = {n: value for n, value in values.items() if value is not None}
    return space, defaults


# --- retriever and ranker ---------------------------------------------------------------------


def pipeline(config: Config) -> Contender:
    """The config's retriever and ranker; only the ranker's hyperparameters are searched."""
    chosen = with_ranker(config)
    space, defaults = ranker_space(chosen, hard_share=SearchChoice((0.0, 0.25)))
    return Contender(
        "pipeline",
        "two-tower + NCF",
        "deep",
        "The configured retriever, followed by the NCF ranker over its candidates.",
        train_pipeline,
        space,
        defaults,
        view=lambda dataset: with_config(dataset, chosen),
        default_for=has_ranker,
    )


def train_pipeline(
    dataset: Dataset, settings: Settings, monitor: Monitor, cache: TrialCache
) -> TrainedModel:
    """Train both stages; the trials of one search share the retriever, which no setting affects."""
    config = with_settings(dataset.config, settings)
    assert config.ranker is not None
    if RETRIEVER not in cache:
        cache[RETRIEVER] = fit_retriever(
            TwoTower(config.retriever, dataset.schema, seed=config.training.seed),
            dataset.train,
            dataset.validation,
            config=config,
            monitor=monitor,
        )
    retriever, first = cache[RETRIEVER]
    uninterrupted(first)
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
    uninterrupted(second)
    numbers = sum(weight.numel() for weight in (*retriever.parameters(), *model.parameters()))
    if ranker.neighbours is not None:
        numbers += ranker.neighbours.weights.size
    return TrainedModel(
        lambda histories: Recommender.build(
            retriever, dataset.train, config, histories=histories, ranker=ranker
        ),
        numbers,
        curve_of(f"ndcg@{config.evaluation.k}", first, second),
        stages_of,
    )


def stages_of(ranker: Ranker, dataset: Dataset) -> dict[str, Any]:
    """Quality gained and lost by each stage, on the test part."""
    assert isinstance(ranker, Recommender)
    return {
        "index": ranker.served.index.kind,
        "index_recall": ranker.served.index_recall,
        **stage_report(ranker, dataset.test, k=dataset.config.evaluation.k),
    }


# --- ranker only ------------------------------------------------------------------------------


def ncf(config: Config) -> Contender:
    """The ranker without a retriever: it scores the full catalogue for each request."""
    alone = with_settings(with_ranker(config), {"ranker.blend": False, "ranker.hard_share": 0.0})
    space, defaults = ranker_space(alone, num_negatives=SearchRange(4, 16, integer=True))
    return Contender(
        "ncf",
        "NCF",
        "deep",
        "Neural collaborative filtering with all features, ranking the full catalogue.",
        train_alone,
        space,
        defaults,
        view=lambda dataset: with_config(dataset, alone),
        default_for=has_ranker,
    )


def train_alone(
    dataset: Dataset, settings: Settings, monitor: Monitor, cache: TrialCache
) -> TrainedModel:
    """Train the configured ranker with some settings replaced."""
    del cache
    config = with_settings(dataset.config, settings)
    model, result = fit_full_catalog(replace(dataset, config=config), monitor=monitor)
    uninterrupted(result)
    return TrainedModel(
        lambda histories: FullCatalogRanker.build(model, dataset.train, histories),
        sum(weight.numel() for weight in model.parameters()),
        curve_of(f"ndcg@{config.evaluation.k}", result),
    )
