"""Files of several processes where writing fails; what they hold is tested with the checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from twotower.errors import TrainingError
from twotower.training.sharded_files import save_shards

if sys.platform == "win32":
    pytest.skip("needs limits of a process", allow_module_level=True)

import resource


@pytest.fixture
def small_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
@pytest.mark.filterwarnings("ignore:torch.distributed is", "ignore:TypedStorage is")
def test_what_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    expected = (
        "shards: the checkpoint could not be written: process 1: the disk took only a part of a "
        "file; most often it is full. Fix: make room there"
    )
    with pytest.raises(TrainingError, match=expected):
        save_shards(tmp_path / "shards", {"weights/layer": torch.zeros(100_000)}, {})
