"""A disk that is full: an error that says so, no traceback, nothing half written."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import twotower

SHOP = ["demo", "--out"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def assert_says_so(ended: subprocess.CompletedProcess[str]) -> None:
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "No space left on device" in ended.stderr
    assert "make room" in ended.stderr


def write_log(folder: Path, rows: int = 3000) -> Path:
    lines = ["user_id,item_id,timestamp"]
    lines += [f"u{n % 97},i{(n * 31) % 61},{1_600_000_000 + 3600 * n}" for n in range(rows)]
    file = folder / "log.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def fill(folder: Path, left: int) -> None:
    """Leave so many bytes."""
    stat = os.statvfs(folder)
    (folder / "filler").write_bytes(b"0" * max(0, stat.f_bavail * stat.f_frsize - left))


@pytest.mark.parametrize("left", [0, 20_000, 100_000])
def test_train_on_a_full_disk(small_disk: Path, tmp_path: Path, left: int) -> None:
    config = tmp_path / "twotower.toml"
    log = write_log(tmp_path)
    config.write_text(f'[data]\ninteractions = "{log}"\n[training]\nepochs = 1\n', encoding="utf-8")
    fill(small_disk, left)
    assert_says_so(twotower("train", config, "--out", small_disk / "bundle"))
    assert not (small_disk / "bundle").exists()


def test_init_on_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    log = write_log(tmp_path)
    (small_disk / "shop").mkdir()
    fill(small_disk, 0)
    ended = twotower("init", small_disk / "shop", "--interactions", log)
    assert_says_so(ended)
    assert list((small_disk / "shop").iterdir()) == []


def test_demo_on_a_full_disk(small_disk: Path) -> None:
    fill(small_disk, 50_000)
    assert_says_so(twotower("demo", "--out", small_disk / "demo"))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "left", [pytest.param(4_096, marks=SLOW), 12_288, pytest.param(65_536, marks=SLOW)]
)
@pytest.mark.slow
def test_compare_on_a_full_disk(small_disk: Path, tmp_path: Path, left: int) -> None:
    config = tmp_path / "twotower.toml"
    log = write_log(tmp_path)
    config.write_text(
        f'[data]\ninteractions = "{log}"\n[compare]\ntrials = 1\nisolate = true\n', encoding="utf-8"
    )
    compare = ["compare", config, "--models", "popularity,item_knn"]
    fill(small_disk, left)
    folder = small_disk / "comparison"
    assert_says_so(twotower(*compare, "--out", folder))
    assert not (folder / "report.html").exists()
    assert [file for file in folder.rglob("*") if file.name.endswith(".writing")] == []
    # With room the same command goes on from what is there.
    subprocess.run(["mount", "-o", "remount,size=30m", small_disk], check=True)
    assert twotower(*compare, "--out", folder).returncode == 0
    assert (folder / "report.html").exists()
    document = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    assert {model["name"] for model in document["models"]} == {"popularity", "item_knn"}
    assert [model for model in document["models"] if model.get("failure")] == []


@pytest.mark.parametrize(
    ("left", "jobs"),
    [(0, 1), pytest.param(8_192, 1, marks=SLOW), pytest.param(12_288, 2, marks=SLOW)],
)
@pytest.mark.slow
def test_tune_on_a_full_disk(small_disk: Path, tmp_path: Path, left: int, jobs: int) -> None:
    config = tmp_path / "twotower.toml"
    log = write_log(tmp_path)
    config.write_text(f'[data]\ninteractions = "{log}"\n[training]\nepochs = 2\n', "utf-8")
    best = small_disk / "best.toml"
    tune = ["tune", config, "--trials", "3", "--jobs", jobs, "--out", best]
    fill(small_disk, left)
    assert_says_so(twotower(*tune))
    assert [file for file in small_disk.rglob("*") if file.name.endswith(".writing")] == []
    subprocess.run(["mount", "-o", "remount,size=30m", small_disk], check=True)
    assert twotower(*tune, "--resume").returncode == 0
    assert best.exists()
    report = json.loads((small_disk / "best.toml.run" / "tune.json").read_text("utf-8"))
    assert [trial["failure"] for trial in report["trials"]] == [None] * 3
