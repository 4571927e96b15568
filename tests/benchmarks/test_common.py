"""What the benchmarks share."""

from __future__ import annotations

import pytest

from benchmarks.common import over_runs


def test_mean_and_deviation_over_runs() -> None:
    runs = [{"hr@10": 0.5, "warm": {"ndcg@10": 1.0}}, {"hr@10": 0.7, "warm": {"ndcg@10": 1.0}}]
    found = over_runs(runs)
    assert found["hr@10"] == pytest.approx({"mean": 0.6, "deviation": 0.02**0.5}, abs=1e-6)
    assert found["warm"] == {"ndcg@10": {"mean": 1.0, "deviation": 0.0}}
    assert over_runs(runs[:1])["hr@10"] == {"mean": 0.5, "deviation": 0.0}
