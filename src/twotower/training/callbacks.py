"""Callbacks: what the caller's own code hears of a training run, and the learning curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from twotower.errors import TrainingError, explain, nearest
from twotower.training.interrupt import StopTraining
from twotower.training.monitor import Monitor
from twotower.training.trainer import TrainResult

NOT_METRICS: Final = ("epoch", "loss", "seconds")


@dataclass(frozen=True)
class StepRecord:
    """One step of training.

    Attributes:
        epoch: from 1.
        step: from 1 in each epoch.
        loss: the mean over the batch's targets.
        num_targets: of the batch.
    """

    epoch: int
    step: int
    loss: float
    num_targets: int


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of training.

    Attributes:
        epoch: from 1.
        loss: the mean over the epoch's targets.
        metrics: of validation, such as `ndcg@20`; empty where the epoch was not validated.
        seconds: since training began, validation included.
        is_best: whether validation was better than after any epoch before.
    """

    epoch: int
    loss: float
    metrics: Mapping[str, float]
    seconds: float
    is_best: bool


class Callback:
    """Follows a training run; override what you need.

    `fit` takes any object with some of these methods; it need not be a subclass. They return
    nothing. If one raises an exception, training ends: see `CallbackError`.

    >>> class Print(tt.Callback):
    ...     def on_epoch(self, record):
    ...         print("epoch", record.epoch, sorted(record.metrics))
    >>> model = tt.fit(
    ...     tt.TwoTower(schema=data.schema), train, validation, epochs=1, callbacks=[Print()]
    ... )
    epoch 1 ['ndcg@20', 'recall@20']
    """

    def on_step(self, record: StepRecord) -> None:
        """A step is done."""

    def on_epoch(self, record: EpochRecord) -> None:
        """An epoch is done and, where it is due, validated."""

    def on_end(self, result: TrainResult) -> None:
        """Training has ended, the model holds the best weights."""


HOOKS: Final = ("on_step", "on_epoch", "on_end")


class LearningCurve(Callback):
    """Loss and validation metrics of each epoch of the last `fit` that it was given to.

    >>> curve = tt.LearningCurve()
    >>> model = tt.fit(
    ...     tt.TwoTower(schema=data.schema), train, validation, epochs=2, callbacks=[curve]
    ... )
    >>> curve.to_frame().columns
    ['epoch', 'loss', 'ndcg@20', 'recall@20', 'seconds', 'is_best']
    >>> curve.result.best_epoch in (1, 2)
    True

    Attributes:
        records: one an epoch.
        result: how training ended; None before that.
    """

    def __init__(self) -> None:
        self.records: list[EpochRecord] = []
        self.result: TrainResult | None = None

    def on_epoch(self, record: EpochRecord) -> None:
        """See `Callback`."""
        if self.records and record.epoch <= self.records[-1].epoch:
            self.records, self.result = [], None  # another run
        self.records.append(record)

    def on_end(self, result: TrainResult) -> None:
        """See `Callback`."""
        self.result = result

    def to_frame(self) -> pl.DataFrame:
        """A row an epoch: `epoch`, `loss`, the metrics (null where it was not validated),
        `seconds`, `is_best`."""
        names = dict.fromkeys(name for record in self.records for name in record.metrics)
        columns: dict[str, tuple[Any, list[Any]]] = {
            "epoch": (pl.Int64, [record.epoch for record in self.records]),
            "loss": (pl.Float64, [record.loss for record in self.records]),
            **{n: (pl.Float64, [r.metrics.get(n) for r in self.records]) for n in names},
            "seconds": (pl.Float64, [record.seconds for record in self.records]),
            "is_best": (pl.Boolean, [record.is_best for record in self.records]),
        }
        return pl.DataFrame(
            [pl.Series(name, values, dtype=dtype) for name, (dtype, values) in columns.items()]
        )

    def __repr__(self) -> str:
        return f"LearningCurve({len(self.records)} epochs)"

    def _repr_html_(self) -> str:
        return str(self.to_frame()._repr_html_())


