"""What every model of a comparison looks like from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from twotower.config import Config
from twotower.data.dataset.dataset import Dataset
from twotower.data.features.histories import Histories
from twotower.training.monitor import Monitor
from twotower.training.trainer import TrainResult
from twotower.workflow.comparison.tuning import Settings, Space, Value
from twotower.workflow.evaluate import Ranker

Family = Literal["popularity", "neighbourhood", "linear", "matrix_factorization", "deep"]
"""What kind of model it is: the reference of all tests is the best `matrix_factorization`."""

Point = dict[str, float]
"""Of a learning curve: `epoch`, `seconds` since the start, `metric` (ndcg@k on validation)."""

Shelf = dict[str, Any]
"""What the trials of one search may share, such as a first stage that no setting changes; empty
for the training that is measured."""


@dataclass(frozen=True)
class Learned:
    """A model after training.

    Attributes:
        ranker: makes what answers, given each user's events so far: those of training for
            validation, those of training and validation for the test part.
        parameters: numbers that training fitted.
        curve: the learning curve; empty where there are no epochs.
        stages: what can be said of the stages of what `ranker` made, measured on the test part.
    """

    ranker: Callable[[Histories], Ranker]
    parameters: int
    curve: tuple[Point, ...] = ()
    stages: Callable[[Ranker, Dataset], dict[str, Any]] | None = None


Train = Callable[[Dataset, Settings, Monitor, Shelf], Learned]


def always(dataset: Dataset) -> bool:
    """With any data."""
    del dataset
    return True


def never(dataset: Dataset) -> bool:
    """Only when it is named."""
    del dataset
    return False


def featured(dataset: Dataset) -> bool:
    """Where a tower reads anything but ids."""
    return has_features(dataset.config)


def ranked(dataset: Dataset) -> bool:
    """Where the config has a ranker."""
    return dataset.config.ranker is not None


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
        enters: whether it enters with these data where no models are named.
    """

    name: str
    title: str
    family: Family
    about: str
    train: Train
    space: Space = field(default_factory=dict)
    defaults: Settings = field(default_factory=dict)
    view: Callable[[Dataset], Dataset] = itself
    enters: Callable[[Dataset], bool] = always


def has_features(config: Config) -> bool:
    """Whether a tower reads anything but ids."""
    sides = (config.features.enabled(side) for side in ("user", "item", "context"))
    return config.features.history is not None or any(set(side) - {"id"} for side in sides)


def curve_of(metric: str, *results: TrainResult) -> tuple[Point, ...]:
    """The epochs that were validated, of one training or of some, one after the other."""
    curve: list[Point] = []
    epochs, seconds = 0, 0.0
    for result in results:
        curve += [
            {
                "epoch": entry["epoch"] + epochs,
                "seconds": entry["seconds"] + seconds,
                "metric": entry[metric],
            }
            for entry in result.epochs
            if metric in entry
        ]
        epochs, seconds = epochs + len(result.epochs), seconds + result.seconds
    return tuple(curve)


def whole(result: TrainResult) -> TrainResult:
    """A training that was not cut off.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; half a training is no trial.
    """
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    return result


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


def value_at(config: Config, name: str) -> Value | None:
    """The value of a key."""
    found: Any = config.model_dump()
    for part in name.split("."):
        found = found[part]
    value: Value | None = found
    return value


def seen_by(dataset: Dataset, config: Config) -> Dataset:
    """The same rows as another config sees them."""
    if config.features == dataset.config.features:
        return replace(dataset, config=config)
    return Dataset.from_parts(config, dataset.tables, dataset.parts)
