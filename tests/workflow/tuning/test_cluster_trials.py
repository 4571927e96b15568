"""`tune` on a cluster: the trials of this machine, and a process that is killed meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.conftest import Killer
from tests.workflow.tuning.shops import QUICK, write_shop
from twotower.errors import ClusterError
from twotower.workflow.tuning.tune import TRIALS, Tuning, tune


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop"))


def run(config: Path, out: Path, ray: str | None = None, **more: Any) -> Tuning:
    return tune(config, out, overrides=[*QUICK, "training.patience=1"], ray=ray, **more)


def trials(tuning: Tuning) -> dict[int, dict[str, Any]]:
    """Number -> trial, without its duration."""
    lines = (tuning.folder / TRIALS).read_text().splitlines()
    found = {document["number"]: document for document in map(json.loads, lines)}
    for document in found.values():
        del document["seconds"]
    return found


def values(tuning: Tuning) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (tuning.folder / "values").iterdir()}


@pytest.mark.slow
def test_a_search_on_a_cluster_finds_what_it_finds_here(
    config: Path, address: str, tmp_path: Path
) -> None:
    here = run(config, tmp_path / "here.toml", trials=3)
    there = run(config, tmp_path / "there.toml", address, trials=2)
    assert {n: trials(here)[n] for n in (0, 1)} == trials(there)
    resumed = run(config, tmp_path / "there.toml", address, trials=3, resume=True)
    assert trials(resumed) == trials(here)
    assert values(resumed) == values(here)
    assert resumed.document["changed"] == here.document["changed"]


@pytest.mark.slow
def test_a_trial_whose_process_is_killed_runs_again(
    config: Path, address: str, tmp_path: Path, killer: Killer
) -> None:
    found = run(config, tmp_path / "best.toml", address, trials=2, jobs=2)
    assert killer.killed
    assert [trial["failure"] for trial in trials(found).values()] == [None, None]
    assert set(values(found)) == {"0.parquet", "1.parquet"}


def test_more_jobs_than_the_cluster_has_cpus(config: Path, address: str, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="has 2 CPUs, and each job needs one"):
        run(config, tmp_path / "best.toml", address, trials=1, jobs=3)


def test_a_wrong_address_leaves_nothing(config: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="nothing answers at 127"):
        run(config, tmp_path / "best.toml", "127.0.0.1:9", trials=1)
    assert list(tmp_path.iterdir()) == []