@dataclass(frozen=True)
class Failure:
    """An exception in a callback.

    Attributes:
        where: class and method, such as "Plot.on_epoch".
        error: what it raised.
    """

    where: str
    error: Exception


class CallbackError(TrainingError):
    """A callback raised an exception, which is this error's `__cause__`; training has ended.

    >>> def fail(record):
    ...     raise ValueError("the disk is full")
    >>> watcher = type("Watcher", (), {"on_epoch": staticmethod(fail)})()
    >>> try:
    ...     tt.fit(tt.TwoTower(schema=data.schema), train, validation, callbacks=[watcher])
    ... except tt.CallbackError as error:
    ...     print(error)
    ...     model = error.model
    Watcher.on_epoch raised ValueError: the disk is full; training has ended, and this error's
    'model' has the weights of epoch 1. Fix: correct the callback.

    Attributes:
        model: what `fit` would have returned, with the best weights so far.
        result: how training ended.
    """

    def __init__(self, failure: Failure, result: TrainResult, model: Any) -> None:
        error = failure.error
        super().__init__(
            explain(
                f"{failure.where} raised {type(error).__name__}: {error}; training has ended, and "
                f"this error's 'model' has the weights of epoch {result.best_epoch}",
                fix="correct the callback",
            )
        )
        self.model = model
        self.result = result


@dataclass
class Callbacks(Monitor):
    """Passes on what happens: to a monitor, then to each callback.

    Attributes:
        followers: objects with some of the methods of `Callback`.
        shown: the progress display.
        failure: the first exception of a callback; after it none is called any more.
    """

    followers: Sequence[object]
    shown: Monitor = field(default_factory=Monitor)
    failure: Failure | None = None

    def __post_init__(self) -> None:
        for follower in self.followers:
            if not any(callable(getattr(follower, hook, None)) for hook in HOOKS):
                raise TypeError(no_hooks(follower))
        self.wants_steps = any(hasattr(follower, "on_step") for follower in self.followers)

    def start(self, *, epochs: int, steps: int, patience: int | None = None) -> None:
        """See `Monitor`."""
        self.shown.start(epochs=epochs, steps=steps, patience=patience)

    def resumed(self, epoch: int, step: int, best_epoch: int) -> None:
        """See `Monitor`."""
        self.shown.resumed(epoch, step, best_epoch)

    def step(self, epoch: int, step: int, loss: float, targets: int) -> None:
        """See `Monitor`."""
        self.shown.step(epoch, step, loss, targets)
        if self.wants_steps:
            self.call("on_step", StepRecord(epoch + 1, step, loss, targets))

    def validating(self) -> None:
        """See `Monitor`."""
        self.shown.validating()

    def epoch(self, record: dict[str, Any], *, is_best: bool) -> None:
        """See `Monitor`."""
        self.shown.epoch(record, is_best=is_best)
        metrics = {name: value for name, value in record.items() if name not in NOT_METRICS}
        self.call(
            "on_epoch",
            EpochRecord(record["epoch"], record["loss"], metrics, record["seconds"], is_best),
        )

    def stop(self) -> None:
        """See `Monitor`."""
        self.shown.stop()

    def end(self, result: TrainResult) -> None:
        """Call `on_end`, unless a callback has failed."""
        if self.failure is None:
            with suppress(StopTraining):
                self.call("on_end", result)

    def call(self, hook: str, record: object) -> None:
        """Call a method of each callback that has it.

        Raises:
            StopTraining: one of them failed.
        """
        for follower in self.followers:
            method = getattr(follower, hook, None)
            if method is None:
                continue
            try:
                method(record)
            except Exception as error:
                self.failure = Failure(f"{type(follower).__name__}.{hook}", error)
                raise StopTraining from error


def no_hooks(follower: object) -> str:
    """The text on an object that is not a callback."""
    methods = [name for name in dir(follower) if not name.startswith("_")]
    near = next((f" {name!r}{hint}" for name in methods if (hint := nearest(name, HOOKS))), "")
    return explain(
        f"a callback needs one of the methods {', '.join(HOOKS)}, and this "
        f"{type(follower).__name__} has none of them{':' + near if near else ''}"
    )
