"""`compare` on a cluster: the results of this machine, whatever dies meanwhile."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.workflow.tuning.shops import QUICK, write_shop
from twotower.config import load_config
from twotower.workflow.comparison import cluster_models
from twotower.workflow.comparison.compare import Comparison, compare

MODELS = ("popularity", "ials", "two_tower_ids")
OVERRIDES = (*QUICK, "training.patience=1", "compare.isolate=false", "compare.trials=3")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop"))


def run(shop: Path, out: Path, ray: str | None = None, **more: Any) -> Comparison:
    return compare(load_config(shop, OVERRIDES), out, models=MODELS, ray=ray, **more)


def found(comparison: Comparison) -> dict[str, Any]:
    """What does not depend on the machine and the time."""
    models = {}
    for name in MODELS:
        result = json.loads((comparison.folder / name / "result.json").read_text())
        tried = [(t["number"], t["settings"], t["value"]) for t in result["trials"]]
        models[name] = (tried, result["settings"], result["validation"])
    metrics = comparison.frame.select("name", "ndcg@5").sort("name").to_dicts()
    return {"models": models, "metrics": metrics}


@pytest.fixture(scope="module")
def here(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return found(run(shop, tmp_path_factory.mktemp("here") / "comparison"))


def test_a_cluster_finds_the_same(
    shop: Path, here: dict[str, Any], address: str, tmp_path: Path
) -> None:
    text = io.StringIO()
    there = run(shop, tmp_path / "there", address, console=Console(file=text, width=200))
    assert found(there) == here
    assert "two_tower_ids" in {file.name for file in (tmp_path / "there").iterdir()}
    assert "trial 3 of at most 3: validation ndcg@5" in text.getvalue()
    text.truncate(0)
    run(shop, tmp_path / "there", address, console=Console(file=text, width=200))
    assert text.getvalue().count("already finished") == 3


@pytest.mark.slow
def test_a_model_whose_process_is_killed_goes_on_with_its_trials(
    shop: Path,
    here: dict[str, Any],
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process is killed after a trial has come back."""
    starts: list[int] = []
    start = cluster_models.Running.start
    is_finished = cluster_models.Running.is_finished

    def counted(self: cluster_models.Running, hosts: Any, host: int) -> None:
        file = self.folder / "trials.jsonl"
        if self.contender.name == "two_tower_ids":
            starts.append(len(file.read_text().splitlines()) if file.exists() else 0)
        start(self, hosts, host)

    def killing(self: cluster_models.Running, hosts: Any, host: int, console: Console) -> bool:
        file = self.folder / "trials.jsonl"
        if self.contender.name == "two_tower_ids" and file.exists() and len(starts) == 1:
            hosts.ray.kill(hosts.actors[host])
        return is_finished(self, hosts, host, console)

    monkeypatch.setattr(cluster_models.Running, "start", counted)
    monkeypatch.setattr(cluster_models.Running, "is_finished", killing)
    monkeypatch.setattr(cluster_models, "SECONDS_BETWEEN_LOOKS", 0.05)
    there = run(shop, tmp_path / "there", address)
    assert found(there) == here
    assert len(starts) == 2
    assert starts[1] > 0


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_here(
    shop: Path,
    here: dict[str, Any],
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*_: Any) -> bool:
        raise KeyboardInterrupt

    is_over = cluster_models.is_over

    def is_over_once(*given: Any) -> bool:
        if is_over(*given):
            monkeypatch.setattr(cluster_models, "is_over", stopped)
            return True
        return False

    monkeypatch.setattr(cluster_models, "is_over", is_over_once)
    assert run(shop, tmp_path / "there", address).interrupted
    assert found(run(shop, tmp_path / "there")) == here
