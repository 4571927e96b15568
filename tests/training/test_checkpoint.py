"""A checkpoint is on disk before it replaces the last one, and comes back as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.disk_order import record
from twotower.training.checkpoint import Checkpoint, Progress, load_checkpoint, save_checkpoint


def save(folder: Path, step: int, *, best: dict[str, Tensor] | None = None) -> None:
    states = {
        "weights": {"layer": torch.tensor([1.0, 2.0])},
        "optimizer": {"moment": torch.tensor([3.0])},
    }
    save_checkpoint(
        folder,
        states if best is None else {**states, "best": best},
        progress=Progress(epoch=2, step=step, epochs=[{"loss": 0.5}]),
        fingerprint="run",
    )


def load(folder: Path) -> Checkpoint:
    found = load_checkpoint(folder, fingerprint="run")
    assert found is not None
    return found


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "checkpoint"
    save(folder, 7, best={"layer": torch.tensor([4.0, 5.0])})
    found = load(folder)
    assert found.progress == Progress(epoch=2, step=7, epochs=[{"loss": 0.5}])
    assert found.states["weights"]["layer"].tolist() == [1.0, 2.0]
    assert found.states["optimizer"]["moment"].tolist() == [3.0]
    assert found.states["best"]["layer"].tolist() == [4.0, 5.0]
    assert "average" not in found.states


def test_nothing_of_the_last_one_stays(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    save(folder, 7, best={"layer": torch.tensor([4.0, 5.0])})
    save(folder, 8)
    assert load(folder).progress.step == 8
    assert "best" not in load(folder).states
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]


def test_there_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "checkpoint", fingerprint="run") is None


def test_all_files_are_synced_before_the_rename_and_the_rename_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoint"
    save(folder, 7)
    order = record(monkeypatch)
    save(folder, 8)
    order.assert_folder_is_durable(folder)
    synced = {Path(path).name for step, path, _ in order.steps if step == "sync"}
    assert synced >= {"weights.safetensors", "optimizer.safetensors", "progress.json"}


def test_a_save_that_fails_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoint"
    save(folder, 7)

    def full(path: Path, text: str, encoding: str) -> int:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left on device"):
        save(folder, 8)
    assert load(folder).progress.step == 7
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]


def test_a_process_that_died_between_the_renames_left_the_last_one(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    save(folder, 7)
    folder.rename(tmp_path / ".checkpoint.old")
    assert load(folder).progress.step == 7
