from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from twotower.config.baselines import SearchChoice, SearchRange
from twotower.errors import TrainingError
from twotower.workflow.tuning.search import Budget, Run, Search, attempt, read_trials, search
from twotower.workflow.tuning.settings import Settings, Space
from twotower.workflow.tuning.study import Trial, sample

SPACE: Space = {
    "x": SearchRange(-1.0, 1.0),
    "rate": SearchRange(1e-4, 1.0, log=True),
    "width": SearchRange(4, 16, integer=True),
    "kind": SearchChoice(("a", "b")),
}
DEFAULTS: Settings = {"x": -0.9, "rate": 0.01, "width": 8, "kind": "b"}


def budget(trials: int | None = 8, seconds: float | None = None, *, seed: int = 0) -> Budget:
    return Budget(trials, seconds, seed)


def runs(measure: Callable[[Settings], float]) -> Run:
    return lambda number, settings, _: attempt(number, settings, measure)


def find(
    measure: Callable[[Settings], float],
    wanted: Budget,
    log: Path,
    *,
    space: Space = SPACE,
    defaults: Settings = DEFAULTS,
    report: Callable[[Trial], None] = lambda trial: None,
) -> Search:
    return search(space, defaults, runs(measure), wanted, log, report=report)


def height(settings: Settings) -> float:
    """Highest at x = 0.5 with kind a."""
    return 1 - (float(settings["x"]) - 0.5) ** 2 + (settings["kind"] == "a")


def test_defaults_come_first_and_drawn_settings_are_inside(tmp_path: Path) -> None:
    found = find(height, budget(12), tmp_path / "t.jsonl")
    assert [trial.number for trial in found.trials] == list(range(12))
    assert found.trials[0].settings == DEFAULTS
    for trial in found.trials[1:]:
        assert -1 <= float(trial.settings["x"]) <= 1
        assert 1e-4 <= float(trial.settings["rate"]) <= 1
        assert trial.settings["width"] in range(4, 17)
        assert trial.settings["kind"] in ("a", "b")
    assert found.best.value == max(trial.value or 0.0 for trial in found.trials)
    assert found.best.value > height(DEFAULTS)


@pytest.mark.parametrize("random", [False, True])
def test_a_search_that_goes_on_draws_what_it_would_have_drawn(random: bool, tmp_path: Path) -> None:
    wanted = Budget(9, None, seed=3, random=random)
    whole = find(height, wanted, tmp_path / "whole.jsonl")

    def stops(settings: Settings) -> float:
        if settings == whole.trials[5].settings:
            raise KeyboardInterrupt
        return height(settings)

    log = tmp_path / "parts.jsonl"
    with pytest.raises(KeyboardInterrupt):
        find(stops, wanted, log)
    assert len(read_trials(log)) == 5
    told: list[Trial] = []
    again = find(height, wanted, log, report=told.append)
    assert [t.settings for t in again.trials] == [t.settings for t in whole.trials]
    assert [t.number for t in told] == [5, 6, 7, 8]
    assert find(stops, wanted, log).trials == again.trials  # nothing left to do


