"""The process that trains for the learners: `python -m twotower.course.worker [LOCK]`.

It reads jobs from standard input, a JSON object a line, and writes events to standard output in the
same form. One job runs at a time. It runs at a low priority, so that a service on the same machine
goes first, and it ends when its standard input is closed.

    {"id": 1, "do": "compile", "step": "embedding", "values": {"num_embeddings": 601}}
    {"id": 2, "do": "run", "step": "embedding", "number": 0, "values": {}}
    {"id": 1, "do": "cancel"}

Events have the job's `id` and an `event`: `started`, `progress`, and at the end one of `result`,
`output`, `cancelled`, `refused` (the job is not right) and `failed` (an error of ours).
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import torch

from twotower.course.results import CancelledError
from twotower.course.run import run_snippet, run_step
from twotower.course.shop import shop
from twotower.errors import TwoTowerError

if sys.platform != "win32":
    import fcntl
    import resource

NICENESS: Final = 10
"""About a tenth of the time of a process that competes for the core."""
MAX_FILE_BYTES: Final = 16 << 20
"""Maximum size of a file that the process may write."""
POLL_SECONDS: Final = 0.05
"""How often a process that waits for its turn asks for it."""


class Jobs:
    """The jobs on standard input, read on a thread of its own, so that one can be cancelled while
    it runs."""

    def __init__(self, source: TextIO) -> None:
        self._source = source
        self._waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._source:
            job = json.loads(line)
            if job["do"] == "cancel":
                self._cancelled.add(job["id"])
            else:
                self._waiting.put(job)
        # Whoever started this process is gone.
        os._exit(0)

    def next(self) -> dict[str, Any]:
        """Wait for a job."""
        return self._waiting.get()

    def check(self, job_id: int) -> None:
        """Raise `CancelledError` if a job has been cancelled."""
        if job_id in self._cancelled:
            raise CancelledError


def yield_to_others() -> None:
    """Run on one core at a low priority, and write no large files."""
    torch.set_num_threads(1)
    if sys.platform != "win32":
        os.nice(NICENESS)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextmanager
def turn(lock: Path | None, jobs: Jobs, job_id: int) -> Iterator[None]:
    """Hold the lock that the processes of a service share; waiting can be cancelled."""
    if lock is None or sys.platform == "win32":
        yield
        return
    with lock.open("a") as held:
        while True:
            jobs.check(job_id)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(POLL_SECONDS)
        yield


def ended(job: dict[str, Any], jobs: Jobs, lock: Path | None, say: Any) -> dict[str, Any]:
    """Run a job; the event that it ends with."""
    job_id = job["id"]
    try:
        with turn(lock, jobs, job_id):
            say({"event": "started"})
            if job["do"] == "run":
                text = run_snippet(job["step"], job["number"], job["values"])
                return {"event": "output", "output": text}
            found = run_step(job["step"], job["values"], say, lambda: jobs.check(job_id))
            return {"event": "result", **found}
    except CancelledError:
        return {"event": "cancelled"}
    except TwoTowerError as error:
        return {"event": "refused", "message": str(error)}
    except Exception:
        return {"event": "failed", "message": traceback.format_exc()}


def main() -> None:
    """Run jobs until standard input is closed."""
    lock = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    # What a library prints must not end up among the events.
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    yield_to_others()
    jobs = Jobs(sys.stdin)
    shop()

    def say(job_id: int, event: dict[str, Any]) -> None:
        events.write(json.dumps({"id": job_id, **event}) + "\n")
        events.flush()

    while True:
        job = jobs.next()
        say(job["id"], ended(job, jobs, lock, lambda event, job_id=job["id"]: say(job_id, event)))


if __name__ == "__main__":
    main()
