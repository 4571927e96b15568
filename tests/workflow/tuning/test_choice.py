from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from twotower.workflow.tuning.choice import Choice
from twotower.workflow.tuning.search import Search
from twotower.workflow.tuning.study import Trial

OWN = np.linspace(0.0, 0.5, 50)


def choice_of(folder: Path, best: np.ndarray, *, others: int = 3) -> Choice:
    """Of a search whose second trial has these values, and where others were pruned."""
    for number, values in enumerate((OWN, best)):
        frame = pl.DataFrame({"user_num": np.arange(50), "metric": values})
        frame.write_parquet(folder / f"{number}.parquet")
    first = [Trial(n, {"x": n}, float(v.mean()), 1.0) for n, v in enumerate((OWN, best))]
    pruned = [Trial(n + 2, {"x": 5}, None, 1.0, pruned=True, curve={1: 0.1}) for n in range(others)]
    failed = [Trial(others + 2, {"x": 5}, None, 1.0, failure="it broke")]
    return Choice.of(Search.of([*first, *pruned, *failed]), folder)


def test_a_clear_gain_is_taken(tmp_path: Path) -> None:
    gains = 0.05 + 0.02 * np.sin(np.arange(50))
    found = choice_of(tmp_path, OWN + gains)
    assert found.is_better
    assert found.chosen.number == 1
    p_value = float(stats.ttest_1samp(gains, 0).pvalue)
    assert found.p_value == pytest.approx(4 * p_value)  # the best one, and three were pruned
    assert found.verdict("ndcg@5").startswith(
        f"Trial 2 is better: validation ndcg@5 {(OWN + gains).mean():.4f} after 0.2500 with the "
        f"config as it is ({gains.mean():+.4f}, {gains.mean() / 0.25:+.1%}; 95% interval +0.0"
    )
    assert found.verdict("ndcg@5").endswith("after correction for 4 trials).")


def test_a_gain_within_the_noise_is_not_taken(tmp_path: Path) -> None:
    gains = 0.005 + 0.1 * np.sin(np.arange(50))
    found = choice_of(tmp_path, OWN + gains)
    assert found.best.number == 1
    assert not found.is_better
    assert found.chosen.number == 0
    assert found.p_value == 1.0
    assert found.verdict("ndcg@5").startswith(
        "No trial is better beyond noise, and the config is kept as it is. The best, trial 2, had "
    )


def test_the_more_trials_the_clearer_the_gain_has_to_be(tmp_path: Path) -> None:
    gains = 0.03 + 0.1 * np.sin(np.arange(50))
    assert choice_of(tmp_path, OWN + gains, others=1).is_better
    assert not choice_of(tmp_path, OWN + gains, others=40).is_better


def test_nothing_better(tmp_path: Path) -> None:
    found = choice_of(tmp_path, OWN - 0.1)
    assert (found.chosen.number, found.test, found.p_value) == (0, None, None)
    assert found.verdict("ndcg@5") == (
        "No other trial reached validation ndcg@5 0.2500 of the config as it is: it is kept."
    )
