"""`twotower tune` as a person uses it: real processes, real files, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests.cli.test_cli import run, run_json, start
from tests.workflow.tuning.shops import IDS_ONLY, write_shop
from twotower.config import load_config

QUICK = tuple(
    f"--set={override}"
    for override in (
        *IDS_ONLY,
        "training.learning_rate=0.00001",
        "tune.space.training.learning_rate={low=0.01,high=0.05,log=true}",
        "training.epochs=5",
        "retriever.embedding_dim=16",
        "retriever.blend=false",
        "evaluation.k=5",
    )
)
ENDLESS = ("--set=training.epochs=1000000", "--set=training.patience=1000000")


@pytest.fixture(name="shop")
def fixture_shop(tmp_path: Path) -> Path:
    return write_shop(tmp_path)


def test_a_search_from_the_plan_to_a_bundle(shop: Path, tmp_path: Path) -> None:
    plan = run("tune", shop, *QUICK, "--dry-run", "--minutes", "20", "--jobs", "2")
    assert plan.code == 0, plan.err
    assert "Budget: 20 minutes of training, 2 trials at a time" in plan.out
    assert re.search(r"│ retriever.temperature +│ 0\.\d+ +│ 0.04 to 0.5, log scale ", plan.out)
    assert run_json("tune", shop, *QUICK, "--dry-run")["space"]["retriever.embedding_dim"] == {
        "own": 16,
        "values": [8, 16, 32],
    }
    assert not (tmp_path / "best.toml.run").exists()

    done = run("tune", shop, *QUICK, "--trials", "8")
    assert done.code == 0, done.err
    best = tmp_path / "best.toml"
    assert done.out.startswith("Trial ")
    assert f"Wrote {best}. Next:\n  twotower train {best} --out {tmp_path / 'bundle'}" in done.out
    assert "Budget: 8 trials, one trial at a time" in done.err
    assert "trial 8 of 8: " in done.err
    assert " test;" not in done.err

    again = run_json("tune", shop, *QUICK, "--trials", "9", "--resume")
    assert len(again["trials"]) == 9
    assert again == json.loads((tmp_path / "best.toml.run" / "tune.json").read_text("utf-8"))
    trained = run("train", best, "--out", tmp_path / "bundle")
    assert trained.code == 0, trained.err
    assert "Held-out interactions" in trained.out


class Interrupted(NamedTuple):
    code: int
    printed: str
    children: list[psutil.Process]


def interrupt_after(trials: int, log: Path, *arguments: str | Path) -> Interrupted:
    """Run a command, and press Ctrl-C as soon as so many trials are finished and another runs."""
    printed = log.parents[1] / "printed"
    process = start([*map(str, arguments)], printed)
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and len(log.read_text("utf-8").splitlines()) >= trials:
            break
        time.sleep(0.02)
    if not trials:
        time.sleep(2)
    children = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGINT)
    code = process.wait(100)
    return Interrupted(code, printed.read_text(encoding="utf-8"), children)


@pytest.mark.slow
def test_ctrl_c_keeps_the_trials_and_resume_goes_on(shop: Path, tmp_path: Path) -> None:
    command = ("tune", str(shop), *QUICK, "--out", str(tmp_path / "best.toml"))
    log = tmp_path / "best.toml.run" / "trials.jsonl"
    stopped = interrupt_after(3, log, *command, "--trials", "100")
    assert stopped.code == 130, stopped.printed
    assert "Interrupted: run the same command with --resume to continue." in stopped.printed
    assert "Traceback" not in stopped.printed
    assert "stopped by Ctrl-C" in (tmp_path / "best.toml").read_text("utf-8")
    load_config(tmp_path / "best.toml")
    kept = log.read_text("utf-8").splitlines()
    assert 3 <= len(kept) < 100
    forgotten = run(*command, "--trials", "100")
    assert forgotten.code == 1
    assert f"holds {len(kept)} trials of a search that was interrupted" in forgotten.err
    went_on = run(*command, "--trials", str(len(kept) + 2), "--resume")
    assert went_on.code == 0, went_on.err
    assert f"Resuming after {len(kept)} trials." in went_on.err
    assert log.read_text("utf-8").splitlines()[: len(kept)] == kept


@pytest.mark.slow
def test_ctrl_c_ends_the_processes_of_several_jobs(shop: Path, tmp_path: Path) -> None:
    command = ("tune", str(shop), *QUICK, "--jobs", "2")
    log = tmp_path / "best.toml.run" / "trials.jsonl"
    stopped = interrupt_after(3, log, *command, "--trials", "100")
    assert stopped.code == 130, stopped.printed
    assert "Traceback" not in stopped.printed
    assert len(stopped.children) == 2
    assert not any(child.is_running() for child in stopped.children)
    went_on = run_json(*command, "--trials", "6", "--resume")
    assert sorted(trial["number"] for trial in went_on["trials"])[:6] == list(range(6))


@pytest.mark.slow
def test_killing_a_search_ends_its_processes(shop: Path, tmp_path: Path) -> None:
    command = ["tune", str(shop), *QUICK, *ENDLESS, "--jobs", "2"]
    process = start(command, tmp_path / "printed")
    deadline = time.monotonic() + 100
    children: list[psutil.Process] = []
    while len(children) < 2 and time.monotonic() < deadline:
        children = psutil.Process(process.pid).children()
        time.sleep(0.1)
    time.sleep(5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(children) == 2
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []


def test_ctrl_c_before_the_first_trial_is_finished(shop: Path, tmp_path: Path) -> None:
    log = tmp_path / "best.toml.run" / "config.json"
    stopped = interrupt_after(0, log, "tune", shop, *QUICK, *ENDLESS)
    assert stopped.code == 130, stopped.printed
    assert "Interrupted before the first trial was finished." in stopped.printed
    assert "Traceback" not in stopped.printed
    assert not (tmp_path / "best.toml").exists()


@pytest.mark.slow
def test_what_is_wrong_is_said(shop: Path, tmp_path: Path) -> None:
    best = f"{shop}/best.toml"
    refused = [
        ("--trials=0", 2, "Input should be greater than or equal to 1"),
        ("--jobs=0", 2, "Input should be greater than or equal to 1"),
        ("--minutes=-3", 1, "error: minutes must be a number above 0 (found -3.0)."),
        (f"--out={shop}", 1, "is the config that is tuned, which is not replaced."),
        (f"--out={best}", 1, f"{best}: cannot be written: Not a directory"),
        ("--set=data.split.validation_fraction=0", 1, "error: a search needs a validation part"),
        ("--set=tune.space.retriever.drop=[1]", 1, "did you mean 'retriever.dropout'?"),
        ("--set=tune.space.retriever.dropout=[2]", 1, "tune.space.retriever.dropout: Input"),
        ("--set=tune.trials=3", 1, "unknown key 'tune.trials'"),
    ]
    for argument, code, problem in refused:
        done = run("tune", shop, argument)
        assert (done.code, done.out) == (code, ""), done.err
        assert problem in done.err
        assert "Traceback" not in done.err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("best")] == []
    (tmp_path / "best.toml").write_text("[data]\n", encoding="utf-8")
    done = run("tune", shop)
    assert done.code == 1
    assert "exists and was not written by `twotower tune`, so it is not replaced" in done.err
    assert (tmp_path / "best.toml").read_text("utf-8") == "[data]\n"
