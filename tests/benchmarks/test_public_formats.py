"""Files in the formats of public data sets: understood as they are, or refused with the cause."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.public_formats import FORMATS
from benchmarks.public_formats.expectation import Format
from benchmarks.public_formats.running import run_format

LONGEST_MESSAGE = 400


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__)
def test_a_format_is_understood(make: Format, tmp_path: Path) -> None:
    result = run_format(make, tmp_path)
    assert result.faults == ()
    assert result.outcome in ("as_it_is", "one_edit", "refused")
    assert len(result.message.replace(f"{tmp_path}/", "")) <= LONGEST_MESSAGE
