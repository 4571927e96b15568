"""Trainings for learners, with the real process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from twotower.web.errors import ApiError
from twotower.web.studio.course import trainer as module
from twotower.web.studio.course.trainer import Run, Trainer, environment

SHORT = {"do": "run", "step": "embedding", "number": 0, "values": {"rows": 8, "id": 7}}
LONG = {"do": "compile", "step": "activation", "values": {"activation": "gelu"}}


Test = Callable[[Trainer], Coroutine[Any, Any, None]]
WithTrainer = Callable[[Test], None]


@pytest.fixture(scope="module")
def with_trainer() -> Iterator[WithTrainer]:
    """Runs tests on one trainer, whose process takes seconds to start."""
    with asyncio.Runner() as runner:
        trainer = Trainer()
        yield lambda test: runner.run(alone(test, trainer))
        runner.run(trainer.close())


async def alone(test: Test, trainer: Trainer) -> None:
    """Run a test, and end the jobs that it leaves."""
    try:
        await test(trainer)
    finally:
        tasks = [run.task for run in trainer._runs.values() if run.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        trainer._runs.clear()
        trainer._latest.clear()


async def heard(run: Run) -> list[dict[str, Any]]:
    return [event async for event in run.follow() if event is not None]


async def done(trainer: Trainer, caller: str, job: dict[str, Any]) -> list[dict[str, Any]]:
    run = trainer.begin(caller, job)
    try:
        return await heard(run)
    finally:
        trainer.leave(caller, run)


async def until(run: Run, kind: str) -> None:
    async for event in run.follow():
        if event is not None and event["event"] == kind:
            return


def pid_of(trainer: Trainer) -> int:
    assert trainer._process is not None
    return trainer._process.pid


def test_who_asks_for_the_same_follows_the_same_training(with_trainer: WithTrainer) -> None:
    async def test(trainer: Trainer) -> None:
        first = trainer.begin("a", LONG)
        await until(first, "progress")
        second = trainer.begin("b", LONG)
        assert second is first
        trainer.leave("a", first)
        events = await heard(second)
        assert [event["event"] for event in events] == ["started", *["progress"] * 20, "result"]
        trainer.leave("b", second)
        assert trainer.begin("a", LONG) is not first

    with_trainer(test)


def test_a_caller_has_one_job_at_a_time(with_trainer: WithTrainer) -> None:
    async def test(trainer: Trainer) -> None:
        run = trainer.begin("a", SHORT)
        with pytest.raises(ApiError, match="a training of yours is running"):
            trainer.begin("a", LONG)
        await heard(run)
        trainer.leave("a", run)
        assert (await done(trainer, "a", SHORT))[-1]["event"] == "output"

    with_trainer(test)


def test_who_has_seen_the_last_event_may_begin_another(with_trainer: WithTrainer) -> None:
    async def test(trainer: Trainer) -> None:
        first = trainer.begin("a", SHORT)
        await heard(first)
        # The answer to the first is still being closed while the second begins.
        second = trainer.begin("a", SHORT)
        assert second is not first
        trainer.leave("a", first)
        with pytest.raises(ApiError, match="a training of yours is running"):
            trainer.begin("a", LONG)
        assert (await heard(second))[-1]["event"] == "output"

    with_trainer(test)


def test_others_wait_and_are_told_their_place(with_trainer: WithTrainer) -> None:
    async def test(trainer: Trainer) -> None:
        jobs = [{**SHORT, "values": {"rows": rows, "id": 1}} for rows in (5, 6, 7)]
        runs = [trainer.begin(str(n), job) for n, job in enumerate(jobs)]
        events = await asyncio.gather(*map(heard, runs))
        waited = [[e["before"] for e in told if e["event"] == "waiting"] for told in events]
        assert waited == [[], [1], [2, 1]]
        assert [told[-1]["output"].splitlines()[0] for told in events] == [
            f"torch.Size([{rows}, 4])" for rows in (5, 6, 7)
        ]

    with_trainer(test)


def test_a_training_that_nobody_follows_is_cancelled(with_trainer: WithTrainer) -> None:
    async def test(trainer: Trainer) -> None:
        run = trainer.begin("a", LONG)
        await until(run, "progress")
        process = pid_of(trainer)
        trainer.leave("a", run)
        again = trainer.begin("b", LONG)
        assert again is not run
        assert (await heard(run))[-1] == {"event": "cancelled"}
        trainer.leave("b", again)
        assert (await done(trainer, "a", SHORT))[-1]["event"] == "output"
        assert pid_of(trainer) == process

    with_trainer(test)


def test_a_job_has_a_limited_time(
    with_trainer: WithTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMIT_SECONDS", 0.2)

    async def test(trainer: Trainer) -> None:
        told = await done(trainer, "a", LONG)
        assert told[-1] == {"event": "refused", "message": "it took more than 0.2 s"}
        monkeypatch.setattr(module, "LIMIT_SECONDS", 30)
        assert (await done(trainer, "a", SHORT))[-1]["event"] == "output"

    with_trainer(test)


def test_a_process_that_dies_is_replaced(with_trainer: WithTrainer) -> None:
    async def test(trainer: Trainer) -> None:
        run = trainer.begin("a", LONG)
        await until(run, "progress")
        os.kill(pid_of(trainer), signal.SIGKILL)
        message = "the process that trains has ended; try again"
        assert (await heard(run))[-1] == {"event": "refused", "message": message}
        trainer.leave("a", run)
        assert (await done(trainer, "a", SHORT))[-1]["event"] == "output"

    with_trainer(test)


def test_a_limited_number_of_jobs_wait(
    with_trainer: WithTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 1)

    async def test(trainer: Trainer) -> None:
        trainer.begin("a", SHORT)
        trainer.begin("b", SHORT)
        with pytest.raises(ApiError, match="too many trainings are waiting"):
            trainer.begin("c", LONG)

    with_trainer(test)


def test_an_idle_process_ends(with_trainer: WithTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.1)

    async def test(trainer: Trainer) -> None:
        await done(trainer, "a", SHORT)
        process = trainer._process
        assert process is not None
        async with asyncio.timeout(10):
            await process.wait()
        assert (await done(trainer, "a", SHORT))[-1]["event"] == "output"

    with_trainer(test)


def test_the_process_gets_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_ADMIN_KEY", "tt_secret")
    monkeypatch.setenv("TWOTOWER_SERVE", '{"events": "postgresql://user:password@host/db"}')
    given = environment("/tmp/somewhere")
    assert "secret" not in str(given)
    assert "password" not in str(given)
    assert given["HOME"] == "/tmp/somewhere"
