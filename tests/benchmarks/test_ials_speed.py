"""The benchmark of iALS's solvers: both reach the same on a small split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks import ials_speed


def test_both_solvers_reach_the_same(tmp_path: Path) -> None:
    """45 users take 20 of the 60 items of one of 3 groups."""
    rng = np.random.default_rng(0)
    rows = [
        (user, int(item) * 3 + user % 3) for user in range(45) for item in rng.permutation(60)[:20]
    ]
    file = tmp_path / "rows.parquet"
    pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row").write_parquet(file)
    dataset = ials_speed.read(file)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (729, 81, 90)
    found = ials_speed.compared(dataset, 3, 5)
    assert set(found) == {"exact", "conjugate"}
    for of in found.values():
        assert len(of["ndcg"]) == 5
        assert of["best_ndcg"] == max(of["ndcg"])
        assert of["cpu_s_to_best"] > 0
    exact, conjugate = found["exact"]["ndcg"], found["conjugate"]["ndcg"]
    assert conjugate[-1] == pytest.approx(exact[-1], abs=0.02)
    assert conjugate[-1] > 0.1


def test_summary_by_hand() -> None:
    assert ials_speed.summary([1.0, 2.0, 6.0], [0.1, 0.3, 0.2]) == {
        "cpu_s_an_epoch": 2.0,
        "best_ndcg": 0.3,
        "best_epoch": 2,
        "cpu_s_to_best": 3.0,
        "ndcg": [0.1, 0.3, 0.2],
    }
