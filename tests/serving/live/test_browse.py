"""Searches of items and users find the same in slices, and stop when their time is over."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.serving.live.test_worker import save
from twotower.serving.live import browse
from twotower.serving.live.browse import find_items, find_users
from twotower.serving.live.versions import Pool
from twotower.serving.live.worker import Worker
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import ItemChange

TEXTS = ("", "i", "I1", "u9", "no such text", "1")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("browse")
    save(folder / "bundles" / "a", 0)
    store = open_store(folder / "events.sqlite")
    store.change_items([ItemChange("added-1", {}), ItemChange("i2", None)])
    made = Worker(store, Pool(folder / "bundles"))
    made.follow()
    yield made
    store.close()


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_slices_do_not_change_what_is_found(
    rows: int, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browse, "SEARCHED_ROWS", rows)
    model = worker.active()
    for text in TEXTS:
        ids = [
            str(item_id) for item_id, _ in model.catalogue.rows(find_items(model, text).tolist())
        ]
        of_all = [str(i) for i, _ in model.catalogue.rows(model.catalogue.all_nums().tolist())]
        assert "i2" not in ids
        assert "added-1" in ids or text.lower() not in "added-1"
        assert {one for one in of_all if text.lower() in one} <= set(ids)
        users = model.served.users
        found = users.ids.gather(find_users(model, {"u1"}, text).tolist()).to_list()
        known = users.ids.to_list()[users.first_known :]
        assert found == [one for one in known if text.lower() in one and one != "u1"]


def test_a_search_stops_when_its_time_is_over(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = worker.active()
    over = time.monotonic() - 1
    for text in TEXTS[1:]:
        with pytest.raises(TimeoutError):
            find_items(model, text, over)
        with pytest.raises(TimeoutError):
            find_users(model, set(), text, over)
    # After its first slice, too.
    monkeypatch.setattr(browse, "SEARCHED_ROWS", 1)
    clock = iter(range(100))
    monkeypatch.setattr(browse, "monotonic", lambda: next(clock))
    with pytest.raises(TimeoutError):
        find_items(model, "i", 2)
    assert next(clock) == 4
