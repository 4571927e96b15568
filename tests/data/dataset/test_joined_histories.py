"""Histories of two parts, some users at a time, are those of all rows at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.data.large_logs import log, small_blocks, write_parts
from twotower.config import parse_config
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.joined_histories import joined_histories

FORMS: dict[str, dict[str, Any]] = {
    "seconds": {},
    "milliseconds": {"timestamp": pl.col("timestamp") * 1000 + pl.col("item_id")},
    "weights of 1": {"weight": pl.lit(1.0)},
}


@pytest.mark.parametrize("method", ["global_time", "last_out", "random"])
@pytest.mark.parametrize("changes", FORMS.values(), ids=FORMS)
def test_by_users_and_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: Any, method: str
) -> None:
    source = write_parts(log(**changes), tmp_path / "log", "parquet")
    data = {"interactions": source, "split": {"method": method}, "max_rows_in_memory": 0}
    history = {"type": "history", "event_types": True}
    config = parse_config({"data": data, "features": {"user": {"history": history}}})
    dataset = Dataset.read(config, work=tmp_path / "work")
    train, validation = dataset.train, dataset.validation
    validation = validation.take(np.flatnonzero(validation.item_num >= 0))
    rows = train.append(validation)
    expected = rows.histories(learned=np.arange(len(rows)) < len(train))
    small_blocks(monkeypatch)
    found = joined_histories(train, validation, dataset.work)
    np.testing.assert_array_equal(expected.items.offsets, found.items.offsets)
    np.testing.assert_array_equal(expected.items.values, found.items.values)
    for name in ("time", "event_num", "weight", "learned"):
        mine, theirs = getattr(expected, name), getattr(found, name)
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            np.testing.assert_array_equal(mine, theirs, err_msg=name)
