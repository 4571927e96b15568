"""The benchmark of the baselines: draws from search spaces, and its whole way on a small split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks import baselines, ncf_ml_1m
from benchmarks.ncf_protocol import tuning_part
from twotower.config.baselines import Search, SearchChoice, SearchRange

GROUPS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 users take 20 of the 60 items of their group in training, and 5 more in the test part."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("split")
    rows = [
        (user, int(item) * GROUPS + user % GROUPS)
        for user in range(45)
        for item in rng.permutation(60)[:25]
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
    place = pl.int_range(pl.len()).over("user_id")
    frame.filter(place < 20).write_parquet(path / "train.parquet")
    frame.filter(place >= 20).write_parquet(path / "test.parquet")
    return path


def test_draws_lie_in_their_spaces() -> None:
    search: Search = {
        "plain": SearchRange(-1, 1),
        "log": SearchRange(0.01, 100, log=True),
        "whole": SearchRange(2, 50, log=True, integer=True),
        "one": SearchChoice(("a", "b")),
    }
    rng = np.random.default_rng(0)
    drawn = [baselines.drawn(search, rng) for _ in range(400)]
    plain, log, whole, one = ([d[name] for d in drawn] for name in search)
    assert -1 <= min(plain) < -0.9
    assert 0.9 < max(plain) <= 1
    assert 0.01 <= min(log) < 0.02
    assert 50 < max(log) <= 100
    assert 0.4 < np.mean(np.array(log) < 1) < 0.6
    assert {type(value) for value in whole} == {int}
    assert (min(whole), max(whole)) == (2, 50)
    assert set(one) == {"a", "b"}


def measured(name: str, settings: dict[str, Any], folder: Path, kept: Any = None) -> dict[str, Any]:
    """The whole way of a baseline, two seeds."""
    return [*baselines.measured(name, settings, baselines.read(folder), 2, kept or {})][-1]


def test_the_whole_way_of_a_baseline(folder: Path) -> None:
    dataset = baselines.read(folder)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (810, 90, 225)
    told = measured("item_knn", {"neighbours": 50}, folder)
    popular = measured("popularity", {}, folder)
    assert told["test"]["recall@20"]["mean"] > 1.5 * popular["test"]["recall@20"]["mean"]
    assert told["settings"] == {"neighbours": 50}
    assert "validation" not in told
    assert len(told["runs"]) == 1
    settings = {"embedding_dim": 3, "epochs": 4}
    trained = measured("ials", settings, folder)
    assert 1 <= trained["best_epoch"] <= 4
    assert trained["settings"] == settings
    assert trained["test"]["recall@20"]["mean"] > 1.5 * popular["test"]["recall@20"]["mean"]
    assert [run["seed"] for run in trained["runs"]] == [0, 1]
    assert trained["test"]["recall@20"]["deviation"] > 0


def test_what_is_kept_of_the_same_settings_is_not_done_again(folder: Path) -> None:
    settings = {"embedding_dim": 3, "epochs": 4}
    first = next(iter(baselines.measured("ials", settings, baselines.read(folder), 1, {})))
    marked = {**first, "validation": "as kept", "runs": [{"seed": 0, "test": {"recall@20": 9.0}}]}
    went_on = measured("ials", settings, folder, marked)
    assert went_on["validation"] == "as kept"
    assert [run["seed"] for run in went_on["runs"]] == [0, 1]
    assert went_on["runs"][0] == marked["runs"][0]
    again = measured("ials", {**settings, "epochs": 3}, folder, marked)
    assert again["validation"] != "as kept"
    assert again["runs"][0] != marked["runs"][0]


def test_settings_are_tried_and_the_best_one_comes_first(folder: Path) -> None:
    dataset = baselines.read(folder)
    found = baselines.tuned("svd", {"embedding_dim": 3}, dataset, 3)
    assert len(found) == 4
    reached = [told["validation"]["ndcg@20"] for told in found]
    assert reached == sorted(reached, reverse=True)
    assert {"embedding_dim": 3} in [told["settings"] for told in found]
    assert len(baselines.tuned("popularity", {}, dataset, 3)) == 1


def test_matrix_factorization_on_the_protocol_of_the_ncf_paper(folder: Path) -> None:
    part = tuning_part(folder)
    settings = {"embedding_dim": 3, "epochs": 4}
    told = ncf_ml_1m.chosen("ials", settings, part)
    assert told["validation"]["hr@10"] > 0.2
    runs = ncf_ml_1m.tested("ials", settings, told["best_epoch"], part, 2)
    assert runs["runs"][0] == told["validation"]
    assert len(runs["runs"]) == 2
    assert len(ncf_ml_1m.tested("popularity", {}, 0, part, 2)["runs"]) == 1
