"""Train a retriever: objective, batches, validation by the code that serves."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.config import Config, TrainingConfig
from twotower.data.arrays.distinct import distinct_values
from twotower.data.batches.batches import PairBatches, SequenceBatches, UserBatches
from twotower.data.dataset.interactions import Interactions
from twotower.errors import DataError, TrainingError, explain
from twotower.models.layers.missing_values import columns_of_training, impute_missing
from twotower.models.retriever.losses.base import LOSSES, EpochSize
from twotower.models.retriever.losses.softmax import Softmax
from twotower.models.retriever.objective import RetrievalObjective
from twotower.models.retriever.sharding import shard_tables
from twotower.models.retriever.two_tower import (
    MAX_SMOOTHED_STEPS,
    TwoTower,
    can_smooth,
    growth,
)
from twotower.parallel.processes import ONE, ProcessGroup
from twotower.parallel.shards import Shards
from twotower.serving.answer.recommender import Recommender
from twotower.training.engine import Engine
from twotower.training.monitor import Monitor
from twotower.training.trainer import TrainResult, Validate, patience, table_rate
from twotower.training.trainer import train as run_training
from twotower.workflow.evaluate import evaluate
from twotower.workflow.training.cold_offset import choose_offset, items_to_hold_out
from twotower.workflow.training.validation import (
    VALIDATION_USERS,
    fingerprint,
    sample_users,
    with_exact_search,
)

STEPS = 16
"""An epoch has at least about so many steps, where there are users enough."""
MIN_USERS, MAX_USERS = 64, 1024
MAX_SMOOTHED_USERS = 24_576
"""Where ids are smoothed in each step, a batch may have so many users, so that the steps are few:
docs/experiments.md, "Smoothing by cost"."""
MAX_SEQUENCES = 128
PAIRS = 2048
ROWS_AT_ONCE = 10_000_000
MAX_GROWTH = 3.0
"""Of the learning rate of tables, on small data."""
AVERAGE_STEPS: Final = 200
"""Of weights that are learned from histories and sampled items, which are noisy."""

FEW_ROWS, FEW_ROWS_PATIENCE = 100_000, 3
"""Epochs over few rows are many and alike."""


def fit_retriever(
    model: TwoTower,
    train: Interactions,
    validation: Interactions | None,
    *,
    config: Config,
    checkpoint: Path | None = None,
    resume: bool = False,
    monitor: Monitor | None = None,
    processes: ProcessGroup = ONE,
) -> tuple[TwoTower, TrainResult]:
    """As `fit`, with a checkpoint and a monitor; returns how the run ended, too. Of several
    processes all call it, and the first one gets the model, the others their part of it."""
    objective, held_out, result = _train(
        model, train, validation, config, checkpoint, resume, monitor, processes
    )
    served = objective.gathered_model()
    if served is None:
        return model, result
    impute_missing_values(served, train)
    objective.center_new_items(served)
    served.cpu()
    if validation is not None and len(held_out):
        exact = with_exact_search(config)
        recommender = Recommender.build(served, train, exact, index_new_items=False)
        served.cold_offset += choose_offset(recommender, train, validation, held_out, config)
    return served, result


def impute_missing_values(model: TwoTower, train: Interactions) -> None:
    """See `models/layers/missing_values.py`."""
    read = columns_of_training(train)
    context = {f"context.{name}": column for name, column in read["context"].items()}
    impute_missing(model.query_tower, {**read["user"], **context})
    impute_missing(model.item_tower, read["item"])
    if model.cold_tower is not None:
        impute_missing(model.cold_tower, read["item"])


def _train(
    model: TwoTower,
    train: Interactions,
    validation: Interactions | None,
    config: Config,
    checkpoint: Path | None,
    resume: bool,
    monitor: Monitor | None,
    processes: ProcessGroup,
) -> tuple[RetrievalObjective, NDArray[np.int64], TrainResult]:
    """The objective with the trained model, the items that were held out, and how the run ended."""
    own_print = fingerprint(config, train)
    check_same_data(processes.all_told(own_print))
    engine = Engine.from_config(config.training, processes)
    batches = make_batches(train, config, processes)
    model.settle(Batching.of(train, config).epoch_size(train))
    check_can_spread(model, processes)
    held_out = items_to_hold_out(model, train, validation, config)
    if processes.are_several:
        shard_tables(model, processes)
    objective = RetrievalObjective(
        model,
        train,
        batch_size=batches.batch_size,
        device=engine.device,
        held_out=held_out,
        mask_known_positives=config.evaluation.mask_seen,
        processes=processes,
    )
    check = None
    if validation is not None and len(validation):
        # While the offset of new items is still to be chosen they are left out, so that training
        # stops by how well the towers rank the items that they learn from.
        check = validation_callback(
            objective, train, validation, config, index_new_items=not len(held_out)
        )
    result = run_training(
        objective,
        batches,
        config.training.model_copy(
            update={
                "learning_rate": own_table_rate(config, len(train)),
                "average_steps": own_average_steps(model, config),
                "patience": own_patience(config.training, len(train)),
            }
        ),
        engine=engine,
        validate=check,
        checkpoint=checkpoint,
        resume=resume,
        fingerprint=own_print,
        monitor=monitor,
        adjustment=objective.smoothing,
    )
    return objective, held_out, result


def check_same_data(fingerprints: list[str]) -> None:
    """Refuse processes that have read other data than the first, given the fingerprint of each.

    Raises:
        DataError: names the first process that has.
    """
    for rank, found in enumerate(fingerprints):
        if found != fingerprints[0]:
            raise DataError(
                explain(
                    f"process {rank + 1} of {len(fingerprints)} has read other training data than "
                    "the first one",
                    fix="give all machines the same files, under the same paths",
                )
            )


def check_can_spread(model: TwoTower, processes: ProcessGroup) -> None:
    """Refuse a loss of a plug-in that several processes cannot share.

    Raises:
        TrainingError: it ranks all items in a way of its own.
    """
    if processes.are_several and model.ranks_all_items and not isinstance(model.loss, Softmax):
        raise TrainingError(
            explain(
                f"retriever.loss {model.config.loss!r} scores all items in each step, and each "
                "process has only some of them",
                fix="train it by one process, or choose a loss that samples items",
            )
        )


def own_table_rate(config: Config, num_rows: int) -> float:
    """The configured learning rate of the tables, or the one for so many training rows:
    docs/experiments.md, "Learning rate on small data". Towers with features keep that of much data:
    their layers, which learn what is said of unknown ids, have to keep up with the ids."""
    rate = table_rate(config.training)
    if config.training.learning_rate != "auto" or not config.features.has_ids_alone:
        return rate
    return rate * min(growth(num_rows), MAX_GROWTH)


def own_average_steps(model: TwoTower, config: Config) -> int:
    """The configured number of steps to average over, or the one for the model."""
    steps = config.training.average_steps
    if steps != "auto":
        return steps
    return AVERAGE_STEPS if model.history is not None and not model.ranks_all_items else 0


def own_patience(config: TrainingConfig, num_rows: int) -> int:
    """The configured patience, or the one for so many training rows: docs/experiments.md, "Small
    cells"."""
    if config.patience == "auto" and num_rows < FEW_ROWS:
        return FEW_ROWS_PATIENCE
    return patience(config)


