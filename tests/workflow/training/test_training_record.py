"""What a bundle tells of its training and of its stages."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import twotower as tt
from twotower.config import Config, load_config
from twotower.data.synthetic.shop import generate, write
from twotower.training.trainer import TrainResult
from twotower.workflow.training import training_record
from twotower.workflow.training.stage_report import stage_report
from twotower.workflow.training.train import train_bundle
from twotower.workflow.training.training_record import curve, curves, stages_of

SETTINGS = [
    "training.epochs=3",
    "retriever.embedding_dim=8",
    "ranker.embedding_dim=4",
    "ranker.hidden=[8]",
    "ranker.num_candidates=20",
    "ranker.epochs=2",
]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("shop")
    catalogue = generate(num_users=120, num_items=80, num_interactions=2400)
    (folder / "twotower.toml").write_text(write(catalogue, folder), encoding="utf-8")
    return load_config(folder / "twotower.toml", SETTINGS)


def bundled(config: Config, folder: Path, *overrides: str) -> dict[str, Any]:
    """Train; the manifest, and what the log says of each stage under `log`."""
    if overrides:
        training = config.training.model_copy(update={"refit": overrides[0]})
        config = config.model_copy(update={"training": training})
    train_bundle(config, folder / "bundle", console=Console(file=StringIO()))
    log = (folder / "bundle.run" / "training.jsonl").read_text(encoding="utf-8").splitlines()
    manifest: dict[str, Any] = json.loads((folder / "bundle" / "manifest.json").read_text())
    return {**manifest, "log": [json.loads(line) for line in log]}


def test_the_manifest_holds_what_the_log_says_of_each_epoch(config: Config, tmp_path: Path) -> None:
    manifest = bundled(config, tmp_path)
    told = manifest["training"]
    assert list(told) == ["retriever", "ranker"]
    assert [len(told[stage]["epochs"]) for stage in told] == [3, 2]
    for stage, title in (("retriever", "training"), ("ranker", "training, ranker")):
        logged = [line for line in manifest["log"] if line["stage"] == title]
        kept = told[stage]["epochs"]
        for name in ("epoch", "loss", "ndcg@10", "recall@10"):
            assert [entry[name] for entry in kept] == [line[name] for line in logged]
        best = max(kept, key=lambda entry: float(entry["ndcg@10"]))
        assert told[stage]["metric"] == "ndcg@10"
        assert told[stage]["best_epoch"] == best["epoch"]
        assert told[stage]["seconds"] >= kept[-1]["seconds"] > 0


@pytest.mark.parametrize("refit", ["none", "train", "all"])
def test_the_stages_are_those_of_the_measured_model(
    config: Config, tmp_path: Path, refit: str
) -> None:
    manifest = bundled(config, tmp_path, refit)
    stages, metrics = manifest["stages"], manifest["metrics"]["metrics"]
    # Few users: all of them are looked at, so that both figures are the same.
    assert stages["num_queries"] == manifest["metrics"]["num_queries"]
    assert stages["pipeline"]["ndcg@10"] == pytest.approx(metrics["ndcg@10"])
    assert stages["milliseconds"].keys() == {"retrieve", "rank"}
    assert stages["ceiling"]["recall@20"] >= stages["pipeline"]["recall@10"]


def test_a_sample_of_users_is_looked_at(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_bundle(config, tmp_path / "bundle", console=Console(file=StringIO()))
    recommender = tt.Recommender.load(tmp_path / "bundle")
    test = tt.Dataset.read(config).test
    monkeypatch.setattr(training_record, "STAGE_USERS", 15)
    found = stages_of(recommender, test)
    assert found is not None
    assert found["num_queries"] == 15
    users = np.unique(test.user_num)
    drawn = np.random.default_rng(0).choice(users, 15, replace=False)
    part = test.take(np.flatnonzero(np.isin(test.user_num, drawn)))
    expected = stage_report(recommender, part, k=10)
    assert {**found, "milliseconds": {}} == {**expected, "milliseconds": {}}
    assert stages_of(recommender, test.take(np.array([], dtype=np.int64))) is None


def test_without_validation_and_ranker_a_curve_is_that_of_the_loss() -> None:
    epochs = [{"epoch": 1, "loss": 2.0, "seconds": 0.1}, {"epoch": 2, "loss": 1.5, "seconds": 0.2}]
    result = TrainResult(2, None, epochs, "epochs", 0.2049, ())
    told = curve(result)
    assert told == {
        "metric": None,
        "best_epoch": 2,
        "stopped": "epochs",
        "seconds": 0.2,
        "epochs": epochs,
    }
    assert curves(result) == {"retriever": told}
