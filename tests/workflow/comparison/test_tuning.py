from __future__ import annotations

import json
from pathlib import Path

import pytest

from twotower.config import CompareConfig
from twotower.config.baselines import SearchChoice, SearchRange
from twotower.errors import TrainingError
from twotower.workflow.comparison.tuning import Settings, Space, Trial, draw, read_trials, tune

SPACE: Space = {
    "x": SearchRange(-1.0, 1.0),
    "rate": SearchRange(1e-4, 1.0, log=True),
    "width": SearchRange(4, 16, integer=True),
    "kind": SearchChoice(("a", "b")),
}
DEFAULTS: Settings = {"x": -0.9, "rate": 0.01, "width": 8, "kind": "b"}


def height(settings: Settings) -> float:
    """Highest at x = 0.5 with kind a."""
    return 1 - (float(settings["x"]) - 0.5) ** 2 + (settings["kind"] == "a")


def test_defaults_come_first_and_drawn_settings_are_inside(tmp_path: Path) -> None:
    found = tune(SPACE, DEFAULTS, height, CompareConfig(trials=12), tmp_path / "t.jsonl")
    assert [trial.number for trial in found.trials] == list(range(12))
    assert found.trials[0].settings == DEFAULTS
    for trial in found.trials[1:]:
        assert -1 <= float(trial.settings["x"]) <= 1
        assert 1e-4 <= float(trial.settings["rate"]) <= 1
        assert trial.settings["width"] in range(4, 17)
        assert trial.settings["kind"] in ("a", "b")
    assert found.best.value == max(trial.value or 0.0 for trial in found.trials)
    assert found.best.value > height(DEFAULTS)


@pytest.mark.parametrize("search", ["tpe", "random"])
def test_a_search_that_goes_on_draws_what_it_would_have_drawn(search: str, tmp_path: Path) -> None:
    budget = CompareConfig.model_validate({"trials": 9, "search": search, "seed": 3})
    whole = tune(SPACE, DEFAULTS, height, budget, tmp_path / "whole.jsonl")

    def stops(settings: Settings) -> float:
        if settings == whole.trials[5].settings:
            raise KeyboardInterrupt
        return height(settings)

    log = tmp_path / "parts.jsonl"
    with pytest.raises(KeyboardInterrupt):
        tune(SPACE, DEFAULTS, stops, budget, log)
    assert len(read_trials(log)) == 5
    told: list[Trial] = []
    again = tune(SPACE, DEFAULTS, height, budget, log, report=told.append)
    assert [t.settings for t in again.trials] == [t.settings for t in whole.trials]
    assert [t.number for t in told] == [5, 6, 7, 8]
    assert tune(SPACE, DEFAULTS, stops, budget, log).trials == again.trials  # nothing left to do


def test_another_seed_draws_others() -> None:
    first = Trial(0, dict(DEFAULTS), 1.0, 0.1)
    drawn = [draw(SPACE, [first], CompareConfig(seed=seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_search_learns(tmp_path: Path) -> None:
    found = tune(SPACE, DEFAULTS, height, CompareConfig(trials=30), tmp_path / "t.jsonl")
    late = [trial.settings["kind"] for trial in found.trials[15:]]
    assert late.count("a") > 10


def test_time_ends_a_search_after_the_trial_that_began_in_time(tmp_path: Path) -> None:
    log = tmp_path / "t.jsonl"
    spent = Trial(0, dict(DEFAULTS), 0.5, seconds=100.0)
    log.write_text(json.dumps(spent.__dict__) + "\n", encoding="utf-8")
    found = tune(SPACE, DEFAULTS, height, CompareConfig(trials=5, seconds=60), log)
    assert found.trials == (spent,)
    assert found.seconds == 100.0
    longer = tune(SPACE, DEFAULTS, height, CompareConfig(trials=5, seconds=100.0001), log)
    assert 2 <= len(longer.trials) <= 5


def test_without_settings_there_is_one_trial(tmp_path: Path) -> None:
    found = tune({}, {}, lambda settings: 0.5, CompareConfig(trials=9), tmp_path / "t.jsonl")
    assert [(t.settings, t.value) for t in found.trials] == [({}, 0.5)]


def test_a_trial_that_fails_is_kept_with_its_reason(tmp_path: Path) -> None:
    def fails_with_b(settings: Settings) -> float:
        if settings["kind"] == "b":
            raise MemoryError("no room for b")
        return height(settings)

    found = tune(SPACE, DEFAULTS, fails_with_b, CompareConfig(trials=10), tmp_path / "t.jsonl")
    assert found.trials[0].value is None
    assert found.trials[0].failure == "MemoryError: no room for b"
    assert found.best.settings["kind"] == "a"
    assert read_trials(tmp_path / "t.jsonl") == list(found.trials)


def test_a_search_that_failed_whole_begins_anew(tmp_path: Path) -> None:
    log = tmp_path / "trials.jsonl"

    def broken(settings: Settings) -> float:
        raise MemoryError

    with pytest.raises(TrainingError, match="none of 3 trials succeeded; the first failed: "):
        tune(SPACE, DEFAULTS, broken, CompareConfig(trials=3), log)
    found = tune(SPACE, DEFAULTS, lambda settings: 0.5, CompareConfig(trials=2), log)
    assert [trial.value for trial in found.trials] == [0.5, 0.5]


def test_nan_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as raised:
        tune({}, {}, lambda settings: float("nan"), CompareConfig(), tmp_path / "t.jsonl")
    assert str(raised.value) == (
        "none of 1 trials succeeded; the first failed: the validation metric is nan"
    )


def test_a_line_that_was_cut_off_is_tried_again(tmp_path: Path) -> None:
    log = tmp_path / "t.jsonl"
    tune(SPACE, DEFAULTS, height, CompareConfig(trials=3), log)
    whole = log.read_text(encoding="utf-8")
    log.write_text(whole[:-20], encoding="utf-8")
    assert len(read_trials(log)) == 2
    again = tune(SPACE, DEFAULTS, height, CompareConfig(trials=3), log)
    assert len(again.trials) == 3
    assert len(read_trials(log)) == 3


def test_defaults_outside_the_space_are_tried_all_the_same(tmp_path: Path) -> None:
    outside = {**DEFAULTS, "rate": 0.0}
    found = tune(SPACE, outside, height, CompareConfig(trials=4), tmp_path / "t.jsonl")
    assert found.trials[0].settings == outside
    assert len(found.trials) == 4
