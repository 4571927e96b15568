"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of public research data sets; tests that need it are skipped without it."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TWOTOWER_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no research data at {folder}; set TWOTOWER_DATA to their folder")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Test processes run side by side: each on one core."""
    torch.set_num_threads(1)
