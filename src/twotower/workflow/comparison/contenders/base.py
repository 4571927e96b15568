"""The interface of the models in a comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from twotower.data.dataset.dataset import Dataset
from twotower.data.features.histories import Histories
from twotower.training.monitor import Monitor
from twotower.training.trainer import TrainResult
from twotower.workflow.evaluate import Ranker
from twotower.workflow.tuning.settings import Settings, Space, has_features

Family = Literal["popularity", "neighbourhood", "linear", "matrix_factorization", "deep"]
"""Kind of model. The reference of all tests is the best `matrix_factorization`."""

Point = dict[str, float]
"""A point of a learning curve: `epoch`, `seconds` since the start, `metric` (validation ndcg@k)."""

TrialCache = dict[str, Any]
"""Results that the trials of one search share, such as a retriever that no setting affects; empty
for the final training, which is timed."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model.

    Attributes:
        ranker: builds the ranker from each user's events: the training events for validation,
            training and validation events for the test part.
        parameters: number of fitted parameters.
        curve: learning curve; empty for models without epochs.
        stages: measures the stages of the ranker on the test part.
    """

    ranker: Callable[[Histories], Ranker]
    parameters: int
    curve: tuple[Point, ...] = ()
    stages: Callable[[Ranker, Dataset], dict[str, Any]] | None = None


Train = Callable[[Dataset, Settings, Monitor, TrialCache], TrainedModel]


def always(dataset: Dataset) -> bool:
    """Included by default for all data."""
    del dataset
    return True


def never(dataset: Dataset) -> bool:
    """Included only if named."""
    del dataset
    return False


def has_side_features(dataset: Dataset) -> bool:
    """Included by default if a tower has features other than ids."""
    return has_features(dataset.config)


def has_ranker(dataset: Dataset) -> bool:
    """Included by default if the config has a ranker."""
    return dataset.config.ranker is not None


def unchanged(dataset: Dataset) -> Dataset:
    """The dataset itself."""
    return dataset


@dataclass(frozen=True)
class Contender:
    """A model that can take part in a comparison.

    Attributes:
        name: name in `--models`.
        title: name in reports.
        family: kind of model.
        about: description in one sentence.
        train: trains on the training part, with early stopping on the validation part.
        space: search space of the hyperparameters.
        defaults: hyperparameters of the first trial.
        view: the dataset as the model sees it: the same rows, possibly with fewer features.
        default_for: whether it is included for a dataset if no models are named.
    """

    name: str
    title: str
    family: Family
    about: str
    train: Train
    space: Space = field(default_factory=dict)
    defaults: Settings = field(default_factory=dict)
    view: Callable[[Dataset], Dataset] = unchanged
    default_for: Callable[[Dataset], bool] = always


def curve_of(metric: str, *results: TrainResult) -> tuple[Point, ...]:
    """The learning curve over the validated epochs of one or several consecutive trainings."""
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
