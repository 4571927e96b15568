"""What processes check before they train together, and what one alone does."""

from __future__ import annotations

import pytest
import torch

from twotower.errors import ConfigError
from twotower.parallel.processes import ONE, check_versions, processes_of_environment


def test_all_have_the_same_versions() -> None:
    check_versions([("1.0", "2.13.0")] * 3)
    with pytest.raises(ConfigError, match=r"process 3 of 3 has twotower 1\.1 with torch 2\.13\.0"):
        check_versions([("1.0", "2.13.0"), ("1.0", "2.13.0"), ("1.1", "2.13.0")])


def test_one_process_is_the_identity() -> None:
    rows = torch.randn(3, 2, requires_grad=True)
    assert ONE.gather(rows) is rows
    assert ONE.exchange(rows, [3], [3]) is rows
    assert ONE.sum(rows) is rows
    assert ONE.counts(5) == [5]
    assert ONE.largest(7) == 7
    assert ONE.told("config") == "config"
    assert ONE.all_told(1) == [1]
    assert ONE.mean({"ndcg@20": 0.5}, 9) == {"ndcg@20": 0.5}


def test_a_process_that_nothing_started_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    with processes_of_environment("cpu") as processes:
        assert processes is ONE
