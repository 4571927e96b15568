"""Ctrl-C that waits until the state of a run is consistent."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130
"""Exit code of a process stopped by Ctrl-C."""


class StopTraining(KeyboardInterrupt):
    """Ends training as Ctrl-C does: after the step or epoch under way, with the best weights."""


@dataclass
class Interrupt:
    """Whether Ctrl-C was pressed."""

    pressed: bool = False

    def check(self) -> None:
        """Stop here if it was.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        if self.pressed:
            raise KeyboardInterrupt


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Inside, the first Ctrl-C is only noted; the second one stops at once.

    Nothing changes outside the main thread, where Python handles no signals, and where Ctrl-C is
    ignored, as for a job that a script put into the background.
    """
    noted = Interrupt()
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield noted
        return

    def note(_: int, __: FrameType | None) -> None:
        if noted.pressed:
            raise KeyboardInterrupt
        noted.pressed = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def interrupt_at_end_of_input() -> None:
    """Press Ctrl-C once the input of this process is at its end. A program that starts this one
    with a pipe as its input, and sends nothing, so ends it when it ends itself, in whatever way."""
    # Not through the file object, whose lock a waiting thread would hold while Python ends.
    own = sys.stdin.fileno()

    def wait() -> None:
        while os.read(own, 1):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()
