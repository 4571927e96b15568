"""One thread that answers: whatever has come in while it was busy is answered together."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")
T = TypeVar("T")

MAX_BATCH = 64
"""Requests answered together."""
MAX_WAITING = 2048
"""Requests that wait; more are turned away."""
LARGE = 200
"""A request of more work than this is a large one."""


class OverloadedError(Exception):
    """More requests wait than can be answered soon."""


class _Job(NamedTuple):
    """A request, or a function that the thread is to call between two batches."""

    future: asyncio.Future[Any]
    request: Any
    call: Callable[[], Any] | None
    is_large: bool
    since: float


class Batcher(Generic[Q, A]):
    """Hands requests of an event loop to a thread, and the answers back.

    There is no waiting for a batch to fill up: alone, a request is answered at once; under load,
    batches grow by themselves. What is large is done one at a time, and between any two of these,
    whatever small has come in: a small request waits for at most one large one.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Q]], Sequence[A | Exception]],
        *,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
        work: Callable[[Q], int] = lambda request: 1,
    ) -> None:
        """Start the thread; made inside the event loop that asks.

        Args:
            run: requests to as many answers; an exception is raised where its request was asked.
            max_batch: requests answered together.
            max_waiting: requests that wait.
            work: how much work a request is; see `LARGE`.
        """
        self._run = run
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._work_of = work
        self._waiting = 0
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._large: deque[_Job] = deque()
        self._ends = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="answers", daemon=True)
        self._thread.start()

    async def ask(self, request: Q) -> tuple[A, float]:
        """The answer to a request, and the seconds that it waited for its turn.

        Raises:
            OverloadedError: too many wait.
            Exception: what `run` gave for the request.
        """
        is_large = self._work_of(request) > LARGE
        answer: tuple[A, float] = await self._put(request, None, is_large)
        return answer

    async def call(self, function: Callable[[], T], *, is_large: bool = False) -> T:
        """What a function returns, called on the thread.

        Raises:
            OverloadedError: too many wait.
        """
        result: T = await self._put(None, function, is_large)
        return result

    def _put(
        self, request: Any, call: Callable[[], Any] | None, is_large: bool
    ) -> asyncio.Future[Any]:
        if self._waiting >= self._max_waiting:
            raise OverloadedError
        future = self._loop.create_future()
        self._waiting += 1
        self._queue.put(_Job(future, request, call, is_large, time.perf_counter()))
        return future

    async def close(self) -> None:
        """Answer what waits, then end the thread."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while not self._ends or self._large:
            small = self._next_small()
            self._do([job for job in small if job.call is None])
            self._do([job for job in small if job.call is not None])
            if self._large:
                self._do([self._large.popleft()])

    def _next_small(self) -> list[_Job]:
        """The small jobs that have come in, after waiting for a job if there is none."""
        jobs: list[_Job] = []
        while len(jobs) < self._max_batch and not self._ends:
            try:
                job = self._queue.get(block=not jobs and not self._large)
            except Empty:
                break
            if job is None:
                self._ends = True
            elif job.is_large:
                self._large.append(job)
            else:
                jobs.append(job)
        return jobs

    def _do(self, jobs: Sequence[_Job]) -> None:
        """Answer requests together, call functions, and hand back what comes of it."""
        if not jobs:
            return
        wanted = [job for job in jobs if not job.future.cancelled()]
        asked = [job for job in wanted if job.call is None]
        outcomes = self._answers(asked) if asked else []
        outcomes += [(job, _attempt(job.call)) for job in wanted if job.call is not None]
        self._loop.call_soon_threadsafe(self._deliver, len(jobs), outcomes)

    def _answers(self, asked: Sequence[_Job]) -> list[tuple[_Job, Any]]:
        start = time.perf_counter()
        try:
            found = self._run([job.request for job in asked])
            if len(found) != len(asked):
                raise RuntimeError(f"{len(asked)} requests have {len(found)} answers")
        except Exception as error:
            return [(job, error) for job in asked]
        return [
            (job, answer if isinstance(answer, Exception) else (answer, start - job.since))
            for job, answer in zip(asked, found, strict=True)
        ]

    def _deliver(self, count: int, outcomes: Sequence[tuple[_Job, Any]]) -> None:
        self._waiting -= count
        for job, outcome in outcomes:
            if job.future.cancelled():
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)


def _attempt(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return error
