"""The process that trains, as a service starts it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.processes import ending_with_tests


class Process:
    """A worker process with its jobs and events."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "twotower.course.worker", *arguments]
        self.process = subprocess.Popen(
            ending_with_tests(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        )

    def send(self, **job: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()

    def event(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        event: dict[str, Any] = json.loads(self.process.stdout.readline())
        return event

    def says_nothing_for(self, seconds: float) -> bool:
        assert self.process.stdout is not None
        return not select.select([self.process.stdout.fileno()], [], [], seconds)[0]

    def until(self, kind: str) -> list[dict[str, Any]]:
        events = [self.event()]
        while events[-1]["event"] != kind:
            assert events[-1]["event"] in ("started", "progress")
            events.append(self.event())
        return events

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(10)


@pytest.fixture(scope="module")
def worker() -> Iterator[Process]:
    """One for several tests, as it takes seconds to start; the last of them ends it."""
    process = Process()
    yield process
    process.kill()


def test_a_job_is_cancelled_between_two_steps_of_training(worker: Process) -> None:
    worker.send(id=1, do="compile", step="factorization", values={})
    assert worker.event()["event"] == "started"
    worker.send(id=1, do="cancel")
    events = worker.until("cancelled")
    assert len(events) < 5
    worker.send(id=2, do="run", step="factorization", number=0, values={})
    assert worker.until("output")[-1]["id"] == 2


def test_a_wrong_job_is_refused(worker: Process) -> None:
    worker.send(id=3, do="compile", step="embedding", values={"num_embeddings": -1})
    refused = worker.until("refused")[-1]
    assert refused["message"].startswith("num_embeddings must be a number from 1 to 5000")


def test_jobs_run_one_after_the_other_and_the_process_ends_with_its_input(
    worker: Process,
) -> None:
    worker.send(id=4, do="compile", step="embedding", values={"num_embeddings": 601})
    worker.send(id=5, do="run", step="embedding", number=0, values={"rows": 8, "id": 7})
    first = worker.until("result")
    assert [event["id"] for event in first] == [4] * len(first)
    assert first[-1]["works"]
    assert [event["epoch"] for event in first[1:-1]] == [1, 2, 3, 4, 5, 6]
    second = worker.until("output")
    assert second[-1] == {
        "id": 5,
        "event": "output",
        "output": "torch.Size([8, 4])\ntorch.Size([2, 4])\n",
    }
    assert psutil.Process(worker.process.pid).nice() == psutil.Process().nice() + 10
    assert worker.end() == 0


def test_processes_take_turns(tmp_path: Path) -> None:
    lock = str(tmp_path / "lock")
    workers = [Process(lock), Process(lock)]
    try:
        for process in workers:
            process.send(id=1, do="run", step="embedding", number=0, values={})
            process.until("output")
        workers[0].send(id=2, do="compile", step="activation", values={})
        assert workers[0].event()["event"] == "started"
        workers[1].send(id=2, do="run", step="embedding", number=0, values={})
        assert workers[1].says_nothing_for(0.5)
        workers[0].until("result")
        workers[1].until("output")
    finally:
        for process in workers:
            process.kill()
