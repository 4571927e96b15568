"""Searches from the config to the file with the best values."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from tests.workflow.tuning.shops import IDS_ONLY, QUICK, config_of, write_shop
from twotower.config import load_config
from twotower.data.dataset.dataset import Dataset
from twotower.errors import ConfigError, DataError, TrainingError
from twotower.workflow.training.train import train_bundle
from twotower.workflow.tuning.best_config import FIRST_LINE
from twotower.workflow.tuning.report import render_tuning
from twotower.workflow.tuning.search import read_trials
from twotower.workflow.tuning.settings import with_settings
from twotower.workflow.tuning.space import search_space, short
from twotower.workflow.tuning.trial import read_without_test
from twotower.workflow.tuning.tune import Tuning, tune

BAD = (
    *IDS_ONLY,
    "training.learning_rate=0.00001",
    "training.epochs=5",
    "training.patience=5",
    "retriever.embedding_dim=16",
    "retriever.blend=false",
    "evaluation.k=5",
)
"""A config that many others are better than."""


@pytest.fixture(name="shop", scope="module")
def fixture_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(name="done", scope="module")
def fixture_done(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuning:
    """A search that finds something better."""
    out = tmp_path_factory.mktemp("out") / "best.toml"
    return tune(shop, out, trials=16, overrides=BAD)


def test_the_best_values_are_written(done: Tuning, shop: Path) -> None:
    assert done.document["is_better"]
    assert done.verdict.startswith("Trial ")
    best = done.frame.row(done.document["chosen"], named=True)
    assert best["ndcg@5"] == done.frame["ndcg@5"].max() > 2 * done.frame["ndcg@5"][0]
    assert done.changed
    found = load_config(done.out)
    assert found == with_settings(load_config(shop, BAD), done.changed)
    text = done.out.read_text(encoding="utf-8")
    assert text.startswith(f"{FIRST_LINE}\n# twotower ")
    assert "16 trials (" in text
    assert "No row of the test part was" in text
    for key, value in done.changed.items():
        assert f"# {key}: {value} (was " in text
    assert "# A synthetic shop: the young in the north" in text


def test_the_report_holds_the_trials(done: Tuning) -> None:
    kept = json.loads((done.folder / "tune.json").read_text(encoding="utf-8"))
    assert kept == json.loads(json.dumps(done.document))
    assert [trial["number"] for trial in kept["trials"]] == list(range(16))
    for trial, row in zip(kept["trials"], done.frame.iter_rows(named=True), strict=True):
        assert row["ndcg@5"] == trial["value"]
        assert row["training.learning_rate"] == trial["settings"]["training.learning_rate"]
        assert row["epochs"] == len(trial["curve"]) == 5
    assert kept["own"] == kept["trials"][0]["value"]
    assert kept["budget"] == {"trials": 16, "minutes": None, "jobs": 1, "seed": 0}
    assert kept["test"]["p_corrected"] == pytest.approx(min(15 * kept["test"]["p_value"], 1))
    assert sum(kept["importances"].values()) == pytest.approx(1)


def test_the_terminal_shows_the_best_trials_and_the_first(done: Tuning) -> None:
    shown = io.StringIO()
    Console(file=shown, width=400).print(render_tuning(done.document))
    lines = shown.getvalue().splitlines()
    assert lines[0] == done.verdict
    for key, change in done.document["changed"].items():
        assert f"  {key} = {change['to']}   (was {short(change['from'])})" in lines
    assert "Keys that mattered most: " in shown.getvalue()
    rows = [re.split(r"\s*│\s*", line)[1:-1] for line in lines if line.startswith("│")]
    title = f"16 trials, best first; {16 - len(rows)} more are in the report"
    assert title in [line.strip() for line in lines]
    assert rows[0][0] == str(done.document["chosen"] + 1)
    assert ["1", "the config as it is"] in [[row[0], row[-1]] for row in rows]
    values = [float(row[1]) for row in rows]
    assert values == sorted(values, reverse=True)


def test_a_notebook_shows_the_verdict_and_the_trials(done: Tuning) -> None:
    assert repr(done).startswith("Tuning(16 trials, ndcg@5 0.")
    assert done.verdict.split(":")[0] in done._repr_html_()
    assert "<table" in done._repr_html_()


def test_training_the_best_config_gives_its_figure(done: Tuning, tmp_path: Path) -> None:
    outcome = train_bundle(
        load_config(done.out), tmp_path / "bundle", console=Console(file=io.StringIO())
    )
    assert outcome.result.best_metric == pytest.approx(done.document["best"], rel=0.02)
    assert outcome.evaluation is not None


def test_the_same_seed_gives_the_same_trials_also_after_an_interruption(
    done: Tuning, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "best.toml"
    console = Console(file=io.StringIO(), width=200)
    real = console.print

    def press_ctrl_c(*parts: Any, **options: Any) -> None:
        real(*parts, **options)
        if str(parts[0]).startswith("trial 4 of 16"):
            raise KeyboardInterrupt

    monkeypatch.setattr(console, "print", press_ctrl_c)
    stopped = tune(shop, out, trials=16, overrides=BAD, console=console)
    assert stopped.interrupted
    assert len(stopped.frame) == 4
    assert "stopped by Ctrl-C" in out.read_text(encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        tune(shop, out, trials=16, overrides=BAD)
    folder = tmp_path / "best.toml.run"
    assert str(raised.value) == (
        f"{folder}: holds 4 trials of a search that was interrupted. Fix: continue it with "
        "--resume, choose another --out, or remove this folder."
    )
    with pytest.raises(ConfigError, match="holds a search with different data, config or version"):
        tune(shop, out, overrides=(*BAD, "training.seed=3"), resume=True)
    went_on = tune(shop, out, trials=16, overrides=BAD, resume=True)
    assert not went_on.interrupted
    columns = [name for name in done.frame.columns if name != "seconds"]
    assert went_on.frame.select(columns).equals(done.frame.select(columns))
    more = tune(shop, out, trials=17, overrides=BAD, resume=True)
    assert more.frame[:16].select(columns).equals(done.frame.select(columns))
    anew = tune(shop, out, trials=2, overrides=BAD)
    assert len(anew.frame) == 2


def test_a_gain_that_is_noise_is_not_taken(shop: Path, tmp_path: Path) -> None:
    keys = search_space(read_without_test(config_of(shop, *IDS_ONLY)))
    seeds = [f"tune.space.{key}=false" for key in keys]
    seeds += ["tune.space.training.seed=[1,2,3,4,5]", *QUICK, *IDS_ONLY, "training.epochs=6"]
    found = tune(shop, tmp_path / "best.toml", trials=5, overrides=seeds)
    assert found.document["best"] > found.document["own"]
    assert found.document["test"]["p_corrected"] > 0.05
    assert not found.document["is_better"]
    assert found.changed == {}
    assert found.document["chosen"] == 0
    assert load_config(found.out) == load_config(shop, seeds)
    assert "kept" in found.verdict


def given_parts(folder: Path, shop: Path, *, seed: int) -> Path:
    """The shop with files for each part, and test rows that depend on a seed."""
    data = Dataset.read(config_of(shop))
    folder.mkdir()
    data.parts.train.write_parquet(folder / "train.parquet")
    data.parts.validation.write_parquet(folder / "validation.parquet")
    rng = np.random.default_rng(seed)
    users = [f"t{number}" for number in rng.integers(1000, size=50)]
    items = rng.choice(data.parts.train["item_id"].to_numpy(), 50)
    times = rng.integers(2_000_000_000, 2_000_001_000, size=50)
    test = pl.DataFrame({"user_id": users, "item_id": items, "timestamp": times})
    test.write_parquet(folder / "test.parquet")
    for name in ("users", "items"):
        (folder / f"{name}.parquet").write_bytes((shop.parent / f"{name}.parquet").read_bytes())
    text = shop.read_text(encoding="utf-8").replace("interactions.parquet", "train.parquet")
    config = folder / "twotower.toml"
    split = '\n[data.split]\ntest = "test.parquet"\nvalidation = "validation.parquet"\n'
    config.write_text(text + split, encoding="utf-8")
    return config


def test_what_is_in_the_test_part_has_no_effect(shop: Path, tmp_path: Path) -> None:
    frames = []
    for seed in (1, 2):
        config = given_parts(tmp_path / str(seed), shop, seed=seed)
        found = tune(config, tmp_path / f"{seed}.toml", trials=4, overrides=QUICK)
        frames.append(found.frame.drop("seconds"))
    assert frames[0].equals(frames[1])


def test_a_config_without_a_file(shop: Path, tmp_path: Path) -> None:
    config = config_of(shop)
    found = tune(config, tmp_path / "best.toml", trials=1)
    assert load_config(found.out) == config


def test_time_is_a_budget(shop: Path, tmp_path: Path) -> None:
    found = tune(shop, tmp_path / "best.toml", minutes=1e-6, overrides=QUICK)
    assert len(found.frame) == 1
    assert found.document["budget"]["trials"] is None


# --- what is refused ----------------------------------------------------------------------------


def test_a_budget_of_nothing(shop: Path, tmp_path: Path) -> None:
    nothing = [("trials", 0), ("jobs", 0), ("minutes", -1), ("minutes", math.nan)]
    for name, value in (*nothing, ("minutes", math.inf)):
        budget: dict[str, Any] = {name: value}
        with pytest.raises(ConfigError) as raised:
            tune(shop, tmp_path / "best.toml", **budget)
        assert str(raised.value) == f"{name} must be a number above 0 (found {value})."


def test_places_that_cannot_be_written(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        tune(shop, shop, trials=1)
    assert str(raised.value) == (
        f"{shop}: is the config that is tuned, which is not replaced. Fix: choose another name "
        "with --out."
    )
    (tmp_path / "file").write_text("x", encoding="utf-8")
    out = tmp_path / "file" / "best.toml"
    with pytest.raises(ConfigError, match=re.escape(f"{out}: cannot be written: Not a directory")):
        tune(shop, out, trials=1)
    folder = tmp_path / "best.toml.run"
    folder.mkdir()
    (folder / "photo.jpg").write_bytes(b"x")
    with pytest.raises(ConfigError, match="is not the folder of a search, so it is not replaced"):
        tune(shop, tmp_path / "best.toml", trials=1)
    assert (folder / "photo.jpg").exists()


def test_no_validation_part(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        tune(shop, tmp_path / "b.toml", overrides=["data.split.validation_fraction=0"])
    assert str(raised.value) == (
        "a search needs a validation part, but there is none. Fix: set [data.split] "
        "validation_fraction above 0."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_config_that_fails_by_itself(jobs: int, shop: Path, tmp_path: Path) -> None:
    broken = ("training.learning_rate=1e30", "training.layer_learning_rate=1e30")
    with pytest.raises(TrainingError) as raised:
        tune(shop, tmp_path / "b.toml", trials=3, jobs=jobs, overrides=(*QUICK, *broken))
    assert str(raised.value).startswith(
        "training with the config as it is failed: the loss became nan at step "
    )
    assert not any(t.number == 0 for t in read_trials(tmp_path / "b.toml.run" / "trials.jsonl"))


@pytest.mark.slow
def test_two_jobs_search_like_one(shop: Path, tmp_path: Path) -> None:
    found = tune(shop, tmp_path / "best.toml", trials=6, jobs=2, overrides=BAD)
    assert found.frame["number"].to_list() == list(range(6))
    assert found.frame["failure"].null_count() == 6
    alone = tune(shop, tmp_path / "one.toml", trials=1, overrides=BAD)
    assert found.document["own"] == pytest.approx(alone.document["own"], rel=1e-6)
    assert found.document["best"] >= found.document["own"]
    assert load_config(found.out) == with_settings(load_config(shop, BAD), found.changed)
