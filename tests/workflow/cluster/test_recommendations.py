"""Answers for all users from the nodes of a cluster: the same rows, whatever dies meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from rich.console import Console

import twotower as tt
from tests.workflow.conftest import Killer, add_node
from twotower.errors import BundleError, ClusterError
from twotower.serving.live import store_recommender
from twotower.serving.live.store_recommender import StoreRecommender
from twotower.serving.store.opening import open_store
from twotower.serving.store.protocol import EventStore, ItemChange, StoredEvent
from twotower.workflow import recommend_all
from twotower.workflow.cluster import hosts, recommendations
from twotower.workflow.cluster.hosts import Hosts
from twotower.workflow.recommend_all import write_recommendations

USERS = 60_000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    log = pl.DataFrame(
        {"user_id": np.repeat(np.arange(USERS), 2), "item_id": rng.integers(0, 300, 2 * USERS)}
    ).unique(maintain_order=True)
    data = tt.Dataset.from_frames(log, split={"method": "random"})
    model = tt.TwoTower(data.config.retriever, data.schema, seed=0)
    path = tmp_path_factory.mktemp("all") / "bundle"
    tt.Recommender.build(model, data.train, data.config).save(path)
    return path


@pytest.fixture(scope="module")
def expected(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    return write(bundle, tmp_path_factory.mktemp("here") / "all.parquet")


def write(bundle: Path, file: Path, ray: str | None = None) -> pl.DataFrame:
    recommender = tt.Recommender.load(bundle)
    quiet = Console(quiet=True)
    rows = write_recommendations(recommender, file, k=3, progress=quiet, ray=ray, bundle=bundle)
    found = pl.read_parquet(file)
    assert len(found) == rows
    return found


def test_a_cluster_writes_the_same_rows(
    bundle: Path, expected: pl.DataFrame, address: str, tmp_path: Path
) -> None:
    assert_frame_equal(write(bundle, tmp_path / "all.parquet", address), expected)
    assert [file.name for file in tmp_path.iterdir()] == ["all.parquet"]


def test_a_bundle_that_the_nodes_do_not_see_is_sent_to_them(
    bundle: Path,
    expected: pl.DataFrame,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The path leads elsewhere in a process with another working directory."""
    monkeypatch.chdir(bundle.parent)
    monkeypatch.setattr(recommendations, "PIECE", 1 << 16)
    hidden = Path("/proc/self/cwd/bundle")
    digest = recommendations.digest_of_manifest(bundle)
    copy = Path(f"/tmp/twotower-bundle-{digest}")
    shutil.rmtree(copy, ignore_errors=True)
    try:
        assert_frame_equal(write(hidden, tmp_path / "all.parquet", address), expected)
        assert {file.name for file in copy.iterdir()} == {file.name for file in bundle.iterdir()}
    finally:
        shutil.rmtree(copy, ignore_errors=True)


@pytest.mark.slow
def test_a_process_that_is_killed_is_started_again(
    bundle: Path, expected: pl.DataFrame, address: str, tmp_path: Path, killer: Killer
) -> None:
    assert_frame_equal(write(bundle, tmp_path / "all.parquet", address), expected)
    assert killer.killed


@pytest.mark.slow
def test_an_interrupted_run_goes_on_behind_its_parts(
    bundle: Path,
    expected: pl.DataFrame,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recommend_all, "USERS_OF_A_PART", 1)
    result, calls = Hosts.result, []

    def stopped(self: Hosts, asked: Any) -> Any:
        calls.append(asked)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return result(self, asked)

    with monkeypatch.context() as patch:
        patch.setattr(Hosts, "result", stopped)
        with pytest.raises(KeyboardInterrupt):
            write(bundle, tmp_path / "all.parquet", address)
    kept = [file.name for file in (tmp_path / "all.parquet.parts").glob("*.parquet")]
    assert kept == ["32768.parquet"]
    assert_frame_equal(write(bundle, tmp_path / "all.parquet"), expected)  # here, without it