def test_another_seed_draws_others() -> None:
    first = Trial(0, dict(DEFAULTS), 1.0, 0.1)
    drawn = [sample(SPACE, [first], number=1, seed=seed, startup=2) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_search_learns(tmp_path: Path) -> None:
    found = find(height, budget(30), tmp_path / "t.jsonl")
    late = [trial.settings["kind"] for trial in found.trials[15:]]
    assert late.count("a") > 10


def test_time_ends_a_search_after_the_trial_that_began_in_time(tmp_path: Path) -> None:
    log = tmp_path / "t.jsonl"
    spent = Trial(0, dict(DEFAULTS), 0.5, seconds=100.0)
    log.write_text(json.dumps(spent.__dict__) + "\n", encoding="utf-8")
    found = find(height, budget(5, 60), log)
    assert found.trials == (spent,)
    assert found.seconds == 100.0
    longer = find(height, budget(5, 100.0001), log)
    assert 2 <= len(longer.trials) <= 5


def test_without_settings_there_is_one_trial(tmp_path: Path) -> None:
    found = find(lambda settings: 0.5, budget(9), tmp_path / "t.jsonl", space={}, defaults={})
    assert [(t.settings, t.value) for t in found.trials] == [({}, 0.5)]


def test_a_trial_that_fails_is_kept_with_its_reason(tmp_path: Path) -> None:
    def fails_with_b(settings: Settings) -> float:
        if settings["kind"] == "b":
            raise MemoryError("no room for b")
        return height(settings)

    found = find(fails_with_b, budget(10), tmp_path / "t.jsonl")
    assert found.trials[0].value is None
    assert found.trials[0].failure == "MemoryError: no room for b"
    assert found.best.settings["kind"] == "a"
    assert read_trials(tmp_path / "t.jsonl") == list(found.trials)


def test_a_search_that_failed_whole_begins_anew(tmp_path: Path) -> None:
    log = tmp_path / "trials.jsonl"

    def broken(settings: Settings) -> float:
        raise MemoryError

    with pytest.raises(TrainingError, match="none of 3 trials succeeded; the first failed: "):
        find(broken, budget(3), log)
    found = find(lambda settings: 0.5, budget(2), log)
    assert [trial.value for trial in found.trials] == [0.5, 0.5]


def test_nan_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as raised:
        find(lambda settings: float("nan"), budget(), tmp_path / "t.jsonl", space={}, defaults={})
    assert str(raised.value) == (
        "none of 1 trials succeeded; the first failed: the validation metric is nan"
    )


def test_a_line_that_was_cut_off_is_tried_again(tmp_path: Path) -> None:
    log = tmp_path / "t.jsonl"
    find(height, budget(3), log)
    whole = log.read_text(encoding="utf-8")
    log.write_text(whole[:-20], encoding="utf-8")
    assert len(read_trials(log)) == 2
    again = find(height, budget(3), log)
    assert len(again.trials) == 3
    assert len(read_trials(log)) == 3


def test_defaults_outside_the_space_are_tried_all_the_same(tmp_path: Path) -> None:
    outside = {**DEFAULTS, "rate": 0.0}
    found = find(height, budget(4), tmp_path / "t.jsonl", defaults=outside)
    assert found.trials[0].settings == outside
    assert len(found.trials) == 4


def test_several_trials_run_at_once_and_the_first_is_of_the_defaults(tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=60)

    def meets_others(settings: Settings) -> float:
        together.wait()
        return height(settings)

    log = tmp_path / "t.jsonl"
    with ThreadPoolExecutor(3) as pool:
        found = search(SPACE, DEFAULTS, runs(meets_others), budget(9), log, jobs=3, executor=pool)
    assert [trial.number for trial in found.trials] == list(range(9))
    assert all(trial.failure is None for trial in found.trials)
    assert found.trials[0].settings == DEFAULTS
    drawn = [json.dumps(trial.settings) for trial in found.trials]
    assert len(set(drawn)) == 9  # what is in progress is not drawn again
    assert {trial.number for trial in read_trials(log)} == set(range(9))


def test_numbers_of_interrupted_trials_come_again(tmp_path: Path) -> None:
    log = tmp_path / "t.jsonl"
    kept = [Trial(number, dict(DEFAULTS), 0.1, 1.0) for number in (0, 2)]
    log.write_text("".join(json.dumps(trial.__dict__) + "\n" for trial in kept), encoding="utf-8")
    told: list[int] = []
    find(height, budget(4), log, report=lambda trial: told.append(trial.number))
    assert told == [1, 3]


def test_time_alone_limits_a_search(tmp_path: Path) -> None:
    spent = Trial(0, dict(DEFAULTS), 0.5, seconds=59.9)
    log = tmp_path / "t.jsonl"
    log.write_text(json.dumps(spent.__dict__) + "\n", encoding="utf-8")
    slow = threading.Event()

    def measure(settings: Settings) -> float:
        slow.wait(0.06)
        return height(settings)

    assert 2 <= len(find(measure, budget(None, 60.0), log).trials) <= 3


def test_pruned_trials_are_kept_with_their_curve(tmp_path: Path) -> None:
    def run(number: int, settings: Settings, trials: object) -> Trial:
        if number % 2:
            return Trial(number, dict(settings), None, 0.1, pruned=True, curve={1: 0.1, 2: 0.05})
        return Trial(number, dict(settings), height(settings), 0.1, curve={1: height(settings)})

    log = tmp_path / "t.jsonl"
    found = search(SPACE, DEFAULTS, run, budget(8), log)
    assert [trial.pruned for trial in found.trials] == [False, True] * 4
    assert read_trials(log) == list(found.trials)
    assert found.best.number % 2 == 0
