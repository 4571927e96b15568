"""Training of GMF, MLP and NeuMF as published: pairs of ids, NeuMF from a trained GMF and MLP."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch

from twotower.config import TrainingConfig
from twotower.data.batches.batches import PairBatches
from twotower.data.dataset.interactions import Interactions
from twotower.models.ranker.neumf import NeuMF
from twotower.models.ranker.neumf_objective import PairObjective
from twotower.training.engine import Engine
from twotower.training.monitor import Monitor
from twotower.training.trainer import TrainResult, Validate
from twotower.training.trainer import train as run_training


@dataclass(frozen=True)
class PairTraining:
    """How one of the models is trained, by Adam on batches of pairs.

    Attributes:
        epochs: at most, where there is a validation; else exactly. Of few rows so many epochs count
            as one that it has `LEAST_STEPS`.
        learning_rate: of all weights.
        num_negatives: drawn for each pair.
        l2: of the embeddings, for each pair; see `PairObjective`.
        batch_size: pairs a step; of few rows a hundredth of them, but not less than 32.
        average_steps: as `training.average_steps`; at most those of three epochs.
    """

    epochs: int
    learning_rate: float
    num_negatives: int = 4
    l2: float = 0.0025
    batch_size: int = 4096
    average_steps: int = 500


LEAST_STEPS = 200
"""Between two validations."""
COMPILED_FROM = 2_000_000_000
"""Pairs and negatives of a run on a GPU from which compiling the model saves more time than it
takes: 6 ns a pair of 10 s, on an H200."""

TRAININGS = {
    "gmf": PairTraining(30, 0.003),
    "mlp": PairTraining(40, 0.002),
    "neumf": PairTraining(20, 0.0002),
}
"""Chosen on validation items of ml-1m. The paper trains NeuMF, once it starts from the other two,
by plain gradient descent; here it is Adam at a small rate."""


def fit_pairs(
    model: NeuMF,
    train: Interactions,
    how: PairTraining,
    *,
    seed: int,
    engine: Engine,
    validate: Validate | None = None,
    monitor: Monitor | None = None,
) -> TrainResult:
    """Train a model in place; with `validate`, the epoch that is best by it is kept."""
    batch_size = min(how.batch_size, max(32, len(train) // 100))
    steps = -(-len(train) // batch_size)
    rounds = -(-LEAST_STEPS // steps)
    pairs = how.epochs * len(train) * (1 + how.num_negatives)
    objective = PairObjective(
        model,
        train,
        num_negatives=how.num_negatives,
        l2=how.l2,
        device=engine.device,
        compiled=can_compile(engine.device) and pairs >= COMPILED_FROM,
    )
    config = TrainingConfig(
        epochs=how.epochs * rounds,
        validate_every=rounds,
        learning_rate=how.learning_rate,
        layer_learning_rate=how.learning_rate,
        weight_decay=0.0,
        average_steps=min(how.average_steps, 3 * rounds * steps),
        patience=3,
        seed=seed,
    )
    return run_training(
        objective,
        PairBatches(train, batch_size=batch_size, seed=seed, device=engine.device),
        config,
        engine=engine,
        validate=validate,
        monitor=monitor,
    )


def can_compile(device: torch.device) -> bool:
    """Whether torch has a compiler for the device's kernels."""
    return device.type == "cuda" and find_spec("triton") is not None


def untrained(name: str, train: Interactions, factors: int, seed: int) -> NeuMF:
    """A GMF, or an MLP of 4 f -> 2 f -> f, with a row for each user and item, known or not."""
    users, items = len(train.users), len(train.items)
    if name == "gmf":
        return NeuMF.gmf(users, items, factors, seed=seed)
    return NeuMF.mlp(users, items, 2 * factors, (2 * factors, factors), seed=seed)


def training_of(name: str, learning_rate: float, l2: float, num_negatives: int) -> PairTraining:
    """The training of a model where that of the GMF has these settings; rates keep to each other as
    they do in `TRAININGS`."""
    how = TRAININGS[name]
    rate = how.learning_rate * learning_rate / TRAININGS["gmf"].learning_rate
    return replace(how, learning_rate=rate, l2=l2, num_negatives=num_negatives)
