"""What the benchmarks share."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import common
from benchmarks.common import keep, over_runs, saved_alike


def test_a_result_is_joined_only_by_what_is_measured_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    assert saved_alike("some", {"items": 5}) == {}
    keep({"configuration": {"items": 5}, "milvus": 1}, "some")
    assert saved_alike("some", {"items": 5})["milvus"] == 1
    assert saved_alike("some", {"items": 6}) == {}
    monkeypatch.setattr(common, "versions", lambda: {"numpy": "0"})
    assert saved_alike("some", {"items": 5}) == {}


def test_mean_and_deviation_over_runs() -> None:
    runs = [{"hr@10": 0.5, "warm": {"ndcg@10": 1.0}}, {"hr@10": 0.7, "warm": {"ndcg@10": 1.0}}]
    found = over_runs(runs)
    assert found["hr@10"] == pytest.approx({"mean": 0.6, "deviation": 0.02**0.5}, abs=1e-6)
    assert found["warm"] == {"ndcg@10": {"mean": 1.0, "deviation": 0.0}}
    assert over_runs(runs[:1])["hr@10"] == {"mean": 0.5, "deviation": 0.0}
