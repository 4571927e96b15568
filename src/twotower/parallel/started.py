"""What a process knows of how it was started, before anything heavy is imported."""

from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Thread
from typing import Final

ATTEMPT: Final = "TWOTOWER_ATTEMPT"
"""Environment variable: how often the command was started again."""
ENDED: Final = "TWOTOWER_ENDED"
"""Environment variable: a file that a process writes its exit code to if starting again would not
help."""
PARENT: Final = "TWOTOWER_PARENT"
"""Environment variable: the id of the command's process."""
SECONDS_TO_LOOK: Final = 1.0
"""How often a process looks whether the command that started it is still there."""
MAX_RESTARTS: Final = 3
"""How often processes are started again after one has died."""


def are_started() -> bool:
    """Whether this process is one of several that `torchrun`, or something like it, started."""
    return os.environ.get("WORLD_SIZE", "1") not in ("", "0", "1")


def restarts() -> int:
    """How often the processes were started again after one had died."""
    return sum(int(os.environ.get(name, "0")) for name in (ATTEMPT, "TORCHELASTIC_RESTART_COUNT"))


def end_with_the_command() -> None:
    """From here on this process ends when `twotower train --processes`, if that has started it, is
    gone, however that ended."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(SECONDS_TO_LOOK)
        os._exit(1)

    Thread(target=watch, name="parent", daemon=True).start()


def note_end(code: int) -> None:
    """Note that this process ends with a code for a reason that starting again would not remove."""
    if path := os.environ.get(ENDED):
        Path(path).write_text(str(code), encoding="utf-8")


def is_lost_connection(error: Exception) -> bool:
    """Whether a process noticed by an error that another one is gone."""
    return any(part in str(error) for part in ("gloo", "NCCL", "Connection reset"))
