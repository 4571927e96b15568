"""The models that a comparison can put beside each other, all behind one face."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from twotower.config import Config, FeaturesConfig
from twotower.data.dataset import Dataset
from twotower.data.history import Histories
from twotower.errors import ConfigError, explain, unknown
from twotower.models.factorization_machine import AS_A_MACHINE, FactorizationMachine
from twotower.models.popularity import Popularity
from twotower.models.two_tower import ID_DROPOUT, TwoTower
from twotower.serving.recommender import Recommender
from twotower.training.monitor import Monitor
from twotower.workflow.evaluate import Ranker
from twotower.workflow.fit import fit_retriever
from twotower.workflow.tuning import Choice, Range, Settings, Space, Value

Family = Literal["popularity", "neighbourhood", "linear", "matrix_factorization", "deep"]
"""What a model is told from: the reference of all tests is the best `matrix_factorization`."""

Point = dict[str, float]
"""Of a learning curve: `epoch`, `seconds` since the start, `metric` (ndcg@k on validation)."""


@dataclass(frozen=True)
class Trained:
    """A model after training.

    Attributes:
        ranker: makes what answers, given each user's events so far: those of training for
            validation, those of training and validation for the test part.
        parameters: numbers that training fitted.
        curve: the learning curve; empty where there are no epochs.
    """

    ranker: Callable[[Histories], Ranker]
    parameters: int
    curve: tuple[Point, ...] = ()


Train = Callable[[Dataset, Settings, Monitor], Trained]


def itself(dataset: Dataset) -> Dataset:
    """The data as they are."""
    return dataset


@dataclass(frozen=True)
class Contender:
    """A model that can enter a comparison.

    Attributes:
        name: as `--models` names it.
        title: as reports name it.
        family: what kind of model it is.
        about: one sentence.
        train: learns from the training part; may stop early by the validation part.
        space: the settings that are searched.
        defaults: their values in the first trial.
        view: the data as the model sees them: the same rows, perhaps fewer features.
    """

    name: str
    title: str
    family: Family
    about: str
    train: Train
    space: Space = field(default_factory=dict)
    defaults: Settings = field(default_factory=dict)
    view: Callable[[Dataset], Dataset] = itself


def contenders(config: Config) -> dict[str, Contender]:
    """Name -> every model that a config allows, weakest kind first."""
    found = [popularity(), two_tower_ids(config)]
    if has_features(config):
        found += [factorization_machine(config), two_tower_linear(config)]
    found.append(two_tower(config))
    return {contender.name: contender for contender in found}


def choose(config: Config, names: tuple[str, ...]) -> list[Contender]:
    """The contenders of some names, in the order of `contenders`; of no name, all that fit.

    Raises:
        ConfigError: a name is unknown, or its model needs what the config lacks.
    """
    known = contenders(config)
    for name in names:
        if name not in known:
            raise ConfigError(explain(unknown(f"no model is called {name!r}", name, known)))
    return [contender for name, contender in known.items() if not names or name in names]


def has_features(config: Config) -> bool:
    """Whether a tower reads anything but ids."""
    sides = (config.features.enabled(side) for side in ("user", "item", "context"))
    return config.features.history is not None or any(set(side) - {"id"} for side in sides)


# --- popularity -------------------------------------------------------------------------------


def popularity() -> Contender:
    """What most people took."""

    def train(dataset: Dataset, settings: Settings, monitor: Monitor) -> Trained:
        del settings, monitor
        part = dataset.train
        return Trained(
            lambda histories: Popularity.fit(part, seen=histories.items), dataset.items.num_warm
        )

    return Contender(
        "popularity", "popularity", "popularity", "The same items for all, most taken first.", train
    )


# --- two towers -------------------------------------------------------------------------------


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
    """What is searched for two towers, and the config's own values of it."""
    space: dict[str, Range | Choice] = {"training.learning_rate": Range(0.003, 0.03, log=True)}
    if config.retriever.normalize:
        space["retriever.temperature"] = Range(0.05, 0.2, log=True)
    else:
        space["training.weight_decay"] = Range(0.001, 1.0, log=True)
    if has_features(config):
        space["training.layer_learning_rate"] = Range(0.0003, 0.003, log=True)
        for side in ("user", "item"):
            if {"id"} < set(config.features.enabled(side)):
                space[f"features.{side}.id.dropout"] = Range(0.0, 0.3)
    if config.retriever.hidden != () and has_features(config):
        space["retriever.dropout"] = Range(0.0, 0.4)
    if config.features.history is None and config.retriever.normalize:
        space["retriever.smoothing_layers"] = Choice((0, 1, 2))
    document = config.model_dump()
    defaults = {name: value_at(document, name) for name in space}
    return space, {name: ID_DROPOUT if value is None else value for name, value in defaults.items()}


def train_towers(
    dataset: Dataset, settings: Settings, monitor: Monitor, make: type[TwoTower] = TwoTower
) -> Trained:
    """Train the retriever of the data's config, changed by some settings.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; half a training is no trial.
    """
    config = with_settings(dataset.config, settings)
    dataset = seen_by(dataset, config)
    model = make(config.retriever, dataset.schema, seed=config.training.seed)
    served, result = fit_retriever(
        model, dataset.train, dataset.validation, config=config, monitor=monitor
    )
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    metric = f"ndcg@{config.evaluation.k}"
    return Trained(
        lambda histories: Recommender.build(served, dataset.train, config, histories=histories),
        sum(weight.numel() for weight in served.parameters()),
        tuple(
            {"epoch": entry["epoch"], "seconds": entry["seconds"], "metric": entry[metric]}
            for entry in result.epochs
            if metric in entry
        ),
    )


# --- settings ---------------------------------------------------------------------------------


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """The config with the values of some keys, each as `section.key` or deeper."""
    document = config.model_dump()
    for name, value in settings.items():
        *sections, last = name.split(".")
        table = document
        for section in sections:
            table = table[section]
        table[last] = value
    return Config.model_validate(document)


def value_at(document: Mapping[str, Any], name: str) -> Value:
    """The value of a key of a config's dump."""
    found: Any = document
    for part in name.split("."):
        found = found[part]
    value: Value = found
    return value


def seen_by(dataset: Dataset, config: Config) -> Dataset:
    """The same rows as another config sees them."""
    if config.features == dataset.config.features:
        return replace(dataset, config=config)
    return Dataset.from_parts(config, dataset.tables, dataset.parts)
