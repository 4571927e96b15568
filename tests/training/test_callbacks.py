"""What callbacks are given, and what happens when one of them fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from tests.training.test_trainer import CPU, Pairs, Regression, config
from twotower.training.callbacks import Callbacks, EpochRecord, LearningCurve, StepRecord
from twotower.training.checkpoint import load_checkpoint
from twotower.training.monitor import Monitor
from twotower.training.trainer import TrainResult, train


class Recorder:
    """Not a subclass of Callback."""

    def __init__(self) -> None:
        self.steps: list[StepRecord] = []
        self.epochs: list[EpochRecord] = []
        self.results: list[TrainResult] = []

    def on_step(self, record: StepRecord) -> None:
        self.steps.append(record)

    def on_epoch(self, record: EpochRecord) -> None:
        self.epochs.append(record)

    def on_end(self, result: TrainResult) -> None:
        self.results.append(result)


def metrics(values: list[float]) -> Callable[[], dict[str, float]]:
    left = iter(values)
    return lambda: {"ndcg@20": next(left)}


def run(callbacks: Callbacks, **changes: Any) -> tuple[Regression, TrainResult]:
    objective = Regression()
    validate = metrics([0.1, 0.3, 0.2])
    result = train(
        objective,
        Pairs(),
        config(epochs=3, **changes),
        engine=CPU,
        validate=validate,
        monitor=callbacks,
    )
    callbacks.end(result)
    return objective, result


def test_each_step_and_epoch_is_reported_and_the_end() -> None:
    seen = Recorder()
    objective, result = run(Callbacks([seen]))
    assert [(r.epoch, r.step, r.loss, r.num_targets) for r in seen.steps] == [
        (1 + number // 5, 1 + number % 5, loss, 4) for number, loss in enumerate(objective.losses)
    ]
    assert [(r.epoch, dict(r.metrics), r.is_best) for r in seen.epochs] == [
        (1, {"ndcg@20": 0.1}, True),
        (2, {"ndcg@20": 0.3}, True),
        (3, {"ndcg@20": 0.2}, False),
    ]
    assert [r.loss for r in seen.epochs] == pytest.approx(
        [sum(objective.losses[n : n + 5]) / 5 for n in (0, 5, 10)]
    )
    assert [r.seconds for r in seen.epochs] == sorted(r.seconds for r in seen.epochs)
    assert seen.results == [result]


def test_an_object_with_one_of_the_methods_is_a_callback() -> None:
    class Ends:
        result: TrainResult | None = None

        def on_end(self, result: TrainResult) -> None:
            self.result = result

    ends = Ends()
    _, result = run(Callbacks([ends]))
    assert ends.result is result


class Misspelt:
    def on_epoch_end(self) -> None: ...


@pytest.mark.parametrize(
    ("follower", "expected"),
    [
        (
            Misspelt(),
            "a callback needs one of the methods on_step, on_epoch, on_end, and this Misspelt has "
            "none of them: 'on_epoch_end', did you mean 'on_epoch'?",
        ),
        (
            object(),
            "a callback needs one of the methods on_step, on_epoch, on_end, and this object has "
            "none of them.",
        ),
    ],
)
def test_an_object_with_none_of_the_methods_is_refused(follower: object, expected: str) -> None:
    with pytest.raises(TypeError) as caught:
        Callbacks([LearningCurve(), follower])
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("hook", "call", "trained"), [("on_step", 7, 7), ("on_epoch", 2, 10), ("on_end", 1, 15)]
)
def test_a_callback_that_fails_ends_training_and_none_is_called_again(
    hook: str, call: int, trained: int
) -> None:
    calls = []

    class Fails:
        pass

    def method(_: object) -> None:
        calls.append(hook)
        if len(calls) == call:
            raise ValueError("no")

    follower, after = Fails(), Recorder()
    setattr(follower, hook, method)
    callbacks = Callbacks([follower, after])
    objective, _ = run(callbacks)
    assert len(objective.losses) == trained
    assert callbacks.failure is not None
    assert callbacks.failure.where == f"Fails.{hook}"
    assert repr(callbacks.failure.error) == "ValueError('no')"
    assert len(calls) == call
    assert (len(after.steps), len(after.epochs), len(after.results)) == {
        "on_step": (6, 1, 0),
        "on_epoch": (10, 1, 0),
        "on_end": (15, 3, 0),
    }[hook]


def test_after_a_failure_the_model_has_the_best_weights() -> None:
    class Fails:
        def on_step(self, record: StepRecord) -> None:
            if (record.epoch, record.step) == (3, 2):
                raise ValueError("no")

    class Keeps:
        weights: torch.Tensor

        def on_epoch(self, record: EpochRecord) -> None:
            if record.is_best:
                self.weights = objective.model[0].weight.detach().clone()  # type: ignore[index]

    objective, keeps = Regression(), Keeps()
    result = train(
        objective,
        Pairs(),
        config(epochs=3),
        engine=CPU,
        validate=metrics([0.1, 0.3]),
        monitor=Callbacks([keeps, Fails()]),
    )
    assert (result.stopped, result.best_epoch) == ("interrupted", 2)
    assert torch.equal(objective.model[0].weight, keeps.weights)  # type: ignore[index]


def test_a_run_that_a_callback_ended_resumes_from_the_epoch_before(tmp_path: Path) -> None:
    class Fails:
        def on_epoch(self, record: EpochRecord) -> None:
            raise ValueError("no")

    straight = Regression()
    train(straight, Pairs(), config(epochs=3), engine=CPU)
    first, second = Regression(), Regression()
    folder = tmp_path / "checkpoint"
    train(
        first,
        Pairs(),
        config(epochs=3),
        engine=CPU,
        checkpoint=folder,
        monitor=Callbacks([Fails()]),
    )
    found = load_checkpoint(folder, fingerprint="")
    assert found is not None
    assert (found.progress.epoch, found.progress.step) == (1, 0)
    train(second, Pairs(), config(epochs=3), engine=CPU, checkpoint=folder, resume=True)
    assert first.losses + second.losses == straight.losses


def test_a_callback_may_be_interrupted_by_ctrl_c() -> None:
    class Presses:
        def on_step(self, record: StepRecord) -> None:
            if record.step == 3:
                raise KeyboardInterrupt

    callbacks = Callbacks([Presses()])
    objective, result = run(callbacks)
    assert (result.stopped, len(objective.losses), callbacks.failure) == ("interrupted", 3, None)


def test_the_learning_curve_is_a_frame() -> None:
    curve = LearningCurve()
    objective, result = run(Callbacks([curve]), validate_every=2)
    assert curve.result is result
    frame = curve.to_frame()
    assert_frame_equal(
        frame.drop("loss", "seconds"),
        pl.DataFrame(
            {"epoch": [1, 2, 3], "ndcg@20": [None, 0.1, 0.3], "is_best": [False, True, True]}
        ),
    )
    assert frame.columns == ["epoch", "loss", "ndcg@20", "seconds", "is_best"]
    assert frame["loss"][0] == pytest.approx(sum(objective.losses[:5]) / 5)
    assert repr(curve) == "LearningCurve(3 epochs)"
    assert curve._repr_html_() == frame._repr_html_()


def test_a_learning_curve_holds_the_last_run() -> None:
    curve = LearningCurve()
    assert curve.to_frame().shape == (0, 4)
    run(Callbacks([curve]))
    run(Callbacks([curve]))
    assert curve.to_frame()["epoch"].to_list() == [1, 2, 3]


def test_the_display_is_closed_when_training_fails() -> None:
    stopped = []

    class Display(Monitor):
        def stop(self) -> None:
            stopped.append(True)

    def validate() -> dict[str, float]:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        train(Regression(), Pairs(), config(), engine=CPU, validate=validate, monitor=Display())
    assert stopped == [True]
