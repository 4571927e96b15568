"""The benchmark of growing data: what it writes, times, and concludes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks import scale


def figures(rows: int, seconds: float, pairs: int) -> dict[str, Any]:
    return {
        "rows": rows,
        "items": 50_000,
        "seconds": {"read_and_split": seconds, "number": seconds},
        "epoch_seconds": seconds,
        "pairs_per_second": pairs,
    }


def test_the_exponent_is_the_slope_over_sizes_of_the_same_items() -> None:
    found = {
        "gowalla": figures(810_128, 7.0, 1_000),
        "1m": figures(1_000_000, 1.0, 500),
        "10m": figures(10_000_000, 10.0**1.2, 400),
        "20m-1m": figures(20_000_000, 99.0, 250),
    }
    told = scale.summary(found)
    assert told["exponents"] == {"read_and_split": 1.2, "number": 1.2, "epoch": 1.2, "all": 1.2}
    assert told["pairs_share"] == {"gowalla": 1.0, "1m": 0.5, "10m": 0.4, "20m-1m": 0.25}
    assert scale.summary({"1m": found["1m"]})["exponents"]["all"] is None


def test_rows_are_written_in_files_of_the_same_users_and_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "ROWS_PER_FILE", 4_000)
    scale.write_rows(scale.Size(10_000, 300, 50), tmp_path)
    files = sorted(tmp_path.glob("*.parquet"))
    assert [len(pl.read_parquet(file)) for file in files] == [4_000, 4_000, 2_000]
    rows = pl.read_parquet(tmp_path)
    assert rows["user_id"].n_unique() == 300
    assert (rows["item_id"].min(), rows["item_id"].max()) == (0, 49)
    assert not pl.read_parquet(files[0])[:2_000].equals(pl.read_parquet(files[2]))


def test_a_size_is_trained_for_some_steps_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(scale.SIZES, "1m", scale.Size(6_000, 400, 80))
    monkeypatch.setattr(scale, "STEPS", 5)
    found = scale.measured("1m", tmp_path / "1m", ["training.batch_size=20"])
    assert found["steps_timed"] == 5
    assert found["steps_per_epoch"] > 5 + scale.WARM_STEPS
    assert set(found["seconds"]) == {"read_and_split", "number", "train", "validate"}
    assert found["epoch_seconds"] == pytest.approx(
        found["step_seconds"] * found["steps_per_epoch"], rel=0.1, abs=0.06
    )
    assert found["pairs_per_second"] > 0
