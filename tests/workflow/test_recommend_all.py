"""Answers for all users: by several threads as by one, and on from where a run was interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from rich.console import Console

import twotower as tt
from twotower.serving.answer import recommender as answering
from twotower.workflow import recommend_all
from twotower.workflow.recommend_all import write_recommendations

CHUNK = 50


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 430 users; the first has seen every item and gets no answer."""
    rng = np.random.default_rng(0)
    users = np.concatenate([np.zeros(40, dtype=np.int64), np.repeat(np.arange(1, 430), 6)])
    items = np.concatenate([np.arange(40), rng.integers(0, 40, 429 * 6)])
    log = pl.DataFrame({"user_id": users, "item_id": items}).unique(maintain_order=True)
    data = tt.Dataset.from_frames(log, split={"method": "random"})
    model = tt.TwoTower(data.config.retriever, data.schema, seed=0)
    path = tmp_path_factory.mktemp("all") / "bundle"
    tt.Recommender.build(model, data.train, data.config).save(path)
    return path


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (answering, recommend_all):
        monkeypatch.setattr(module, "CHUNK", CHUNK)
    monkeypatch.setattr(recommend_all, "USERS_OF_A_PART", 2 * CHUNK)


def write(recommender: tt.Recommender, file: Path, k: int = 3) -> int:
    return write_recommendations(recommender, file, k=k, progress=Console(quiet=True))


class Stopped(tt.Recommender):
    """Is interrupted after some chunks."""

    def recommend_all(self, *given: Any, **keys: Any) -> Iterator[pl.DataFrame]:
        for place, frame in enumerate(super().recommend_all(*given, **keys)):
            if place == 5:
                raise KeyboardInterrupt
            yield frame


@pytest.mark.parametrize("threads", [1, 3])
def test_an_interrupted_run_goes_on(bundle: Path, tmp_path: Path, threads: int) -> None:
    before = torch.get_num_threads()
    whole, file = tmp_path / "whole.parquet", tmp_path / "all.parquet"
    recommender = tt.Recommender.load(bundle)
    write(recommender, whole)
    torch.set_num_threads(threads)
    try:
        with pytest.raises(KeyboardInterrupt):
            write(Stopped(recommender.served), file)
        assert not file.exists()
        kept = sorted(part.name for part in (tmp_path / "all.parquet.parts").iterdir())
        assert kept == ["100.parquet", "200.parquet", "asked.json"]
        rows = write(recommender, file)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert_frame_equal(pl.read_parquet(whole), pl.read_parquet(file))
    assert rows == len(pl.read_parquet(file))
    assert not (tmp_path / "all.parquet.parts").exists()


def test_parts_of_another_request_are_not_taken(bundle: Path, tmp_path: Path) -> None:
    file, recommender = tmp_path / "all.parquet", tt.Recommender.load(bundle)
    with pytest.raises(KeyboardInterrupt):
        write(Stopped(recommender.served), file)
    write(recommender, file, k=2)
    assert pl.read_parquet(file)["rank"].max() == 2
