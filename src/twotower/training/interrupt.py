"""Ctrl-C that waits for a moment at which the state of a run is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interrupt:
    """Whether Ctrl-C was pressed."""

    pressed: bool = False

    def check(self) -> None:
        """Stop here if it was.

        Raises:
            KeyboardInterrupt: it was.
        """
        if self.pressed:
            raise KeyboardInterrupt


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Inside, the first Ctrl-C only takes note; the second one stops at once.

    Outside of the main thread, where Python handles no signals, nothing changes. Nor does it where
    Ctrl-C is ignored, as it is for a job that a script put into the background.
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
