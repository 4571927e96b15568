"""What a run says of the time that is left, and how wide a log is."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from twotower.training.monitor import ConsoleMonitor, duration


def monitor(*, epochs: int = 100, patience: int | None = 5) -> ConsoleMonitor:
    made = ConsoleMonitor(Console(file=StringIO(), width=200))
    made.start(epochs=epochs, steps=10, patience=patience)
    return made


def test_the_time_left_follows_early_stopping() -> None:
    watched = monitor()
    watched.epoch({"epoch": 1, "loss": 2.0, "ndcg@20": 0.1}, is_best=True)
    watched.epoch({"epoch": 2, "loss": 1.0, "ndcg@20": 0.2}, is_best=True)
    watched.epoch({"epoch": 3, "loss": 0.5, "ndcg@20": 0.1}, is_best=False)
    # 3 epochs in 30 s, validation included; the best was epoch 2, so that 7 is the last.
    assert watched.last_epoch == 7
    assert watched.time_left(3, elapsed=30.0) == (
        " · 40 s left if no later epoch is better, then it stops at epoch 7; at most 16 min"
    )
    assert watched.time_left(7, elapsed=70.0) == ""


def test_the_time_left_without_validation_is_that_of_all_epochs() -> None:
    watched = monitor(epochs=8, patience=None)
    watched.epoch({"epoch": 1, "loss": 2.0}, is_best=False)
    assert watched.last_epoch == 8
    assert watched.time_left(1, elapsed=2.0) == " · 14 s left"
    assert monitor(epochs=3).time_left(1, elapsed=2.0) == " · 4 s left"


def test_a_resumed_run_is_timed_by_its_own_epochs() -> None:
    watched = monitor()
    watched.resumed(40, 3, 38)
    watched.epoch({"epoch": 41, "loss": 2.0, "ndcg@20": 0.1}, is_best=False)
    assert watched.time_left(41, elapsed=10.0) == (
        " · 20 s left if no later epoch is better, then it stops at epoch 43; at most 590 s"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (599.0, "599 s"), (1_200.0, "20 min"), (38_910.0, "11 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_before_the_first_epoch_ends_its_own_end_is_named() -> None:
    written = StringIO()
    watched = ConsoleMonitor(Console(file=written, width=200))
    watched.start(epochs=100, steps=1_000, patience=5)
    watched.step(0, 1, 2.0, 100)
    watched.since -= 40
    assert written.getvalue() == ""
    watched.step(0, 100, 2.0, 100)
    line = written.getvalue()
    assert line.startswith("training: step 100 of 1,000 · loss 2.0000 · 5 examples/s · 3")
    assert line.endswith("s left in this epoch; at most 100 epochs\n")
    # 100 steps in 40 s, and 900 to come.
    assert 360 <= float(line.split(" s left")[0].split()[-1]) < 370
    watched.step(0, 101, 2.0, 100)
    assert written.getvalue() == line  # the next one comes after twice the time
    watched.epoch({"epoch": 1, "loss": 2.0, "ndcg@20": 0.1}, is_best=True)
    watched.since -= 1_000
    watched.step(1, 1, 2.0, 100)
    assert "left in this epoch" not in written.getvalue().removeprefix(line)
