"""Processes that die, are interrupted or cannot go on: real ones, over gloo."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.parallel.test_processes_steps import ROOT, environment, torchrun
from tests.processes import ending_with_tests
from twotower import Recommender
from twotower.data.synthetic.shop import generate, write

CONFIG = """
[data]
interactions = "interactions.parquet"
[retriever]
max_full_softmax = 10
[training]
batch_size = 16
patience = 1000
epochs = {epochs}
validate_every = {every}
[evaluation]
k = 10
"""
TRAIN = str(ROOT / "tests/parallel/train.py")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write(generate(num_users=300, num_items=200, num_interactions=9_000, seed=3), folder)
    return folder


def config_of(shop: Path, *, epochs: int, every: int = 10) -> str:
    path = shop / f"{epochs}-{every}.toml"
    path.write_text(CONFIG.format(epochs=epochs, every=every))
    return str(path)


def start(command: list[str], **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ending_with_tests(command),
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str], seconds: float = 200) -> tuple[int, str]:
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        started = psutil.Process(process.pid)
        for one in [*started.children(recursive=True), started]:
            one.kill()
        raise
    return process.returncode, said


def workers(pid: int) -> list[int]:
    """The processes below one that train, in the order of their start."""
    below = psutil.Process(pid).children(recursive=True)
    return sorted(child.pid for child in below if "--out" in child.cmdline())


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 90) -> None:
    limit = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, end(process)[1]
        assert time.monotonic() < limit, "it took too long to begin"
        time.sleep(0.05)


def steps_logged(run: Path) -> list[int]:
    lines = (run / "training.jsonl").read_text().splitlines()
    return [record["epoch"] for record in map(json.loads, lines) if "epoch" in record]


@pytest.mark.slow
def test_a_process_that_is_killed_is_started_again_and_goes_on(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    command = torchrun(2, "--max-restarts", "1", TRAIN, "train", config_of(shop, epochs=30))
    process = start([*command, "--out", str(out)])
    wait_for(tmp_path / "bundle.run" / "fit" / "shards", process)
    os.kill(workers(process.pid)[-1], signal.SIGKILL)
    code, said = end(process)
    assert code == 0, said
    assert "resuming after epoch" in said, said
    assert steps_logged(tmp_path / "bundle.run")[-1] == 30
    assert len(Recommender.load(out).recommend("u00001", k=5).items) == 5


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2), (2, 3)])
def test_an_interrupted_run_goes_on_with_another_number_of_processes(
    first: int, then: int, shop: Path, tmp_path: Path
) -> None:
    def command(number: int, *more: str) -> list[str]:
        alone = [sys.executable] if number == 1 else torchrun(number)
        config = config_of(shop, epochs=40, every=10)
        return [*alone, TRAIN, "train", config, "--out", str(tmp_path / "bundle"), *more]

    run = tmp_path / "bundle.run"
    process = start(command(first))
    wait_for(run / "fit" / "progress.json", process)
    for pid in workers(process.pid) if first > 1 else [process.pid]:
        os.kill(pid, signal.SIGINT)
    code, said = end(process)
    assert code == 0, said
    assert "Interrupted" in said
    before = json.loads((run / "fit" / "progress.json").read_text())["progress"]
    assert (0, 0) < (before["epoch"], before["step"]) < (40, 0)
    code, said = end(start(command(then, "--resume")))
    assert code == 0, said
    assert steps_logged(run)[-1] == 40
    assert len(Recommender.load(tmp_path / "bundle").recommend("u00001", k=5).items) == 5


def test_the_command_starts_its_processes_and_an_error_ends_them_all(
    shop: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.csv"
    few.write_text("user_id,item_id\n" + "".join(f"only,{item}\n" for item in range(40)))
    config = tmp_path / "few.toml"
    config.write_text('[data]\ninteractions = "few.csv"\n')
    command = [sys.executable, "-m", "twotower", "train", str(config), "--processes", "2"]
    code, said = end(start([*command, "--out", str(tmp_path / "bundle")]))
    assert code == 1
    assert said.count("error:") == 1, said
    assert "has no user to learn from" in said
    assert "start fewer processes" in said
    assert "Traceback" not in said
    assert "restart" not in said


@pytest.mark.slow
def test_the_command_goes_on_after_a_process_has_died(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    command = [sys.executable, "-m", "twotower", "train", config_of(shop, epochs=40)]
    process = start([*command, "--out", str(out), "--processes", "2"])
    wait_for(tmp_path / "bundle.run" / "training.jsonl", process)
    os.kill(workers(process.pid)[-1], signal.SIGKILL)
    code, said = end(process)
    assert code == 0, said
    assert "of 2 died with exit code -9" in said
    assert len(Recommender.load(out).recommend("u00001", k=5).items) == 5


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -9, marks=pytest.mark.slow),
    ],
)
def test_a_command_that_ends_before_it_trains_leaves_no_process(
    number: signal.Signals, expected: int, shop: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "twotower", "train", config_of(shop, epochs=500)]
    process = start([*command, "--out", str(tmp_path / "bundle"), "--processes", "2"])
    limit = time.monotonic() + 60
    while len(below := workers(process.pid)) < 2:
        assert time.monotonic() < limit, "it took too long to begin"
        time.sleep(0.05)
    started = [psutil.Process(pid) for pid in below]
    os.kill(process.pid, number)
    code, said = end(process)
    assert code == expected, said
    assert "go on from the last checkpoint" not in said
    _, left = psutil.wait_procs(started, timeout=60)
    assert not left


def on_two_machines(shop: Path, tmp_path: Path, out: Path) -> str:
    """What two processes say whose current folders differ in the data."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir(exist_ok=True)
    shutil.copy(shop / "interactions.parquet", tmp_path / "one")
    write(generate(num_users=280, num_items=190, num_interactions=8_000, seed=4), tmp_path / "two")
    config = tmp_path / "twotower.toml"
    here = CONFIG.replace('"interactions.parquet"', '"/proc/self/cwd/interactions.parquet"')
    config.write_text(here.format(epochs=3, every=1))
    folders = f"{tmp_path / 'one'}:{tmp_path / 'two'}"
    command = torchrun(2, TRAIN, "train", str(config), "--out", str(out))
    code, said = end(start(command, FOLDERS=folders))
    assert code == 1
    return said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_process_that_has_read_other_data_is_named(shop: Path, tmp_path: Path) -> None:
    said = on_two_machines(shop, tmp_path, tmp_path / "bundle")
    expected = (
        "error: process 2 of 2 has read other training data than the first one. Fix: give all "
        "machines the same files, under the same paths."
    )
    assert expected in said, said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_process_with_another_folder_of_the_same_name_is_named(
    shop: Path, tmp_path: Path
) -> None:
    (tmp_path / "two" / "bundle.run").mkdir(parents=True)
    said = on_two_machines(shop, tmp_path, Path("/proc/self/cwd/bundle"))
    assert "process 2 of 2 does not see the folder of the run" in said, said


@pytest.mark.slow
def test_ctrl_c_stops_all_after_the_same_step(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    command = [sys.executable, "-m", "twotower", "train", config_of(shop, epochs=500)]
    process = start([*command, "--out", str(out), "--processes", "2"])
    wait_for(tmp_path / "bundle.run" / "training.jsonl", process)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    code, said = end(process)
    assert code == 0, said
    assert "Interrupted" in said
    assert len(Recommender.load(out).recommend("u00001", k=5).items) == 5
