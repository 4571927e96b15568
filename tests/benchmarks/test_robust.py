"""The benchmark of the defaults: its cells, and its whole way on a small one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks import robust
from benchmarks.robust_cells import (
    CELLS,
    Cell,
    Frames,
    Split,
    hold_users_out,
    most_popular,
    sessions,
    shop,
    skewed,
    some_rows,
    some_users,
)
from benchmarks.robust_models import config_of, write_files
from benchmarks.robust_report import summary
from twotower.data.columns import ITEM_ID, TIMESTAMP, USER_ID
from twotower.data.dataset.dataset import Dataset


@pytest.fixture
def frames() -> Frames:
    """100 users with 10 rows each, in order of time, of 50 items, the lower ones more popular."""
    rng = np.random.default_rng(0)
    rows = [
        (user, int(item), 1000 * user + place)
        for user in range(100)
        for place, item in enumerate(
            rng.choice(50, 10, replace=False, p=np.arange(50, 0, -1) / 1275)
        )
    ]
    return Frames(
        pl.DataFrame(rows, schema=[USER_ID, ITEM_ID, TIMESTAMP], orient="row"),
        users=pl.DataFrame({USER_ID: range(100)}),
        items=pl.DataFrame({ITEM_ID: range(50)}),
    )


def test_samples_of_users_and_of_rows(frames: Frames) -> None:
    few = some_users(frames, 0.2)
    assert few.users is not None
    assert few.interactions[USER_ID].value_counts()["count"].to_list() == [10] * 20
    assert set(few.users[USER_ID]) == set(few.interactions[USER_ID])
    sparse = some_rows(frames, 0.2)
    assert 150 < len(sparse.interactions) < 250
    assert sparse.interactions[USER_ID].n_unique() > 75


def test_a_given_test_part_is_sampled_alike(frames: Frames) -> None:
    rows = frames.interactions
    parts = Frames(rows.filter(pl.col(ITEM_ID) < 30), test=rows.filter(pl.col(ITEM_ID) >= 30))
    few = some_users(parts, 0.2)
    assert few.test is not None
    assert 0 < len(few.test) < 100
    assert set(few.test[USER_ID]) <= set(few.interactions[USER_ID])
    sparse = some_rows(parts, 0.3)
    assert sparse.test is not None
    assert set(sparse.test[USER_ID]) <= set(sparse.interactions[USER_ID])


def test_popular_items(frames: Frames) -> None:
    counts = frames.interactions[ITEM_ID].value_counts().sort("count", descending=True)
    popular = most_popular(frames, 10)
    assert popular.items is not None
    assert popular.interactions[ITEM_ID].n_unique() == len(popular.items) == 10
    assert len(popular.interactions) == counts["count"].head(10).sum()
    even, uneven = some_rows(frames, 0.3), skewed(frames, 0.3)
    assert len(uneven.interactions) == 300
    assert uneven.interactions[ITEM_ID].mean() < even.interactions[ITEM_ID].mean() - 1  # type: ignore[operator]


def test_sessions_keep_their_order_and_share_no_rows(frames: Frames) -> None:
    cut = sessions(frames, 4).interactions
    assert cut[USER_ID].value_counts()["count"].sort().to_list() == [2] * 100 + [4] * 200
    first = frames.interactions.filter(pl.col(USER_ID) == 0)[ITEM_ID].to_list()
    ordered = cut.sort(USER_ID, TIMESTAMP)
    assert ordered[ITEM_ID].to_list()[:10] == first
    spans = cut.group_by(USER_ID).agg(pl.col(TIMESTAMP).max() - pl.col(TIMESTAMP).min())
    assert spans[TIMESTAMP].max() == 180


def test_unknown_users_are_in_no_training_row(frames: Frames) -> None:
    held = hold_users_out(frames)
    assert held.known is not None
    assert held.test is not None
    assert held.test[USER_ID].value_counts()["count"].to_list() == [5] * 10
    assert set(held.known[USER_ID]) == set(held.test[USER_ID])
    assert not set(held.test[USER_ID]) & set(held.interactions[USER_ID])
    last = held.known.group_by(USER_ID).agg(pl.col(TIMESTAMP).max()).sort(USER_ID)
    then = held.test.group_by(USER_ID).agg(pl.col(TIMESTAMP).min()).sort(USER_ID)
    assert (last[TIMESTAMP] < then[TIMESTAMP]).all()


@pytest.mark.parametrize("split", ["default", "last_out", "random", "unknown_users"])
def test_development_has_no_row_of_the_test_part(
    frames: Frames, split: Split, tmp_path: Path
) -> None:
    cell = Cell("", lambda: frames, split)
    pairs = []
    for development in (False, True):
        files = write_files(cell, tmp_path / str(development), development=development)
        config = config_of("files", files, (), 0)
        dataset = Dataset.read(config)
        known = pl.concat([dataset.parts.train, dataset.parts.validation, dataset.parts.test])
        pairs.append(
            [set(rows.select(USER_ID, ITEM_ID).rows()) for rows in (known, dataset.parts.test)]
        )
    (_, test), (development_rows, stand_in) = pairs
    assert test
    assert stand_in
    assert not test & development_rows


def test_a_given_test_part_is_not_in_development(frames: Frames, tmp_path: Path) -> None:
    rows = frames.interactions.drop(TIMESTAMP)
    parts = Frames(rows.filter(pl.col(ITEM_ID) < 30), test=rows.filter(pl.col(ITEM_ID) >= 30))
    files = write_files(Cell("", lambda: parts), tmp_path, development=True)
    dataset = Dataset.read(config_of("files", files, (), 0))
    assert dataset.items.num_warm == 30
    assert 0.1 < len(dataset.test) / len(parts.interactions) < 0.3


def test_verdicts_and_means_over_seeds() -> None:
    def run(values: list[float]) -> dict[str, Any]:
        per_query = {"ndcg@20": values, "recall@20": values}
        metrics = {name: float(np.mean(values)) for name in per_query}
        return {"per_query": per_query, "metrics": metrics, "seconds": 2.0}

    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, 40)
    found = {
        "files": [run([*(0.3 + noise)]), run([*(0.5 - noise)])],
        "init": [run([*(0.1 + noise)])],
        "popularity": [run([*(0.2 + rng.normal(0, 0.01, 40))])],
        "ease": [run([*(0.4 + rng.normal(0, 0.01, 40))])],
    }
    told = summary(found, ("files", "init"))
    assert told["models"]["files"]["ndcg@20"] == pytest.approx(0.4)
    assert told["best_baseline"] == "ease"
    files, init = (told["contenders"][name] for name in ("files", "init"))
    assert files["verdict"] == "level"
    assert files["against"]["popularity"]["p"] < 1e-9
    assert files["against"]["popularity"]["difference"] == pytest.approx(0.2, abs=0.01)
    assert init["verdict"] == "behind"
    assert files["time_ratio"] == 1
    assert (
        summary({**found, "ease": found["popularity"]}, ("files",))["contenders"]["files"][
            "verdict"
        ]
        == "ahead"
    )


def test_the_whole_way_and_its_resumption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(CELLS, "tiny", Cell("", lambda: shop(100, 60, 1500, 0)))
    monkeypatch.setitem(
        CELLS, "strangers", Cell("", lambda: shop(100, 60, 1500, 0), "unknown_users")
    )
    out = tmp_path / "kept"
    command = ["robust", "--cells", "tiny", "strangers", "--seeds", "2", "--out", str(out)]
    quick = ["--set", "training.epochs=1", "--development"]
    monkeypatch.setattr(sys, "argv", [*command, *quick])
    robust.main()
    captured = capsys.readouterr()
    first = json.loads(captured.out)
    assert set(first["cells"]) == {"tiny", "strangers"}
    assert "strangers" in captured.err
    for cell in first["cells"].values():
        assert set(cell["models"]) == {
            *("files", "init", "popularity", "recent_popularity", "item_knn", "ease", "ials")
        }
        assert len(cell["models"]["init"]["runs"]) == 2
        assert all(0 < model["ndcg@20"] < 1 for model in cell["models"].values())
    strangers = first["cells"]["strangers"]
    assert strangers["test_users"] == 8
    assert (
        strangers["models"]["item_knn"]["ndcg@20"] != strangers["models"]["popularity"]["ndcg@20"]
    )
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    assert len(written) == 20
    robust.main()
    assert json.loads(capsys.readouterr().out)["cells"] == first["cells"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.json")} == written
