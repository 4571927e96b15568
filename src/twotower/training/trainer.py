"""The training loop: epochs of steps, validation, early stopping, checkpoints.

It knows no model: an objective gives batches and their loss, a validation callback gives a figure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from twotower.config import TrainingConfig
from twotower.data.batches.batches import Batch, Batches
from twotower.errors import TrainingError, explain
from twotower.models.layers.sharded_table import sharded_tables
from twotower.parallel.shards import Shards
from twotower.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from twotower.training.engine import Engine
from twotower.training.interrupt import Interrupt, deferred_interrupt
from twotower.training.monitor import Monitor
from twotower.training.optimizers import RowAdam
from twotower.training.training_warnings import training_warnings
from twotower.training.weight_average import Average

TABLE_RATE = 0.01
"""Learning rate of embedding tables where there is much data."""
ROWWISE_RATE = 0.1
"""The same of row-wise Adagrad."""
PATIENCE = 5
"""Validations without an improvement where nothing else is said."""
CHECKPOINT_SECONDS, CHECKPOINT_SHARE = 60.0, 0.05
"""A run that dies loses at most about so many seconds, or as many as keep the share of the time
that is spent on writing its tables this small."""


class Objective(Protocol):
    """What is minimised."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        ...

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss of a batch's targets, a scalar with a gradient."""
        ...