@pytest.mark.slow
def test_a_node_that_is_lost_ends_the_run_which_goes_on_without_it(
    bundle: Path,
    expected: pl.DataFrame,
    cluster: Any,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosts, "SECONDS_FOR_ROOM", 15.0)
    monkeypatch.setattr(recommend_all, "USERS_OF_A_PART", 1)
    monkeypatch.setattr(recommendations, "CHUNKS_OF_A_CALL", 1)
    lost = add_node(cluster)
    result, calls = Hosts.result, []

    def losing(self: Hosts, asked: Any) -> Any:
        calls.append(asked)
        if len(calls) == 2:
            cluster.remove_node(lost, allow_graceful=False)
        return result(self, asked)

    with monkeypatch.context() as patch:
        patch.setattr(Hosts, "result", losing)
        with pytest.raises(ClusterError, match="a node of the cluster was lost, and no other has"):
            write(bundle, tmp_path / "all.parquet", address)
    kept = len(list((tmp_path / "all.parquet.parts").glob("*.parquet")))
    assert kept == len(calls) - 1 > 0
    assert_frame_equal(write(bundle, tmp_path / "all.parquet", address), expected)


@pytest.mark.slow
def test_what_the_nodes_cannot_do(bundle: Path, address: str, tmp_path: Path) -> None:
    file = tmp_path / "all.parquet"
    with pytest.raises(ClusterError, match=r"^nothing answers at 127\.0\.0\.1:9: .*refused"):
        write(bundle, file, "127.0.0.1:9")
    other = tmp_path / "bundle"
    shutil.copytree(bundle, other)
    recommender = tt.Recommender.load(other)
    (other / "item_counts.npy").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"item_counts\.npy"):
        write_recommendations(
            recommender, file, k=3, progress=Console(quiet=True), ray=address, bundle=other
        )
    assert not file.exists()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    """Of the bundle's users 0 was forgotten, 1 was forgotten and came back, and 2 has taken item 5;
    99999 is new. Item 1 was removed, 2 is hidden, 1000 was added."""
    opened = open_store(tmp_path / "events.sqlite")
    seen = [event(1, 0, 4), event(2, 2, 5), event(3, 99_999, 6), event(4, 1, 7)]
    opened.append(seen)
    opened.forget_user(0)
    opened.forget_user(1)
    opened.append([replace(event(5, 1, 8), timestamp=2**35)])
    opened.change_items([ItemChange(1, None), ItemChange(2, {}, partial=True, hidden=True)])
    opened.change_items([ItemChange(1000, {})])
    yield opened
    opened.close()


def event(number: int, user_id: int, item_id: int) -> StoredEvent:
    return StoredEvent(str(number), user_id, item_id, 1_700_000_000)


@pytest.mark.slow
def test_what_an_event_store_knows_is_sent_along(
    bundle: Path,
    store: EventStore,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The nodes see the bundle, and not the store."""
    monkeypatch.setattr(store_recommender, "CHUNK", 20_000)
    found = {}
    for ray in (None, address):
        recommender, file = StoreRecommender(bundle, store), tmp_path / f"{ray is None}.parquet"
        quiet = Console(quiet=True)
        rows = write_recommendations(recommender, file, k=3, progress=quiet, ray=ray, bundle=bundle)
        found[ray] = pl.read_parquet(file)
        assert len(found[ray]) == rows
    assert_frame_equal(found[address], found[None])
    users = found[address]["user_id"].unique()
    assert len(users) == USERS  # 0 is not there, and 99999 is
    assert 0 not in users
    assert not {1, 2} & set(found[address]["item_id"].unique())
    by_user = dict(found[address].group_by("user_id").agg("item_id").iter_rows())
    paths = dict(found[address].select("user_id", "path").unique().iter_rows())
    assert 5 not in by_user[2]
    assert 8 not in by_user[1]
    assert (paths[2], paths[3]) == ("known", "known")
    assert "known" not in (paths[1], paths[99_999])
