"""Processes on a cluster that train one model: what they write, and what happens where one dies."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from tests.parallel.test_launch import CONFIG, start, wait_for
from twotower import Recommender
from twotower.config import load_config
from twotower.data.synthetic.shop import generate, write
from twotower.errors import ClusterError, ConfigError, TrainingError
from twotower.workflow.cluster.training import train_on_cluster
from twotower.workflow.training.train import Outcome


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write(generate(num_users=300, num_items=200, num_interactions=9_000, seed=3), folder)
    path = folder / "twotower.toml"
    text = CONFIG.format(epochs=5, every=5)
    path.write_text(f'plugins = ["tests.parallel.train"]  # checkpoints often\n{text}')
    return path


def train(
    config: Path, out: Path, address: str, *overrides: str, workers: int | None = None
) -> tuple[Outcome, str]:
    """How it ended, and what was printed."""
    text = io.StringIO()
    outcome = train_on_cluster(
        load_config(config, overrides),
        out,
        address=address,
        workers=workers,
        resume=False,
        console=Console(file=text, width=1000),
    )
    return outcome, text.getvalue()


def train_by_command(config: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "twotower", "train", str(config), "--out", str(out)]
    return start([*command, *more])


def epochs_of(out: Path) -> list[tuple[int, float]]:
    lines = (out.with_name(out.name + ".run") / "training.jsonl").read_text().splitlines()
    return [(line["epoch"], line["loss"]) for line in map(json.loads, lines) if "epoch" in line]


def members() -> list[psutil.Process]:
    """The processes of the cluster that train."""
    below = psutil.Process().children(recursive=True)
    return [child for child in below if "".join(child.cmdline()).startswith("ray::Host.call")]


def test_a_process_on_each_node_trains_a_bundle(config: Path, address: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / "bundle"
    outcome, said = train(config, out, address, "training.epochs=5")
    assert (outcome.result.stopped, outcome.interrupted) == ("epochs", False)
    assert "285 users, 191 items learned from" in said
    assert "training: epoch   5 · loss " in said
    assert [epoch for epoch, _ in epochs_of(out)] == [1, 2, 3, 4, 5]
    assert len(Recommender.load(out).recommend("u00001", k=5).items) == 5
    assert sorted(path.name for path in out.parent.iterdir()) == ["bundle", "bundle.run"]


@pytest.mark.slow
def test_the_losses_are_those_of_as_many_processes_on_this_machine(
    config: Path, address: str, tmp_path: Path
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    train(config, there, address, "training.epochs=10", workers=2)
    process = train_by_command(config, here, "--set", "training.epochs=10", "--processes", "2")
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert len(epochs_of(here)) == 10
    assert epochs_of(there) == epochs_of(here)


@pytest.mark.slow
def test_an_error_of_a_process_is_told_once(address: str, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text(
        "user_id,item_id\n" + "".join(f"only,{item}\n" for item in range(40))
    )
    config = tmp_path / "few.toml"
    config.write_text('[data]\ninteractions = "few.csv"\n')
    with pytest.raises(TrainingError, match="has no user to learn from"):
        train(config, tmp_path / "bundle", address)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
def test_training_goes_on_after_a_process_has_died(
    config: Path, address: str, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    process = train_by_command(
        config, out, "--set", "training.epochs=60", "--ray", address, "--workers", "2"
    )
    wait_for(tmp_path / "bundle.run" / "fit" / "shards", process)
    members()[0].kill()
    said, _ = process.communicate(timeout=150)
    assert process.returncode == 0, said
    assert "all go on from the last checkpoint (restart 1 of 3)" in said
    assert "training: resuming after epoch" in said
    assert epochs_of(out)[-1][0] == 60
    assert len(Recommender.load(out).recommend("u00001", k=5).items) == 5
    assert members() == []


@pytest.mark.slow
def test_ctrl_c_keeps_the_best_weights(config: Path, address: str, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    process = train_by_command(
        config, out, "--set", "training.epochs=1000", "--ray", address, "--workers", "2"
    )
    wait_for(tmp_path / "bundle.run" / "training.jsonl", process)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert "Interrupted; kept the weights of epoch" in said
    assert 0 < epochs_of(out)[-1][0] < 1000
    assert len(Recommender.load(out).recommend("u00001", k=5).items) == 5
    assert (tmp_path / "bundle.run" / "fit" / "progress.json").exists()


@pytest.mark.slow
def test_a_folder_that_a_node_does_not_see(config: Path, address: str, tmp_path: Path) -> None:
    with pytest.raises(ClusterError) as error:
        train(config, Path("/proc/self/cwd/bundle"), address)
    assert "does not see this folder of the first process" in str(error.value)
    assert str(error.value).startswith("/proc/self/cwd: ")
    assert str(error.value).endswith("Fix: give --out a folder that all nodes share.")


def test_more_processes_than_there_are_gpus_or_cpus(
    address: str, config: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="has 0 GPUs, and each of 2 processes needs one"):
        train(config, tmp_path / "bundle", address, "training.device=cuda", workers=2)
    with pytest.raises(ClusterError, match="has 2 CPUs, and each job needs one"):
        train(config, tmp_path / "bundle", address, workers=3)
