"""Trainings for learners: one at a time, in a process of their own, followed by whoever waits.

The process (`twotower.course.worker`) is started for the first job and ended when it has been idle
for a while. A job that does not end in time is ended with its process. Learners who ask for the
same thing at the same time follow the same training.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from twotower.web.errors import LOOK_IN_LOG, ApiError

log = logging.getLogger(__name__)

LIMIT_SECONDS: Final = 30.0
"""Time that a job may take once its turn has come, the start of the process not included."""
CANCEL_SECONDS: Final = 2.0
"""Time that a cancelled job has to end by itself."""
IDLE_SECONDS: Final = 300.0
"""Time without a job after which the process is ended."""
MAX_WAITING: Final = 100
"""Maximum number of different jobs that run or wait; further ones get status 429."""
PULSE_SECONDS: Final = 10.0
"""How often followers hear of a job of which nothing is new, so that proxies keep the connection
open."""
MAX_LINE: Final = 1 << 20
"""Maximum length of an event, in bytes."""
ENDS: Final = frozenset({"result", "output", "cancelled", "refused", "failed"})
SOURCE: Final = Path(__file__).parents[4]
"""The folder that the package lies in."""
KEPT: Final = ("PATH", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "OMP_WAIT_POLICY")
"""Environment variables that the process gets: none that holds a secret."""
Event = dict[str, Any]


class Run:
    """A job with its events so far.

    Attributes:
        job: what is to be done, as `twotower.course.worker` reads it.
        events: what has happened so far.
        followers: how many learners follow it.
    """

    def __init__(self, number: int, job: Mapping[str, Any]) -> None:
        self.job = {"id": number, **job}
        self.events: list[Event] = []
        self.followers = 0
        self.task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def say(self, event: Event) -> None:
        """Add an event."""
        self.events.append(event)
        self._news.set()
        self._news = asyncio.Event()

    @property
    def is_done(self) -> bool:
        """Whether the last event has come."""
        return bool(self.events) and self.events[-1]["event"] in ENDS

    async def follow(self) -> AsyncIterator[Event | None]:
        """All events from the first to the last one; None where nothing is new for a while."""
        place = 0
        while True:
            news = self._news
            while place < len(self.events):
                event = self.events[place]
                place += 1
                yield event
                if event["event"] in ENDS:
                    return
            try:
                async with asyncio.timeout(PULSE_SECONDS):
                    await news.wait()
            except TimeoutError:
                yield None


class Trainer:
    """Runs jobs one after the other in the process of a web worker.

    The processes of several web workers share a lock file, so that only one trains at a time.
    """

    def __init__(self, lock: Path | None = None) -> None:
        self._lock = lock
        self._runs: dict[str, Run] = {}
        self._latest: dict[str, Run] = {}
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._number = 0

    # --- jobs ---

    def begin(self, caller: str, job: Mapping[str, Any]) -> Run:
        """Have a job run, or join one that does the same.

        Args:
            caller: may have one job at a time, until its last event or `leave`.
            job: a job without its `id`.

        Raises:
            ApiError: a job of the caller is running, or too many jobs wait.
        """
        latest = self._latest.get(caller)
        # Its answer may still be ending; the caller has seen the last event, and goes on.
        if latest is not None and not latest.is_done:
            raise ApiError(
                "conflict",
                "a training of yours is running",
                "wait until it has ended, or cancel it",
            )
        key = json.dumps(job, sort_keys=True)
        run = self._runs.get(key)
        if run is None or run.is_done:
            if len(self._runs) >= MAX_WAITING:
                raise ApiError(
                    "rate_limited",
                    "too many trainings are waiting",
                    "try again in a minute",
                    {"Retry-After": "60"},
                )
            self._number += 1
            run = self._runs[key] = Run(self._number, job)
            run.task = asyncio.create_task(self._run(key, run))
            self._tell_places()
        self._latest[caller] = run
        run.followers += 1
        return run

    def prepare(self) -> None:
        """Start the process, so that the first job does not have to wait for it."""
        is_there = self._process is not None and self._process.returncode is None
        if not is_there and self._starting is None:
            self._starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        try:
            async with self._turn:
                await self._ready()
                self._end_when_idle()
        except OSError as error:
            log.error("course_failed", extra={"error": str(error)})
        finally:
            self._starting = None

    def leave(self, caller: str, run: Run) -> None:
        """Follow a run no longer; it is cancelled if nobody else does."""
        if self._latest.get(caller) is run:
            del self._latest[caller]
        run.followers -= 1
        if not run.followers and run.task is not None and not run.is_done:
            # Nobody may join it any more.
            self._runs = {key: other for key, other in self._runs.items() if other is not run}
            run.task.cancel()

    async def close(self) -> None:
        """Cancel all jobs and end the process."""
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        tasks += [self._starting] if self._starting is not None else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._idle is not None:
            self._idle.cancel()
        await self._end_process()

    def _tell_places(self) -> None:
        """Tell those who wait how many jobs are before theirs."""
        for place, run in enumerate(self._runs.values()):
            told = {"event": "waiting", "before": place}
            is_waiting = not run.events or run.events[-1]["event"] == "waiting"
            if place and is_waiting and told not in run.events[-1:]:
                run.say(told)

    async def _run(self, key: str, run: Run) -> None:
        try:
            async with self._turn:
                await self._work(run)
                self._end_when_idle()
        except asyncio.CancelledError:
            run.say({"event": "cancelled"})
        except Exception:
            log.exception("course_failed", extra={"step": run.job["step"]})
            run.say({"event": "failed", "message": f"internal error; {LOOK_IN_LOG}"})
        finally:
            if self._runs.get(key) is run:
                del self._runs[key]
            self._tell_places()

    async def _work(self, run: Run) -> None:
        """Send a job to the process and pass on its events.

        Raises:
            CancelledError: nobody follows the job any longer.
        """
        process = await self._ready()
        try:
            self._send(process, run.job)
            async for event in self._events(process, run.job["id"]):
                if event["event"] == "failed":
                    log.error("course_failed", extra={"error": event["message"]})
                    event["message"] = f"internal error; {LOOK_IN_LOG}"
                run.say(event)
        except TimeoutError:
            await self._end_process()
            run.say({"event": "refused", "message": f"it took more than {LIMIT_SECONDS:g} s"})
        except asyncio.CancelledError:
            await asyncio.shield(self._cancel(process, run.job["id"]))
            raise
        except (ConnectionError, EOFError):
            await self._end_process()
            run.say({"event": "refused", "message": "the process that trains has ended; try again"})

    async def _events(self, process: Process, number: int) -> AsyncIterator[Event]:
        """The events of a job, to its last one.

        Raises:
            TimeoutError: it takes too long.
            EOFError: the process has ended.
        """
        assert process.stdout is not None
        deadline: float | None = None
        while True:
            async with asyncio.timeout_at(deadline):
                line = await process.stdout.readline()
            if not line:
                raise EOFError
            event: Event = json.loads(line)
            if event.pop("id") != number:
                continue
            if event["event"] == "started":
                deadline = asyncio.get_running_loop().time() + LIMIT_SECONDS
            yield event
            if event["event"] in ENDS:
                return

    async def _cancel(self, process: Process, number: int) -> None:
        """Ask the process to cancel a job, and end the process if it does not do so soon."""
        try:
            self._send(process, {"id": number, "do": "cancel"})
            async with asyncio.timeout(CANCEL_SECONDS):
                async for _ in self._events(process, number):
                    pass
        except (TimeoutError, ConnectionError, EOFError):
            await self._end_process()

    # --- the process ---

    async def _ready(self) -> Process:
        """The process, started if there is none."""
        if self._process is not None and self._process.returncode is None:
            return self._process
        await self._end_process()
        self._folder = tempfile.TemporaryDirectory(prefix="twotower-course-")
        command = ["-m", "twotower.course.worker", *([str(self._lock)] if self._lock else [])]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            cwd=self._folder.name,
            env=environment(self._folder.name),
            limit=MAX_LINE,
        )
        return self._process

    @staticmethod
    def _send(process: Process, job: Mapping[str, Any]) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(job).encode() + b"\n")

    def _end_when_idle(self) -> None:
        """End the process after a while without a job."""
        if self._idle is not None:
            self._idle.cancel()
        loop = asyncio.get_running_loop()
        self._idle = loop.call_later(IDLE_SECONDS, self._end_if_idle)

    def _end_if_idle(self) -> None:
        if not self._runs and self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _end_process(self) -> None:
        process, folder = self._process, self._folder
        self._process = self._folder = None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if folder is not None:
            folder.cleanup()


def environment(folder: str) -> dict[str, str]:
    """The environment of the process: where the package lies, and nothing that is secret."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(SOURCE),
        "HOME": folder,
        "TMPDIR": folder,
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
