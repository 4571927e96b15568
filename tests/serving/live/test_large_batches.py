"""Slices of a batch: bounded work, and answers of one state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.serving.asking import asking
from tests.serving.live.test_worker import event, ids, save
from twotower.errors import DataError
from twotower.serving.answer.filters import num_values
from twotower.serving.answer.recommendation import Recommendation
from twotower.serving.answer.requests import AnswerRequest
from twotower.serving.live.batching import LARGE
from twotower.serving.live.large_batches import SLICE_ITEMS, SLICE_REQUESTS, slices, work_of
from twotower.serving.live.versions import Pool
from twotower.serving.live.worker import Worker
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import Id, ItemChange, StoredEvent


def test_a_slice_has_bounded_work() -> None:
    small, large = asking("u", k=5), asking("u", k=1000)
    assert list(slices([small])) == [range(1)]
    assert list(slices([small] * (SLICE_REQUESTS + 1))) == [
        range(SLICE_REQUESTS),
        range(SLICE_REQUESTS, SLICE_REQUESTS + 1),
    ]
    assert list(slices([large, large, small])) == [range(1), range(1, 2), range(2, 3)]
    mixed = [asking("u", k=n % SLICE_ITEMS + 1, history=()) for n in range(256)]
    found = list(slices(mixed))
    assert [place for part in found for place in part] == list(range(256))
    assert all(sum(mixed[n].options.k for n in part) <= SLICE_ITEMS for part in found)


def test_a_filter_is_more_work_the_more_values_it_names() -> None:
    few, many = ({"column": "item_id", "in": list(range(n))} for n in (5, 5000))
    nested = {"and": [{"not": many}, {"or": [few, {"column": "price", "range": {"max": 3}}]}]}
    assert work_of(asking("u", k=10)) == 10
    assert work_of(asking("u", k=10, filter=few)) == 110
    assert work_of(asking("u", k=10, filter=many)) == 610 > LARGE
    assert num_values(nested) == 5006
    assert work_of(AnswerRequest("u", items=tuple(range(1000)))) == 1000 > LARGE
    assert list(slices([asking("u", filter=many)] * 2)) == [range(1), range(1, 2)]


def test_all_slices_are_answered_from_one_state(tmp_path: Path) -> None:
    save(tmp_path / "served", 0)
    store = open_store(tmp_path / "events.sqlite")
    try:
        worker = Worker(store, Pool(tmp_path / "served"))
        requests = [asking(name, k=9) for name in ("u2", "new", "u1")]
        requests.append(asking("u2", filter={"column": "title", "range": {"min": 3}}))
        before = worker.answer(requests[:3])
        state = worker.batch_state(requests)
        store.append([event(1, "new", "i1"), event(2, "u2", "i3")])
        store.change_items([ItemChange("i2", None)])
        worker.follow()
        found = [
            one for place in range(4) for one in state.answer(requests, range(place, place + 1))
        ]
        for one, expected in zip(found[:3], before, strict=True):
            assert isinstance(one, Recommendation)
            assert isinstance(expected, Recommendation)
            assert ids(one) == ids(expected)
            assert [i.score for i in one.items] == pytest.approx(
                [i.score for i in expected.items], abs=1e-6
            )
        assert isinstance(found[3], DataError)
        after = worker.answer(requests[:3])
        assert [ids(one) for one in after if isinstance(one, Recommendation)] != [
            ids(one) for one in before if isinstance(one, Recommendation)
        ]
    finally:
        store.close()


def test_events_that_were_read_before_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "served", 0)
    store = open_store(tmp_path / "events.sqlite")
    try:
        store.append([event(1, "u1", "i1"), event(2, "new", "i3")])
        worker = Worker(store, Pool(tmp_path / "served"))
        read: list[Id] = []
        events_of = store.events_of

        def noted(user_id: Id, *arguments: Any, **named: Any) -> list[StoredEvent]:
            read.append(user_id)
            return events_of(user_id, *arguments, **named)

        monkeypatch.setattr(store, "events_of", noted)
        requests = [asking(name) for name in ("u1", "new", None, "u2")]
        worker.read_events(["u1", "new"])
        assert read == ["u1", "new"]
        store.append([event(3, "new", "i2")])
        state = worker.batch_state(requests)
        assert read == ["u1", "new", "u2"]
        assert [one.item_id for one in state.events.of("new")] == ["i3", "i2"]
    finally:
        store.close()
