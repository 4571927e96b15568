"""Train a stage, here the retriever: objective, batches, validation by the code that serves."""

from __future__ import annotations

from pathlib import Path
from typing import overload

import numpy as np

from twotower.config import Config
from twotower.data.batches.batches import PairBatches, SequenceBatches, UserBatches
from twotower.data.dataset.fingerprint import digest
from twotower.data.dataset.interactions import Interactions
from twotower.models.ranker.ncf import NeuralCF
from twotower.models.retriever.objective import RetrievalObjective
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.ncf_stage import NeuralRanker
from twotower.serving.answer.recommender import Recommender
from twotower.training.engine import Engine
from twotower.training.monitor import Monitor
from twotower.training.trainer import TrainResult, Validate
from twotower.training.trainer import train as run_training
from twotower.workflow.evaluate import evaluate
from twotower.workflow.training.cold_offset import NOT_SHOWN, choose_offset, items_to_hold_out

VALIDATION_USERS = 10_000
"""A larger validation part is measured on this many of its users, always the same ones."""

STEPS = 16
"""An epoch has at least about so many steps, where there are users enough."""
MIN_USERS, MAX_USERS = 64, 1024
MAX_SEQUENCES = 128
PAIRS = 2048


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

    Args:
        model: made for the schema that `train` is numbered by.
        train: what to learn from.
        validation: decides when to stop; without it all epochs are trained.
        config: `[training]` and `[evaluation]` are used, and the section of the model.
        retriever: trained, the one that a `NeuralCF` is to rank for.
    """
    if isinstance(model, TwoTower):
        return fit_retriever(model, train, validation, config=config)[0]
    from twotower.workflow.training.fit_ranker import fit_ranker  # noqa: PLC0415

    if retriever is None:
        raise ValueError("The 'retriever' parameter must be a trained TwoTower. Got None instead.")
    return fit_ranker(model, train, validation, config=config, retriever=retriever)[0]


def fit_retriever(
    model: TwoTower,
    train: Interactions,
    validation: Interactions | None,
    *,
    config: Config,
    checkpoint: Path | None = None,
    resume: bool = False,
    monitor: Monitor | None = None,
) -> tuple[TwoTower, TrainResult]:
    """As `fit`, with a checkpoint and a monitor; tells how the run went, too."""
    engine = Engine.from_config(config.training)
    batches = make_batches(train, config)
    held_out = items_to_hold_out(model, train, validation, config)
    objective = RetrievalObjective(
        model,
        train,
        batch_size=batches.batch_size,
        device=engine.device,
        held_out=held_out,
        spares_taken=config.evaluation.mask_seen,
    )
    if len(held_out):
        model.cold_offset.fill_(NOT_SHOWN)
    check = None
    if validation is not None and len(validation):
        check = validation_callback(objective, train, validation, config)
    result = run_training(
        objective,
        batches,
        config.training,
        engine=engine,
        validate=check,
        checkpoint=checkpoint,
        resume=resume,
        fingerprint=fingerprint(config, train),
        monitor=monitor,
    )
    served = objective.served_model()
    objective.centre_new_items(served)
    served.cpu()
    if validation is not None and len(held_out):
        offset = choose_offset(served, train, validation, held_out, config)
        served.cold_offset.fill_(offset)
    return served, result


def make_batches(
    train: Interactions, config: Config
) -> UserBatches | PairBatches | SequenceBatches:
    """Users with their histories where the query tower reads one; users with all their items where
    the loss ranks many items for each query and no context tells a user's queries apart; else
    single pairs."""
    size, seed = config.training.batch_size, config.training.seed
    if train.users.schema.history is not None:
        users = min(max(train.users.num_warm // STEPS, MIN_USERS), MAX_SEQUENCES)
        return SequenceBatches(
            train,
            batch_size=users if size == "auto" else size,
            seed=seed,
            max_length=train.users.schema.history.config.max_length,
        )
    if config.retriever.loss in ("softmax", "sampled_softmax", "bsl") and not train.context:
        users = min(max(train.users.num_warm // STEPS, MIN_USERS), MAX_USERS)
        return UserBatches(train, batch_size=users if size == "auto" else size, seed=seed)
    return PairBatches(train, batch_size=PAIRS if size == "auto" else size, seed=seed)


def validation_callback(
    objective: RetrievalObjective, train: Interactions, validation: Interactions, config: Config
) -> Validate:
    """Measures the model as it would serve: same index, same fallback chain."""
    part = sample_users(validation, VALIDATION_USERS, config.training.seed)
    histories = train.histories()
    k = config.evaluation.k

    def validate() -> dict[str, float]:
        recommender = Recommender.build(
            objective.served_model(), train, config, histories=histories
        )
        metrics = evaluate(recommender, part, k=k, mask_seen=config.evaluation.mask_seen).metrics
        return {name: metrics[name] for name in (f"ndcg@{k}", f"recall@{k}")}

    return validate


def sample_users(part: Interactions, limit: int, seed: int) -> Interactions:
    """All rows of at most `limit` users, drawn by `seed`."""
    users = np.unique(part.user_num)
    if len(users) <= limit:
        return part
    kept = np.random.default_rng(seed).choice(users, limit, replace=False)
    return part.take(np.flatnonzero(np.isin(part.user_num, kept)))


def fingerprint(config: Config, train: Interactions) -> str:
    """Of everything that the course of a training run depends on."""
    return digest(config.model_dump_json(exclude={"compare"}), train)
