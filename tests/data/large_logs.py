"""Logs that are read as if they were larger than memory: blocks of a few rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

BLOCK = 70
"""Rows of a block; the logs have some 900."""


def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on a block has few rows."""
    for name, module in list(sys.modules.items()):
        if name.startswith("twotower.data.") and hasattr(module, "BLOCK"):
            monkeypatch.setattr(module, "BLOCK", BLOCK)


def log(rows: int = 900, *, seed: int = 0, **changes: Any) -> pl.DataFrame:
    """Rows of 60 users, who are in no order; many share user and time with another, some the item,
    too."""
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "user_id": rng.integers(0, 60, rows) ** 2 % 61,
            "item_id": (40 * rng.random(rows) ** 2).astype(np.int64),
            "timestamp": 1_600_000_000 + rng.integers(0, 40, rows) * 86_400,
            "weight": rng.integers(-1, 6, rows).astype(np.float64),
            "event_type": rng.choice(["click", "buy", "hide"], rows, p=[0.7, 0.2, 0.1]),
        }
    )
    return frame.with_columns(**changes)


def write_parts(frame: pl.DataFrame, folder: Path, kind: str, number: int = 3) -> str:
    """A folder of files of unequal lengths; returns its name."""
    folder.mkdir()
    ends = [len(frame) * (place + 1) ** 2 // number**2 for place in range(number)]
    for place, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        some, file = frame.slice(start, end - start), folder / f"part-{place}.{kind}"
        if kind == "parquet":
            some.write_parquet(file, row_group_size=50)
        elif kind == "jsonl":
            some.write_ndjson(file)
        else:
            some.write_csv(file)
    return str(folder)
