"""The thread that answers: batches grow under load, nobody spoils another's answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from functools import partial

import pytest

from twotower.serving.live.batching import Batcher, OverloadedError


def test_what_comes_in_while_it_is_busy_is_answered_together() -> None:
    batches: list[int] = []
    free = threading.Event()

    def run(requests: Sequence[int]) -> list[int | Exception]:
        free.wait(10)
        batches.append(len(requests))
        return [ValueError("odd") if n % 10 == 7 else 2 * n for n in requests]

    async def ask() -> list[object]:
        batcher: Batcher[int, int] = Batcher(run, max_batch=8)
        first = asyncio.ensure_future(batcher.ask(0))
        await asyncio.sleep(0.05)
        others = [asyncio.ensure_future(batcher.ask(n)) for n in range(1, 21)]
        await asyncio.sleep(0)
        free.set()
        found = await asyncio.gather(first, *others, return_exceptions=True)
        await batcher.close()
        return list(found)

    found = asyncio.run(ask())
    assert batches == [1, 8, 8, 4]
    for number, outcome in enumerate(found):
        if number % 10 == 7:
            assert isinstance(outcome, ValueError)
        else:
            assert isinstance(outcome, tuple)
            assert outcome[0] == 2 * number
            assert outcome[1] >= 0


def test_a_failure_of_all_is_told_to_all_and_the_thread_goes_on() -> None:
    def run(requests: Sequence[int]) -> list[int | Exception]:
        if 0 in requests:
            raise RuntimeError("broken")
        return list(requests)

    async def ask() -> None:
        batcher: Batcher[int, int] = Batcher(run)
        with pytest.raises(RuntimeError, match="broken"):
            await batcher.ask(0)
        assert (await batcher.ask(5))[0] == 5
        with pytest.raises(ValueError, match="invalid literal"):
            await batcher.call(lambda: int("x"))
        assert await batcher.call(lambda: "called") == "called"
        await batcher.close()

    asyncio.run(ask())


def test_too_many_are_turned_away_and_one_that_gave_up_is_not_answered() -> None:
    free = threading.Event()
    answered: list[int] = []

    def run(requests: Sequence[int]) -> list[int | Exception]:
        free.wait(10)
        answered.extend(requests)
        return list(requests)

    async def ask() -> None:
        batcher: Batcher[int, int] = Batcher(run, max_batch=1, max_waiting=3)
        waiting = [asyncio.ensure_future(batcher.ask(n)) for n in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(OverloadedError):
            await batcher.ask(9)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await waiting[2]
        free.set()
        assert [(await one)[0] for one in waiting[:2]] == [0, 1]
        await batcher.close()

    asyncio.run(ask())
    assert answered == [0, 1]


def test_small_ones_wait_for_at_most_one_large_one() -> None:
    done: list[object] = []
    free = threading.Event()

    def run(requests: Sequence[int]) -> list[int | Exception]:
        free.wait(10)
        done.append(list(requests))
        return list(requests)

    async def ask() -> None:
        batcher: Batcher[int, int] = Batcher(run, work=lambda request: request)
        first = asyncio.ensure_future(batcher.ask(1))
        await asyncio.sleep(0.05)
        sent = [1000, 2, 201, 3, 200]
        others = [asyncio.ensure_future(batcher.ask(work)) for work in sent]
        calls = [
            asyncio.ensure_future(
                batcher.call(partial(done.append, name), is_large=name == "large")
            )
            for name in ("large", "small")
        ]
        await asyncio.sleep(0)
        free.set()
        assert [answer for answer, _ in await asyncio.gather(first, *others)] == [1, *sent]
        await asyncio.gather(*calls)
        await batcher.close()

    asyncio.run(ask())
    assert done == [[1], [2, 3, 200], "small", [1000], [201], "large"]


def test_what_comes_in_while_a_large_one_is_answered_passes_the_other_large_ones() -> None:
    done: list[int] = []
    began, free = threading.Event(), threading.Event()

    def run(requests: Sequence[int]) -> list[int | Exception]:
        done.extend(requests)
        began.set()
        free.wait(10)
        return list(requests)

    async def ask() -> None:
        batcher: Batcher[int, int] = Batcher(run, work=lambda request: request)
        large = [asyncio.ensure_future(batcher.ask(work)) for work in (1000, 2000, 3000)]
        await asyncio.to_thread(began.wait, 10)
        small = asyncio.ensure_future(batcher.ask(1))
        await asyncio.sleep(0)
        free.set()
        await asyncio.gather(small, *large)
        # What waits when the end comes is answered.
        last = [asyncio.ensure_future(batcher.ask(work)) for work in (4000, 5000, 5)]
        await asyncio.sleep(0)
        await batcher.close()
        assert [answer for answer, _ in await asyncio.gather(*last)] == [4000, 5000, 5]

    asyncio.run(ask())
    assert done[:4] == [1000, 1, 2000, 3000]


def test_an_answer_does_not_wait_for_the_functions_that_came_in_with_it() -> None:
    free = threading.Event()

    async def ask() -> None:
        batcher: Batcher[int, int] = Batcher(list)
        first = asyncio.ensure_future(batcher.call(partial(free.wait, 10)))
        await asyncio.sleep(0.05)
        slow = threading.Event()
        call = asyncio.ensure_future(batcher.call(partial(slow.wait, 10)))
        answer = asyncio.ensure_future(batcher.ask(7))
        await asyncio.sleep(0)
        free.set()
        assert (await asyncio.wait_for(answer, 5))[0] == 7
        assert not call.done()
        slow.set()
        await asyncio.gather(first, call)
        await batcher.close()

    asyncio.run(ask())
