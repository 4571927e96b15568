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
LARGE_WORK = 500
"""Work of the large requests of a batch, unless a single one is more."""


class OverloadedError(Exception):
    """More requests wait than can be answered soon."""


class _Job(NamedTuple):
    """A request, or a function that the thread is to call between two batches."""

    future: asyncio.Future[Any]
    request: Any
    call: Callable[[], Any] | None
    since: float


class Batcher(Generic[Q, A]):
    """Hands requests of an event loop to a thread, and the answers back.

    There is no waiting for a batch to fill up: alone, a request is answered at once; under load,
    batches grow by themselves. Of the large requests, few are in one batch; the others wait for the
    next ones, in their order, and hold up nobody else.
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
        self._large: deque[_Job] = deque()
        self._waiting = 0
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="answers", daemon=True)
        self._thread.start()

    async def ask(self, request: Q) -> tuple[A, float]:
        """The answer to a request, and the seconds that it waited for its turn.

        Raises:
            OverloadedError: too many wait.
            Exception: what `run` gave for the request.
        """
        answer: tuple[A, float] = await self._put(request, None)
        return answer

    async def call(self, function: Callable[[], T]) -> T:
        """What a function returns, called on the thread.

        Raises:
            OverloadedError: too many wait.
        """
        result: T = await self._put(None, function)
        return result

    def _put(self, request: Any, call: Callable[[], Any] | None) -> asyncio.Future[Any]:
        if self._waiting >= self._max_waiting:
            raise OverloadedError
        future = self._loop.create_future()
        self._waiting += 1
        self._queue.put(_Job(future, request, call, time.perf_counter()))
        return future

    async def close(self) -> None:
        """Answer what waits, then end the thread."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while True:
            jobs, ends = self._next()
            outcomes = []
            asked = [job for job in jobs if job.call is None and not job.future.cancelled()]
            if asked:
                outcomes += self._answers(asked)
            for job in jobs:
                if job.call is not None and not job.future.cancelled():
                    outcomes.append((job, _attempt(job.call)))
            self._loop.call_soon_threadsafe(self._deliver, len(jobs), outcomes)
            if ends:
                return

    def _next(self) -> tuple[list[_Job], bool]:
        """What has come in, at least one job, and whether the end has come."""
        jobs: list[_Job] = []
        large_work = 0
        left, self._large = self._large, deque()
        while len(jobs) < self._max_batch:
            try:
                job = left.popleft() if left else self._queue.get(block=not jobs)
            except Empty:
                break
            if job is None:
                if not self._large:
                    return jobs, True
                self._queue.put(None)
                break
            work = 0 if job.call is not None else self._work_of(job.request)
            if work > LARGE:
                if large_work and large_work + work > LARGE_WORK:
                    self._large.append(job)
                    continue
                large_work += work
            jobs.append(job)
        self._large.extend(left)
        return jobs, False

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
