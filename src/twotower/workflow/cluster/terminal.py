"""The terminal of a command, for a process on a cluster: what that prints, and Ctrl-C."""

from __future__ import annotations

import io
import signal
from _thread import interrupt_main
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any, Final, NamedTuple

from rich.console import Console

from twotower.workflow.cluster.connection import import_ray

SECONDS_TO_LOOK: Final = 0.5
"""How often each side looks for something new."""


class Terminal:
    """Between the command and the process; an actor that neither of them waits for."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.is_pressed = False

    def write(self, text: str) -> None:
        """The process prints."""
        self.texts.append(text)

    def read(self) -> str:
        """What it has printed since the last call."""
        text = "".join(self.texts)
        self.texts.clear()
        return text

    def interrupt(self) -> None:
        """The command was asked to stop, by Ctrl-C."""
        self.is_pressed = True

    def is_interrupted(self) -> bool:
        """Whether it was."""
        return self.is_pressed


class Look(NamedTuple):
    """How the console of the command prints.

    Attributes:
        is_terminal: and not a file or a pipe.
        width: in columns.
        no_color: whether it was asked for none.
    """

    is_terminal: bool
    width: int
    no_color: bool

    @staticmethod
    def of(console: Console) -> Look:
        """That of a console."""
        return Look(console.is_terminal, console.width, console.no_color)


class TerminalFile(io.StringIO):
    """A file whose text goes to the command's terminal whenever it is flushed."""

    def __init__(self, terminal: Any) -> None:
        super().__init__()
        self.terminal = terminal
        self.sent: Any = None

    def flush(self) -> None:
        """Send what was written, without waiting for its arrival."""
        if text := self.getvalue():
            self.seek(0)
            self.truncate()
            self.sent = self.terminal.write.remote(text)


@contextmanager
def console_of(terminal: Any, look: Look) -> Iterator[Console]:
    """In a process on a cluster: a console that prints at the command's terminal, whose Ctrl-C
    interrupts the inside of the context. All has arrived when the context is left."""
    ray = import_ray()
    written, is_over = TerminalFile(terminal), Event()

    def pass_on() -> None:
        while not is_over.wait(SECONDS_TO_LOOK):
            if ray.get(terminal.is_interrupted.remote()):
                interrupt_main()
                return

    # A worker of Ray gets no signals from the terminal of the machine that it runs on.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = Thread(target=pass_on, daemon=True)
    thread.start()
    try:
        yield Console(
            file=written,
            force_terminal=look.is_terminal,
            width=look.width,
            no_color=look.no_color,
        )
    finally:
        is_over.set()
        thread.join()
        signal.signal(signal.SIGINT, before)
        written.flush()
        if written.sent is not None:
            ray.get(written.sent)
