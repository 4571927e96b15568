"""The models that `compare` can compare, behind one interface."""

from __future__ import annotations

from twotower.config import Config
from twotower.data.dataset.dataset import Dataset
from twotower.errors import ConfigError, explain, unknown
from twotower.workflow.comparison.contenders.base import (
    Contender,
    Family,
    Point,
    TrainedModel,
    TrialCache,
)
from twotower.workflow.comparison.contenders.classic import baselines
from twotower.workflow.comparison.contenders.neural import ncf, pipeline
from twotower.workflow.comparison.contenders.published import published
from twotower.workflow.comparison.contenders.towers import (
    factorization_machine,
    two_tower,
    two_tower_ids,
    two_tower_linear,
)

__all__ = [
    "Contender",
    "Family",
    "Point",
    "TrainedModel",
    "TrialCache",
    "contenders",
    "select_contenders",
]


def contenders(config: Config) -> dict[str, Contender]:
    """Name -> model, for all models, simple ones first."""
    found = [
        *baselines(config),
        *published(config),
        two_tower_ids(config),
        factorization_machine(config),
        two_tower_linear(config),
        two_tower(config),
        ncf(config),
        pipeline(config),
    ]
    return {contender.name: contender for contender in found}


def select_contenders(dataset: Dataset, names: tuple[str, ...]) -> list[Contender]:
    """The named models, in the order of `contenders`; the default models for the data if no names
    are given.

    Raises:
        ConfigError: a name is unknown.
    """
    known = contenders(dataset.config)
    for name in names:
        if name not in known:
            raise ConfigError(explain(unknown(f"unknown model {name!r}", name, known)))
    return [
        contender
        for name, contender in known.items()
        if (name in names if names else contender.default_for(dataset))
    ]
