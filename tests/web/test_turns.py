"""Searches take turns and are over in time, whatever they find."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from twotower.web.service import Service
from twotower.web.turns import Turns


def service(timeout: float) -> Service:
    """Has what `Service.search` reads."""
    made = SimpleNamespace(settings=SimpleNamespace(timeout=timeout), _searches=Turns(timeout))
    return cast(Service, made)


def test_one_search_at_a_time_and_lists_at_once() -> None:
    at_work: list[str] = []
    most = 0

    def find(text: str, until: float) -> str:
        nonlocal most
        at_work.append(text)
        most = max(most, len([one for one in at_work if one]))
        time.sleep(0.0 if not text else 0.05)
        at_work.remove(text)
        return text

    async def ask() -> list[str]:
        one = service(10)
        searches = [asyncio.ensure_future(Service.search(one, f"s{n}", find)) for n in range(8)]
        assert await Service.search(one, "", find) == ""
        assert not searches[1].done()
        return await asyncio.gather(*searches)

    assert asyncio.run(ask()) == [f"s{n}" for n in range(8)]
    assert most == 1


def test_a_search_is_over_in_time_and_so_is_waiting_for_it() -> None:
    ended = threading.Event()

    def endless(text: str, until: float) -> Any:
        while time.monotonic() < until:
            time.sleep(0.01)
        ended.set()
        raise TimeoutError

    async def ask() -> None:
        one = service(0.3)
        start = time.monotonic()
        answers = await asyncio.gather(
            *(Service.search(one, "text", endless) for _ in range(3)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [TimeoutError] * 3
        assert time.monotonic() - start < 5

    asyncio.run(ask())
    assert ended.wait(5)
    with pytest.raises(TimeoutError):
        asyncio.run(Service.search(service(0.01), "text", endless))
