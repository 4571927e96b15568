"""What a person sees of a training run, and what is logged of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

LOSS_SMOOTHING = 0.98
"""Weight of the past in the loss that is shown."""


class Monitor:
    """Shows nothing and logs nothing; the base of those that do."""

    def start(self, *, epochs: int, steps: int) -> None:
        """Training begins: at most `epochs` of `steps` steps."""

    def resumed(self, epoch: int, step: int) -> None:
        """Training goes on after `epoch` epochs and `step` steps."""

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
    elsewhere; a JSON line an epoch in a log file."""

    def __init__(
        self, console: Console, *, log: Path | None = None, title: str = "training"
    ) -> None:
        self.console = console
        self.log = log
        self.title = title
        self.steps = self.epochs = 1
        self.loss: float | None = None
        self.metric = ""
        self.targets = 0
        self.since = time.perf_counter()
        self.bar: Progress | None = None
        self.task = TaskID(0)

    def start(self, *, epochs: int, steps: int) -> None:
        """See `Monitor`."""
        self.epochs, self.steps = epochs, steps
        self.since, self.targets, self.loss = time.perf_counter(), 0, None
        if self.console.is_terminal:
            self.bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[figures]}"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self.task = self.bar.add_task(self.title, total=steps * epochs, figures="")
            self.bar.start()

    def resumed(self, epoch: int, step: int) -> None:
        """See `Monitor`."""
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
                description=f"{self.title}, epoch {epoch + 1} of at most {self.epochs}",
                figures=f"loss {self.loss:.4f}{self.metric} · {rate:,.0f} examples/s",
            )

    def validating(self) -> None:
        """See `Monitor`."""
        if self.bar:
            self.bar.update(self.task, description=f"{self.title}, validating")

    def epoch(self, entry: dict[str, Any], *, is_best: bool) -> None:
        """See `Monitor`."""
        elapsed = time.perf_counter() - self.since
        rate = self.targets / max(elapsed, 1e-9)
        left = elapsed / entry["epoch"] * (self.epochs - entry["epoch"])
        self.metric = "".join(
            f" · {name} {value:.4f}"
            for name, value in entry.items()
            if name not in ("epoch", "loss", "seconds")
        )
        if not self.bar:
            self.console.print(
                f"{self.title}: epoch {entry['epoch']:>3} · loss {entry['loss']:.4f}{self.metric}"
                f"{' (best)' if is_best else ''} · {rate:,.0f} examples/s · at most {left:,.0f} s "
                "left",
                highlight=False,
            )
        if self.log:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"stage": self.title, **entry, "best": is_best}) + "\n")

    def stop(self) -> None:
        """See `Monitor`."""
        if self.bar:
            self.bar.stop()
            self.bar = None
