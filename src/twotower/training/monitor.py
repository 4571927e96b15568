"""What a person sees of a training run, and what is logged of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

LOSS_SMOOTHING = 0.98
"""Weight of the past in the loss that is shown."""
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

    def epoch(self, entry: dict[str, Any], *, is_best: bool) -> None:
        """An epoch is done, `entry` is what is known of it."""

    def stop(self) -> None:
        """Training has ended."""


class ConsoleMonitor(Monitor):
    """A progress bar with loss, metric, examples/s and time left on a terminal, plain lines
    elsewhere; a JSON line an epoch in a log file.

    Rates and times count validation. The end that the bar runs towards is the epoch at which
    early stopping ends training if validation gets no better; it moves with each better epoch.
    """

    def __init__(
        self, console: Console, *, log: Path | None = None, title: str = "training"
    ) -> None:
        self.console = console
        self.log = log
        self.title = title
        self.steps = self.epochs = 1
        self.patience: int | None = None
        self.first_epoch = self.best_epoch = 0
        self.loss: float | None = None
        self.metric = self.left = ""
        self.targets = 0
        self.since = time.perf_counter()
        self.bar: Progress | None = None
        self.task = TaskID(0)

    def start(self, *, epochs: int, steps: int, patience: int | None = None) -> None:
        """See `Monitor`."""
        self.epochs, self.steps, self.patience = epochs, steps, patience
        self.first_epoch = self.best_epoch = 0
        self.since, self.targets, self.loss = time.perf_counter(), 0, None
        self.metric = self.left = ""
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

    @property
    def last_epoch(self) -> int:
        """The epoch that training ends with if validation gets no better."""
        if self.patience is None:
            return self.epochs
        return min(self.epochs, self.best_epoch + self.patience)

    def resumed(self, epoch: int, step: int, best_epoch: int) -> None:
        """See `Monitor`."""
        self.first_epoch, self.best_epoch = epoch, best_epoch
        self.console.print(f"{self.title}: resuming after epoch {epoch}, step {step}")

    def step(self, epoch: int, step: int, loss: float, targets: int) -> None:
        """See `Monitor`."""
        self.targets += targets
        if self.loss is None:
            self.loss = loss
        self.loss = LOSS_SMOOTHING * self.loss + (1 - LOSS_SMOOTHING) * loss
        if self.bar:
            rate = self.targets / max(time.perf_counter() - self.since, 1e-9)
            self.bar.update(
                self.task,
                completed=epoch * self.steps + step,
                total=self.steps * self.last_epoch,
                description=f"{self.title}, epoch {epoch + 1} of at most {self.epochs}",
                figures=f"loss {self.loss:.4f}{self.metric} · {rate:,.0f} examples/s{self.left}",
            )

    def validating(self) -> None:
        """See `Monitor`."""
        if self.bar:
            self.bar.update(self.task, description=f"{self.title}, validating")

    def epoch(self, entry: dict[str, Any], *, is_best: bool) -> None:
        """See `Monitor`."""
        elapsed = time.perf_counter() - self.since
        rate = self.targets / max(elapsed, 1e-9)
        if is_best:
            self.best_epoch = entry["epoch"]
        self.left = self.time_left(entry["epoch"], elapsed)
        self.metric = "".join(
            f" · {name} {value:.4f}"
            for name, value in entry.items()
            if name not in ("epoch", "loss", "seconds")
        )
        if not self.bar:
            self.console.print(
                f"{self.title}: epoch {entry['epoch']:>3} · loss {entry['loss']:.4f}{self.metric}"
                f"{' (best)' if is_best else ''} · {rate:,.0f} examples/s{self.left}",
                highlight=False,
            )
        if self.log:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"stage": self.title, **entry, "best": is_best}) + "\n")

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

    def stop(self) -> None:
        """See `Monitor`."""
        if self.bar:
            self.bar.stop()
            self.bar = None


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 600:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 36_000 else f"{seconds / 3600:,.0f} h"