class Adjustment(Protocol):
    """What changes the weights between steps, with a state of its own."""

    def update(self, step: int, steps: int) -> None:
        """Called after each step of an epoch, from 1 to `steps`."""
        ...

    def state_tensors(self) -> dict[str, Tensor]:
        """The state as named tensors."""
        ...

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `state_tensors` gave."""
        ...


@dataclass(frozen=True)
class TrainResult:
    """How a run ended; the model holds the best weights.

    Attributes:
        best_epoch: epochs trained when the best validation was measured (the last epoch where
            there was no validation).
        best_metric: that validation's figure, None without validation.
        epochs: number, loss, validation metrics and seconds of each epoch.
        stopped: `patience`, `epochs`, or `interrupted` (by Ctrl-C or a callback).
        seconds: training and validation, over all runs of a resumed training.
        warnings: sentences on overfitting and the like.
    """

    best_epoch: int
    best_metric: float | None
    epochs: list[dict[str, Any]]
    stopped: str
    seconds: float
    warnings: tuple[str, ...]


Validate = Callable[[], dict[str, float]]
"""Metrics on the validation part; the first one, ndcg@k, decides."""


def train(
    objective: Objective,
    batches: Batches,
    config: TrainingConfig,
    *,
    engine: Engine,
    validate: Validate | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    fingerprint: str = "",
    monitor: Monitor | None = None,
    section: str = "retriever",
    adjustment: Adjustment | None = None,
) -> TrainResult:
    """Minimise an objective until validation stops getting better.

    Args:
        objective: the loss, with the model it belongs to.
        batches: the training part.
        config: epochs, learning rate, patience, seed.
        engine: the device.
        validate: measured every `validate_every` epochs; without it all epochs are trained.
        checkpoint: a folder to keep the state of the run in.
        resume: go on from the checkpoint, if there is one.
        fingerprint: of config and data; see `save_checkpoint`.
        monitor: shows, logs or passes on what happens.
        section: of the config, for the keys that warnings name.
        adjustment: changes the weights between steps.

    Raises:
        TrainingError: the loss is not a finite number (the best state so far is put back into the
            model first), or the checkpoint does not fit.
    """
    run = _Run(objective, batches, config, engine, checkpoint, fingerprint, monitor or Monitor())
    run.adjustment = adjustment
    run.monitor.start(
        epochs=config.epochs,
        steps=len(batches),
        patience=patience(config) * config.validate_every if validate else None,
    )
    if resume:
        run.restore()
    interrupted = False
    try:
        with deferred_interrupt() as interrupt, engine.step_randomness():
            try:
                while not run.is_done:
                    run.train_epoch(interrupt)
                    run.end_epoch(validate)
                    run.check_interrupt(interrupt)
            except KeyboardInterrupt:
                interrupted = True
                if not run.is_half_done:
                    run.save()
        return run.finish(section, interrupted=interrupted)
    finally:
        run.monitor.stop()


class _Run:
    """The state of one training run."""

    def __init__(
        self,
        objective: Objective,
        batches: Batches,
        config: TrainingConfig,
        engine: Engine,
        checkpoint: Path | None,
        fingerprint: str,
        monitor: Monitor,
    ) -> None:
        self.objective = objective
        self.model = objective.model
        self.batches = batches
        self.config = config
        self.engine = engine
        self.checkpoint = checkpoint
        self.fingerprint = fingerprint
        self.monitor = monitor
        engine.prepare(self.model)
        self.optimizer = RowAdam(parameter_groups(self.model, config), lr=table_rate(config))
        steps = 0 if config.average_steps == "auto" else config.average_steps
        self.average = Average(self.model, steps) if steps else None
        self.adjustment: Adjustment | None = None
        self.progress = Progress()
        self.best: dict[str, Tensor] | None = None
        self.is_half_done = False
        """Whether a step or the end of an epoch is under way, so that the state is inconsistent."""
        self.clock = time.perf_counter()
        self.saved_at = self.clock
        self.saving_seconds = 0.0
        """How long the last checkpoint took to write."""
        self.must_save = self.must_stop = False
        """What processes have agreed on."""
        self.shards = sharded_tables(self.model)
        self.whole = [
            parameter
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad and name not in self.shards
        ]
        """What each process has all of."""

    # --- steps ---

    def train_epoch(self, interrupt: Interrupt) -> None:
        """The remaining steps of the current epoch; Ctrl-C stops between two."""
        self.model.train()
        progress = self.progress
        for step, batch in enumerate(self.batches.epoch(progress.epoch)):
            if step < progress.step:
                continue
            self.seed(step_seed(self.config.seed, progress.epoch, step))
            self.is_half_done = True
            loss, targets = self.step(batch, interrupt)
            progress.loss_sum += loss * targets
            progress.num_targets += targets
            progress.step = step + 1
            self.is_half_done = False
            self.monitor.step(progress.epoch, step + 1, loss, targets)
            self.save_if_due()
            self.stop(interrupt)

    def stop(self, interrupt: Interrupt) -> None:
        """Stop here if Ctrl-C was pressed, in any process before the step under way ended."""
        if not self.engine.processes.are_several:
            interrupt.check()
        elif self.must_stop:
            raise KeyboardInterrupt

    def check_interrupt(self, interrupt: Interrupt) -> None:
        """The same between epochs; all processes."""
        self.must_stop = bool(self.engine.processes.largest(interrupt.pressed))
        self.stop(interrupt)

    def seed(self, seed: int) -> None:
        """Seed what dropout and negatives are drawn by."""
        if self.engine.device.type == "cpu":
            # Without a GPU, manual_seed notes where it was called from for each GPU there might be.
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def step(self, batch: Batch, interrupt: Interrupt) -> tuple[float, int]:
        """One update of the weights; the loss and the number of targets, of all processes."""
        with self.engine.autocast():
            loss = self.objective.loss(batch)
        # A GPU is waited for here, and not again before the next loss.
        value, num_targets = float(loss.detach()), batch.num_targets
        if self.engine.processes.are_several:
            value, num_targets = self.step_of_several(loss, value, num_targets, interrupt)
        else:
            self.check(value)
            loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        # Between steps a model is copied, for validation, and moved.
        self.optimizer.zero_grad()
        if self.adjustment is not None:
            self.adjustment.update(self.progress.step + 1, len(self.batches))
        if self.average is not None:
            self.average.update()
        return value, num_targets

    def step_of_several(
        self, loss: Tensor, value: float, num_targets: int, interrupt: Interrupt
    ) -> tuple[float, int]:
        """Backward, and the gradients of all processes; the loss and the targets of all. Ctrl-C at
        one of them, and a checkpoint that is due, are for all of them after the same step."""
        loss.backward()  # type: ignore[no-untyped-call]
        told = [value, float(num_targets), float(interrupt.pressed), float(self.is_save_due)]
        value, targets, pressed, due = self.engine.agree(self.whole, told)
        self.check(value)
        self.must_stop, self.must_save = pressed > 0, due > 0
        return value, int(targets)

    def check(self, value: float) -> None:
        """Stop if the loss is no number."""
        if not math.isfinite(value):
            self.fail(value)

    def fail(self, value: float) -> None:
        """Restore the last good weights and stop."""
        progress = self.progress
        kept = "no validation had been made"
        if self.best is not None:
            self.model.load_state_dict(self.best)
            kept = f"the weights of epoch {progress.best_epoch} are kept"
        raise TrainingError(
            explain(
                f"the loss became {value} at step {progress.step + 1} of epoch "
                f"{progress.epoch + 1}; {kept}",
                fix="lower training.learning_rate, or raise retriever.temperature",
            )
        )

    # --- epochs ---

    @property
    def is_done(self) -> bool:
        """Whether all epochs are trained, or patience has run out."""
        progress = self.progress
        return progress.epoch >= self.config.epochs or progress.stale >= patience(self.config)

    def end_epoch(self, validate: Validate | None) -> None:
        """Log, validate, keep the best."""
        progress = self.progress
        self.is_half_done = True
        progress.epoch += 1
        record: dict[str, Any] = {
            "epoch": progress.epoch,
            "loss": progress.loss_sum / max(progress.num_targets, 1),
        }
        due = progress.epoch % self.config.validate_every == 0
        if validate and (due or progress.epoch == self.config.epochs):
            self.model.eval()
            self.monitor.validating()
            with nullcontext() if self.average is None else self.average.in_place():
                metrics = validate()
                self.keep_best(next(iter(metrics.values())))
            record.update(metrics)
        self.tick()
        record["seconds"] = round(progress.seconds, 2)
        progress.epochs.append(record)
        progress.step, progress.loss_sum, progress.num_targets = 0, 0.0, 0
        self.is_half_done = False
        self.monitor.epoch(record, is_best=progress.best_epoch == progress.epoch)
        if self.is_done:
            self.save()
        else:
            self.save_if_due()

    def keep_best(self, metric: float) -> None:
        """Keep a copy of the weights if the metric is the best so far."""
        if metric > self.progress.best_metric:
            self.progress.best_metric = metric
            self.progress.best_epoch = self.progress.epoch
            self.progress.stale = 0
            self.best = {
                name: tensor.detach().cpu().clone()
                for name, tensor in self.model.state_dict().items()
            }
        else:
            self.progress.stale += 1

    def finish(self, section: str, *, interrupted: bool) -> TrainResult:
        """Load the best weights into the model and summarise the run."""
        self.tick()
        out_of_patience = self.progress.stale >= patience(self.config)
        stopped = "interrupted" if interrupted else "patience" if out_of_patience else "epochs"
        if self.best is not None:
            self.model.load_state_dict(self.best)
        elif self.average is not None:
            self.average.swap()
        self.model.eval()
        progress = self.progress
        measured = self.best is not None
        return TrainResult(
            best_epoch=progress.best_epoch if measured else progress.epoch,
            best_metric=progress.best_metric if measured else None,
            epochs=progress.epochs,
            stopped=stopped,
            seconds=progress.seconds,
            warnings=training_warnings(progress, stopped, self.config, section),
        )

    # --- the checkpoint ---

    def tick(self) -> None:
        """Add the time since the last call."""
        now = time.perf_counter()
        self.progress.seconds += now - self.clock
        self.clock = now

    @property
    def is_save_due(self) -> bool:
        """Whether the last checkpoint is old, but little of the time is spent on it."""
        pause = max(CHECKPOINT_SECONDS, self.saving_seconds / CHECKPOINT_SHARE)
        is_first = self.engine.processes.is_first
        return is_first and time.perf_counter() - self.saved_at > pause

    def save_if_due(self) -> None:
        """Write the checkpoint if it is time."""
        several = self.engine.processes.are_several
        if self.must_save if several else self.is_save_due:
            self.save()

    def save(self) -> None:
        """Write the checkpoint, if there is a folder for it."""
        if self.checkpoint is None:
            return
        self.tick()
        start = time.perf_counter()
        save_checkpoint(
            self.checkpoint,
            self.state(),
            progress=self.progress,
            fingerprint=self.fingerprint,
            shards=self.shards_of_state(),
            processes=self.engine.processes,
        )
        self.saved_at = time.perf_counter()
        self.saving_seconds = self.saved_at - start

    def state(self) -> dict[str, dict[str, Tensor]]:
        """All tensors of the run."""
        states = {"weights": self.model.state_dict(), "optimizer": self.optimizer.state_tensors()}
        if self.best is not None:
            states["best"] = self.best
        if self.average is not None:
            states["average"] = self.average.state_tensors()
        if self.adjustment is not None:
            states["adjustment"] = self.adjustment.state_tensors()
        return states

    def shards_of_state(self) -> dict[str, Shards]:
        """Those of `state` of which this process has some rows, as "PART/NAME"."""
        shards = {name: table.shards for name, table in self.shards.items()}
        found = {
            f"{part}/{n}": s for part in ("weights", "best", "average") for n, s in shards.items()
        }
        tables = {table.weight: table.shards for table in self.shards.values()}
        for place, parameter in enumerate(self.optimizer.parameters()):
            if parameter in tables:
                for name in ("mean", "square", "squares"):
                    found[f"optimizer/{place}.{name}"] = tables[parameter]
        if self.adjustment is not None:
            users_and_items = list(shards.values())[:2]
            found.update(
                zip(("adjustment/users", "adjustment/items"), users_and_items, strict=False)
            )
        return found

    def restore(self) -> None:
        """Go back to the checkpoint, if there is one."""
        if self.checkpoint is None:
            return
        found = load_checkpoint(
            self.checkpoint,
            fingerprint=self.fingerprint,
            shards=self.shards_of_state(),
            processes=self.engine.processes,
        )
        if found is None:
            return
        self.progress, self.best = found.progress, found.states.get("best")
        self.model.load_state_dict(found.states["weights"])
        self.optimizer.load_state_tensors(found.states.get("optimizer", {}))
        if self.average is not None and "average" in found.states:
            self.average.load_state_tensors(found.states["average"])
        if self.adjustment is not None and "adjustment" in found.states:
            self.adjustment.load_state_tensors(found.states["adjustment"])
        progress = found.progress
        self.monitor.resumed(progress.epoch, progress.step, progress.best_epoch)


def step_seed(seed: int, epoch: int, step: int) -> int:
    """The seed of all randomness in a step, so that a resumed step draws what it would have."""
    return int(np.random.SeedSequence((seed, epoch, step)).generate_state(1)[0])


def parameter_groups(model: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """Embedding tables and layers, each with its learning rate; biases and temperatures do not
    decay."""
    tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding)]
    is_table = {id(table) for table in tables}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in is_table]
    rate, decay = config.layer_learning_rate, config.weight_decay
    return [
        {
            "params": tables,
            "lr": table_rate(config),
            "weight_decay": decay,
            "rowwise": config.table_optimizer == "rowwise_adagrad",
        },
        {"params": [p for p in others if p.ndim > 1], "lr": rate, "weight_decay": decay},
        {"params": [p for p in others if p.ndim <= 1], "lr": rate, "weight_decay": 0.0},
    ]


def table_rate(config: TrainingConfig) -> float:
    """The learning rate of the tables; the caller has replaced "auto" where it knows a better one
    than that of much data."""
    if config.learning_rate != "auto":
        return config.learning_rate
    return ROWWISE_RATE if config.table_optimizer == "rowwise_adagrad" else TABLE_RATE


def patience(config: TrainingConfig) -> int:
    """How many validations without an improvement end the training; the caller has replaced "auto"
    where it knows better."""
    return PATIENCE if config.patience == "auto" else config.patience
