"""The command line's answers from a bundle and an event store: those of the service."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from tests.serving.live.test_worker import answer, event, ids, save
from twotower.cli import app
from twotower.serving.live import store_recommender
from twotower.serving.live.store_recommender import StoreRecommender
from twotower.serving.live.versions import Pool
from twotower.serving.live.worker import Worker
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import EventStore, ItemChange

USERS = ["u1", "u2", "u9", "u3", "new"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    save(tmp_path / "bundle", 0)
    return tmp_path / "bundle"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    """u1 was forgotten, u9 was forgotten and came back, `new` is in no bundle; i1 was removed, i2
    is hidden and `added` was added."""
    opened = open_store(tmp_path / "events.sqlite")
    opened.append([event(1, "u2", "i4"), event(2, "new", "i3"), event(3, "u1", "i4")])
    opened.forget_user("u1")
    opened.forget_user("u9")
    opened.append([event(4, "u9", "i3", timestamp=2**35)])
    opened.change_items([ItemChange("i1", None), ItemChange("added", {"genres": "opera"})])
    opened.change_items([ItemChange("i2", {}, partial=True, hidden=True)])
    yield opened
    opened.close()


def test_one_user_is_answered_as_by_the_service(bundle: Path, store: EventStore) -> None:
    recommender, worker = StoreRecommender(bundle, store), Worker(store, Pool(bundle))
    for user_id in USERS:
        found, expected = recommender.recommend(user_id, 9), answer(worker, user_id, k=9)
        assert (ids(found), found.path) == (ids(expected), expected.path)
        assert not {"i1", "i2"} & set(ids(found))
    assert recommender.recommend("u1").path == "popular"
    assert recommender.recommend("u9").path == recommender.recommend("new").path == "history"
    near = [item.item_id for item in recommender.similar("i3", 9)]
    assert "added" in near
    assert not {"i1", "i2"} & set(near)


@pytest.mark.parametrize("chunk", [2, 4096])
def test_all_users_are_answered_as_one_is(
    bundle: Path, store: EventStore, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(store_recommender, "CHUNK", chunk)
    recommender = StoreRecommender(bundle, store)
    frames = list(recommender.recommend_all(3))
    found = pl.concat(frames)
    assert len(frames) == (3 if chunk == 2 else 1)
    assert set(found["user_id"]) == set(USERS) - {"u1"} | {"u7"}
    for (user_id,), rows in found.group_by("user_id", maintain_order=True):
        alone = recommender.recommend(str(user_id), 3)
        assert rows["item_id"].to_list() == ids(alone)
        assert rows["rank"].to_list() == list(range(1, len(rows) + 1))
        assert set(rows["path"]) == {alone.path}


def test_the_command_line_reads_the_store_that_is_named_or_beside_the_bundle(
    bundle: Path, store: EventStore, tmp_path: Path
) -> None:
    store.close()
    run = CliRunner().invoke

    def path_of(*options: str) -> str:
        found = run(app, ["recommend", str(bundle), "--user", "u1", "--json", *options])
        assert found.exit_code == 0, found.output
        return str(json.loads(found.stdout)["path"])

    assert path_of() == "popular"
    elsewhere = shutil.move(tmp_path / "events.sqlite", tmp_path / "elsewhere.sqlite")
    assert path_of() == "known"
    assert path_of("--events", str(elsewhere)) == "popular"
    file = tmp_path / "all.parquet"
    options = ["--all-users", "--out", str(file), "--events", str(elsewhere), "--json"]
    assert run(app, ["recommend", str(bundle), *options]).exit_code == 0
    found = pl.read_parquet(file)
    assert "u1" not in found["user_id"]
    assert not {"i1", "i2"} & set(found["item_id"])
    options = ["--item", "i1", "--events", str(elsewhere)]
    refused = run(app, ["similar", str(bundle), *options])
    assert refused.exit_code == 1
    missing = run(app, ["recommend", str(bundle), "--user", "u1", "--events", str(file) + ".no"])
    assert missing.exit_code == 1
