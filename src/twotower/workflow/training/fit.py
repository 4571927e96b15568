"""Train a stage: the retriever, or a ranker over a trained retriever."""

from __future__ import annotations

from typing import overload

from twotower.config import Config
from twotower.data.dataset.interactions import Interactions
from twotower.models.ranker.ncf import NeuralCF
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.workflow.training.fit_ranker import fit_ranker
from twotower.workflow.training.fit_retriever import fit_retriever


@overload
def fit(
    model: TwoTower,
    train: Interactions,
    validation: Interactions | None = None,
    *,
    config: Config,
) -> TwoTower: ...


@overload
def fit(
    model: NeuralCF,
    train: Interactions,
    validation: Interactions | None = None,
    *,
    config: Config,
    retriever: TwoTower,
) -> NeuralRanker: ...


def fit(
    model: TwoTower | NeuralCF,
    train: Interactions,
    validation: Interactions | None = None,
    *,
    config: Config,
    retriever: TwoTower | None = None,
) -> TwoTower | NeuralRanker:
    """Train a stage and return it as it is served, with the weights of the best validation.

    >>> model = tt.TwoTower(data.config.retriever, data.schema)
    >>> model = tt.fit(model, train, validation, config=data.config)

    Args:
        model: made for the schema that `train` is numbered by.
        train: what to learn from.
        validation: decides when to stop; without it all epochs are trained.
        config: `[training]` and `[evaluation]` are used, and the section of the model.
        retriever: trained, the one that a `NeuralCF` is to rank for.
    """
    if isinstance(model, TwoTower):
        return fit_retriever(model, train, validation, config=config)[0]
    if retriever is None:
        raise ValueError("The 'retriever' parameter must be a trained TwoTower. Got None instead.")
    return fit_ranker(model, train, validation, config=config, retriever=retriever)[0]
