"""The progress of a training run in a Jupyter notebook."""

from __future__ import annotations

import html
import time
from typing import Any

from twotower.training.monitor import ConsoleMonitor, Monitor, ProgressMonitor, open_console

REFRESH_SECONDS = 0.25
"""Between two updates of the display, so that a fast run does not flood the browser."""


def progress_monitor(progress: bool | None = None, *, title: str = "training") -> Monitor:
    """The display that suits where a program runs.

    Args:
        progress: whether there is one; None: on a terminal and in a notebook. Elsewhere True prints
            a line an epoch to standard error.
        title: what is trained.
    """
    console = open_console(stderr=True)
    if progress is None:
        progress = console.is_terminal or console.is_jupyter
    if not progress:
        return Monitor()
    if console.is_jupyter:
        return NotebookMonitor(title)
    return ConsoleMonitor(console, title=title)


class NotebookMonitor(ProgressMonitor):
    """One line that changes in place: a progress bar and figures; when training has ended, the best
    epoch. It needs IPython, as every notebook has it, and no widgets."""

    def __init__(self, title: str = "training") -> None:
        super().__init__(title)
        self.handle: Any = None
        self.shown_at = 0.0
        self.best: dict[str, Any] = {}
        self.last: dict[str, Any] = {}

    def start(self, *, epochs: int, steps: int, patience: int | None = None) -> None:
        """See `Monitor`."""
        from IPython.display import display  # noqa: PLC0415 - only notebooks have it

        super().start(epochs=epochs, steps=steps, patience=patience)
        self.handle = display(self.content(0, self.title), display_id=True)

    def step(self, epoch: int, step: int, loss: float, targets: int) -> None:
        """See `Monitor`."""
        super().step(epoch, step, loss, targets)
        if time.perf_counter() - self.shown_at > REFRESH_SECONDS:
            done = epoch * self.steps + step
            self.show(self.content(done, f"{self.description(epoch)} · {self.figures()}"))

    def epoch(self, record: dict[str, Any], *, is_best: bool) -> None:
        """See `Monitor`."""
        super().epoch(record, is_best=is_best)
        self.last = record
        if is_best:
            self.best = record

    def stop(self) -> None:
        """See `Monitor`."""
        kept = self.best or self.last
        if not kept:
            return
        metrics = "".join(
            f" · {name} {value:.4f}"
            for name, value in kept.items()
            if name not in ("epoch", "loss", "seconds")
        )
        self.show(
            as_html(
                f"{self.title}: {self.last['epoch']} epochs in {self.last['seconds']:.1f} s, kept "
                f"epoch {kept['epoch']} · loss {kept['loss']:.4f}{metrics}"
            )
        )

    def content(self, done: int, text: str) -> Any:
        """The bar after `done` steps, and a text next to it."""
        total = self.steps * self.last_epoch
        return as_html(text, f'<progress value="{done}" max="{total}"></progress> ')

    def show(self, content: Any) -> None:
        """Put a content in place of the last one."""
        self.handle.update(content)
        self.shown_at = time.perf_counter()


def as_html(text: str, before: str = "") -> Any:
    """A text for a notebook, after a piece of HTML."""
    from IPython.display import HTML  # noqa: PLC0415

    return HTML(f"<div>{before}<span>{html.escape(text)}</span></div>")