def windows_of(train: Interactions, longest: int) -> NDArray[np.int64]:
    """(len(users),) how many queries of at most `longest` rows the rows of each user become."""
    counts = np.zeros(len(train.users), dtype=np.int64)
    # Interactions may be larger than memory.
    for start in range(0, len(train), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        known = train.item_num[rows] >= 0
        counts += np.bincount(train.user_num[rows][known], minlength=len(counts))
    return -(-counts // longest)


def smooths_each_step(train: Interactions, config: Config) -> bool:
    """Whether ids are smoothed in each step, if these are few enough."""
    chosen = config.retriever.smoothing_layers and config.retriever.smoothing_every in ("auto", 1)
    return bool(chosen) and can_smooth(train.users.schema)


class Batching(NamedTuple):
    """How a training part is cut into batches.

    Attributes:
        kind: what a query is: a user with the history, a user with all of the user's items, or a
            single pair.
        size: queries a batch.
        longest: rows of a query, at most; a user with more becomes several queries.
    """

    kind: Literal["sequences", "users", "pairs"]
    size: int
    longest: int

    @staticmethod
    def of(train: Interactions, config: Config) -> Batching:
        """Users with their histories if the query tower reads one; users with all of their items if
        the loss takes many targets a query and no context feature distinguishes a user's
        interactions; else single pairs."""
        size, history = config.training.batch_size, train.users.schema.history
        users = max(train.users.num_warm // STEPS, MIN_USERS)
        if history is not None:
            auto = min(users, MAX_SEQUENCES)
            longest = history.config.max_length
            return Batching("sequences", auto if size == "auto" else size, longest)
        if LOSSES[config.retriever.loss].batches == "users" and not train.context:
            longest = UserBatches.MAX_TARGETS
            auto = min(users, MAX_USERS)
            if size == "auto" and smooths_each_step(train, config):
                enough = -(-int(windows_of(train, longest).sum()) // MAX_SMOOTHED_STEPS)
                auto = max(auto, enough) if enough <= MAX_SMOOTHED_USERS else auto
            return Batching("users", auto if size == "auto" else size, longest)
        return Batching("pairs", PAIRS if size == "auto" else size, 1)

    def epoch_size(self, train: Interactions) -> EpochSize:
        """How large an epoch of a training part is."""
        windows = int(windows_of(train, self.longest).sum())
        learned = int(windows_of(train, 1).sum())
        # With a history, each event is contrasted with candidates by itself.
        by_user = self.kind == "users"
        queries = windows if by_user else learned
        return EpochSize(learned, queries, -(-windows // self.size), by_user)


def make_batches(
    train: Interactions, config: Config, processes: ProcessGroup = ONE
) -> UserBatches | PairBatches | SequenceBatches:
    """The batches of a training part, or of several processes this one's part of each; see
    `Batching`."""
    kind, size, longest = Batching.of(train, config)
    seed, shards = config.training.seed, Shards(train.users.end_warm, processes)
    if kind == "sequences":
        return SequenceBatches(train, batch_size=size, seed=seed, max_length=longest, shards=shards)
    if kind == "users":
        return UserBatches(train, batch_size=size, seed=seed, shards=shards)
    return PairBatches(train, batch_size=size, seed=seed, shards=shards)


def validation_callback(
    objective: RetrievalObjective,
    train: Interactions,
    validation: Interactions,
    config: Config,
    *,
    index_new_items: bool,
) -> Validate:
    """Measures the model as it would serve, same fallback chain, but with exact search;
    `index_new_items` as in `Recommender.build`. Several processes ask for some of the users each;
    a metric is the mean over the users of all."""
    exact = with_exact_search(config)
    processes = objective.processes
    part = sample_users(validation, VALIDATION_USERS, config.training.seed)
    users = distinct_values(part.user_num).astype(np.int64)[processes.rank :: processes.size]
    if processes.are_several:
        part = part.take(np.flatnonzero(np.isin(part.user_num, users)))
    histories = train.histories()
    k = config.evaluation.k
    names = (f"ndcg@{k}", f"recall@{k}")

    def validate() -> dict[str, float]:
        recommender = Recommender.build(
            objective.served_model(users),
            train,
            exact,
            histories=histories,
            index_new_items=index_new_items,
        )
        asked, metrics = 0, dict.fromkeys(names, 0.0)
        if len(part):
            found = evaluate(recommender, part, k=k, mask_seen=config.evaluation.mask_seen)
            asked, metrics = len(found.user_num), {name: found.metrics[name] for name in names}
        return processes.mean(metrics, asked)

    return validate
