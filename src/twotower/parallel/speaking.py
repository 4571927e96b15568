"""Which of several processes that `torchrun` started prints an error that ends them.

All have the same problem as a rule: the first process prints it. Another one does where the first
has none, as when its machine alone lacks a file.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from twotower.parallel.started import restarts

SECONDS_TO_SPEAK: Final = 10.0
"""How long a process waits for the first one to print the problem."""
SECONDS_TO_LISTEN: Final = 3 * SECONDS_TO_SPEAK
"""How long one that has lost the connection to another waits for that one to print why: once one
has ended, `torchrun` ends the others at once."""
SECONDS_TO_LOOK: Final = 0.05
SPOKEN: Final = "spoken"


def say_once(problem: str, say: Callable[[str], None]) -> None:
    """Have one process print a problem, once however often all are started again; returns when it
    is printed. Where `torchrun` has started none, or is gone, each process prints it.

    Args:
        problem: why this process ends.
        say: prints it.
    """
    store = _store()
    if store is None:
        say(problem)
        return
    if os.environ["RANK"] != "0" and _is_spoken(store, SECONDS_TO_SPEAK):
        return
    if _is_new(store, problem):
        say(problem)
    with suppress(RuntimeError):  # `torchrun` is gone
        store.set(f"{SPOKEN}-{restarts()}", "")


def listen() -> None:
    """Leave another process, whose end this one has noticed, the time to print why."""
    store = _store()
    if store is not None:
        _is_spoken(store, SECONDS_TO_LISTEN)


def _store() -> Store | None:
    """What `torchrun` itself keeps for the processes, which outlives them."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    try:
        store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=SECONDS_TO_SPEAK)))
    except (RuntimeError, ValueError):  # gone, or its variables were changed
        return None
    return PrefixStore("problems", store)


def _is_new(store: Store, problem: str) -> bool:
    """Whether no process has printed a problem before."""
    try:
        return store.add(hashlib.sha256(problem.encode()).hexdigest(), 1) == 1
    except RuntimeError:
        return True


def _is_spoken(store: Store, seconds: float) -> bool:
    """Whether a process prints the problem of this attempt within a time."""
    limit = time.monotonic() + seconds
    with suppress(RuntimeError):  # `torchrun` is gone
        while time.monotonic() < limit:  # `wait` itself would print where the time is over
            if store.check([f"{SPOKEN}-{restarts()}"]):
                return True
            time.sleep(SECONDS_TO_LOOK)
    return False
