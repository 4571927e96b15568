"""The progress of a training run: on a terminal, as lines, in a log file."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

LOSS_SMOOTHING = 0.98
"""Weight of the past in the running mean of the loss that is shown."""
FIRST_LINE_SECONDS = 30.0
"""Where there is no terminal, a line after so many seconds of the first epoch, then after twice as
many, and so on."""
LOG_WIDTH = 10_000
"""Columns of a console that is not a terminal: lines and tables of a log are neither wrapped nor
cut."""


def open_console(*, stderr: bool = False) -> Console:
    """Standard output or standard error, as wide as the terminal; a file or a pipe gets whole
    lines."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=LOG_WIDTH)


class Monitor:
    """Shows nothing and logs nothing; the base of those that do."""

    def start(self, *, epochs: int, steps: int, patience: int | None = None) -> None:
        """Training begins: at most `epochs` of `steps` steps; it stops after `patience` epochs
        without a better validation, None without validation."""

    def resumed(self, epoch: int, step: int, best_epoch: int) -> None:
        """Training goes on after `epoch` epochs and `step` steps; the best epoch so far was
        `best_epoch`, 0 for none."""

    def step(self, epoch: int, step: int, loss: float, targets: int) -> None:
        """Step `step` (from 1) of epoch `epoch` (from 0) is done."""

    def validating(self) -> None:
        """The epoch's steps are done, validation begins."""

    def epoch(self, record: dict[str, Any], *, is_best: bool) -> None:
        """An epoch is done: its number (from 1), mean loss, validation metrics, and the seconds
        since training began."""

    def stop(self) -> None:
        """Training has ended."""


class ProgressMonitor(Monitor):
    """Keeps what a progress display shows: loss, validation metrics, examples/s and time left.

    Rates and times count validation. The end that the display runs towards is the epoch at which
    early stopping ends training if validation gets no better; it moves with each better epoch.
    """

    def __init__(self, title: str = "training") -> None:
        self.title = title
        self.steps = self.epochs = 1
        self.patience: int | None = None
        self.first_epoch = self.best_epoch = 0
        self.loss: float | None = None
        self.metric = self.left = ""
        self.targets = 0
        self.since = time.perf_counter()
        self.first_step: int | None = None
        self.has_pace = False

    def start(self, *, epochs: int, steps: int, patience: int | None = None) -> None:
        """See `Monitor`."""
        self.epochs, self.steps, self.patience = epochs, steps, patience
        self.first_epoch = self.best_epoch = 0
        self.since, self.targets, self.loss = time.perf_counter(), 0, None
        self.first_step, self.has_pace = None, False
        self.metric = self.left = ""

    @property
    def last_epoch(self) -> int:
        """The epoch that training ends with if validation gets no better."""
        if self.patience is None:
            return self.epochs
        return min(self.epochs, self.best_epoch + self.patience)

    def resumed(self, epoch: int, step: int, best_epoch: int) -> None:
        """See `Monitor`."""
        self.first_epoch, self.best_epoch = epoch, best_epoch

    def step(self, epoch: int, step: int, loss: float, targets: int) -> None:
        """See `Monitor`."""
        self.targets += targets
        if self.first_step is None:
            self.first_step = step - 1
        if not self.has_pace:
            # How long validation takes, and so the whole, is not known before the first epoch ends.
            pace = (time.perf_counter() - self.since) / (step - self.first_step)
            self.left = f" · {duration(pace * (self.steps - step))} left in this epoch"
        if self.loss is None:
            self.loss = loss
        self.loss = LOSS_SMOOTHING * self.loss + (1 - LOSS_SMOOTHING) * loss

    def epoch(self, record: dict[str, Any], *, is_best: bool) -> None:
        """See `Monitor`."""
        if is_best:
            self.best_epoch = record["epoch"]
        elapsed = time.perf_counter() - self.since
        self.has_pace = True
        self.left = self.time_left(record["epoch"], elapsed)
        self.metric = "".join(
            f" · {name} {value:.4f}"
            for name, value in record.items()
            if name not in ("epoch", "loss", "seconds")
        )

    def rate(self) -> str:
        """Examples a second since the start."""
        elapsed = time.perf_counter() - self.since
        return f"{self.targets / max(elapsed, 1e-9):,.0f} examples/s"

    def description(self, epoch: int) -> str:
        """What is going on in epoch `epoch` (from 0)."""
        return f"{self.title}, epoch {epoch + 1} of at most {self.epochs}"

    def figures(self) -> str:
        """Loss, metrics, rate and time left."""
        loss = 0.0 if self.loss is None else self.loss
        return f"loss {loss:.4f}{self.metric} · {self.rate()}{self.left}"

    def time_left(self, epoch: int, elapsed: float) -> str:
        """What is left after `epoch` epochs, at the pace of this run so far; empty at the end."""
        pace = elapsed / max(epoch - self.first_epoch, 1)
        soonest, latest = (max(end - epoch, 0) * pace for end in (self.last_epoch, self.epochs))
        if not soonest:
            return ""
        if self.last_epoch == self.epochs:
            return f" · {duration(soonest)} left"
        return (
            f" · {duration(soonest)} left if no later epoch is better, then it stops at epoch "
            f"{self.last_epoch}; at most {duration(latest)}"
        )


