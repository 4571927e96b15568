"""The buffer of impressions while the store is away."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any
from unittest.mock import Mock

import pytest
from prometheus_client import Counter

from twotower.errors import StoreError
from twotower.serving.store.protocol import Impression
from twotower.web import impressions as module
from twotower.web.impressions import ImpressionLog


def impression(number: int, num_items: int) -> Impression:
    ids = tuple(f"i{place}" for place in range(num_items))
    return Impression(f"r{number}", "u1", ids, "one", "known", 100)


def test_memory_is_bounded_by_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HELD", 20)
    monkeypatch.setattr(module, "MAX_HELD_ITEMS", 1000)
    stored: list[str] = []
    problems: list[str] = []
    away = True

    def submit(page: list[Impression]) -> Future[None]:
        done: Future[None] = Future()
        if away:
            done.set_exception(StoreError("the store is away."))
        else:
            stored.extend(one.request_id for one in page)
            done.set_result(None)
        return done

    counted = Counter("twotower_of_a_test", "", ["outcome"], registry=None)
    store, metrics = Mock(submit_impressions=submit), Mock(impressions=counted)

    async def run() -> None:
        nonlocal away
        log = ImpressionLog(store, metrics, problems.append)
        for number in range(30):
            log.add(impression(number, 100))
            await log.flush()
        assert problems[-1] == "impressions are not stored: the store is away."
        away = False
        await log.flush()
        assert stored == [f"r{number}" for number in range(20, 30)]
        assert problems[-1] == ""
        stored.clear()
        away = True
        for number in range(30):
            log.add(impression(number, 1))
            await log.flush()
        away = False
        await log.close()
        assert stored == [f"r{number}" for number in range(10, 30)]

    asyncio.run(run())
    values: dict[str, Any] = {o: counted.labels(o)._value.get() for o in ("lost", "stored")}
    assert values == {"lost": 30, "stored": 30}