class ConsoleMonitor(ProgressMonitor):
    """A progress bar on a terminal; elsewhere a line an epoch, and some in the first one if it is
    long; a JSON line an epoch in a log file."""

    def __init__(
        self, console: Console, *, log: Path | None = None, title: str = "training"
    ) -> None:
        super().__init__(title)
        self.console = console
        self.log = log
        self.bar: Progress | None = None
        self.task = TaskID(0)
        self.next_line = FIRST_LINE_SECONDS

    def start(self, *, epochs: int, steps: int, patience: int | None = None) -> None:
        """See `Monitor`."""
        super().start(epochs=epochs, steps=steps, patience=patience)
        self.next_line = FIRST_LINE_SECONDS
        if self.console.is_terminal:
            self.bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[figures]}"),
                console=self.console,
                transient=True,
            )
            self.task = self.bar.add_task(self.title, total=steps * self.last_epoch, figures="")
            self.bar.start()

    def resumed(self, epoch: int, step: int, best_epoch: int) -> None:
        """See `Monitor`."""
        super().resumed(epoch, step, best_epoch)
        self.console.print(f"{self.title}: resuming after epoch {epoch}, step {step}")

    def step(self, epoch: int, step: int, loss: float, targets: int) -> None:
        """See `Monitor`."""
        super().step(epoch, step, loss, targets)
        if self.bar:
            self.bar.update(
                self.task,
                completed=epoch * self.steps + step,
                total=self.steps * self.last_epoch,
                description=self.description(epoch),
                figures=self.figures(),
            )
        elif not self.has_pace and time.perf_counter() - self.since > self.next_line:
            self.next_line *= 2
            self.console.print(
                f"{self.title}: step {step:,} of {self.steps:,} · {self.figures()}; at most "
                f"{self.epochs} epochs",
                highlight=False,
            )

    def validating(self) -> None:
        """See `Monitor`."""
        if self.bar:
            self.bar.update(self.task, description=f"{self.title}, validating")

    def epoch(self, record: dict[str, Any], *, is_best: bool) -> None:
        """See `Monitor`."""
        super().epoch(record, is_best=is_best)
        if not self.bar:
            self.console.print(
                f"{self.title}: epoch {record['epoch']:>3} · loss {record['loss']:.4f}"
                f"{self.metric}{' (best)' if is_best else ''} · {self.rate()}{self.left}",
                highlight=False,
            )
        if self.log:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"stage": self.title, **record, "best": is_best}) + "\n")

    def stop(self) -> None:
        """See `Monitor`."""
        if self.bar:
            self.bar.stop()
            self.bar = None


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds < 600:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 36_000 else f"{seconds / 3600:,.0f} h"
