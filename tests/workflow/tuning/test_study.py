from __future__ import annotations

import json

import pytest

from twotower.config.baselines import SearchChoice, SearchRange
from twotower.workflow.tuning.settings import Space
from twotower.workflow.tuning.study import (
    RANKER_STEPS,
    TRIALS_FOR_IMPORTANCES,
    Curve,
    Pruner,
    Trial,
    importances,
    sample,
)

SPACE: Space = {"x": SearchRange(0.0, 1.0), "kind": SearchChoice(("a", "b"))}
CURVES: list[Curve] = [{step: level * step for step in range(1, 9)} for level in (1, 2, 3, 4, 5)]


def epochs_until_pruned(curves: list[Curve], level: float, *, warmup: int = 0) -> int | None:
    pruner = Pruner(curves, warmup=warmup)
    return next((s for s in range(1, 9) if pruner.is_hopeless(s, level * s)), None)


def test_what_is_below_the_median_is_hopeless() -> None:
    assert epochs_until_pruned(CURVES, 2.9) == 1
    assert epochs_until_pruned(CURVES, 3.1) is None


def test_nothing_is_hopeless_at_first() -> None:
    assert epochs_until_pruned(CURVES[:4], 0.0) is None  # too few finished trials
    assert epochs_until_pruned(CURVES, 0.0, warmup=5) == 6


def test_the_best_validation_so_far_counts() -> None:
    pruner = Pruner(CURVES, warmup=0)
    assert not pruner.is_hopeless(1, 7.0)
    assert not pruner.is_hopeless(2, 0.0)  # the median is 6, and it had 7
    assert pruner.is_hopeless(3, 0.0)


def test_epochs_of_the_ranker_follow_those_of_the_retriever() -> None:
    curve = {1: 0.1, 2: 0.2, 4: 0.2, RANKER_STEPS + 1: 0.3, RANKER_STEPS + 3: 0.3}
    assert Trial(0, {}, 0.3, 1.0, curve=curve).epochs == 4 + 3
    assert Trial(0, {}, 0.3, 1.0, curve={5: 0.1}).epochs == 5
    assert Trial(0, {}, None, 1.0).epochs == 0


def test_numbers_are_drawn_with_few_digits_and_stay_inside() -> None:
    narrow: Space = {"x": SearchRange(0.12344, 0.12346), "n": SearchRange(1, 9, integer=True)}
    for number in range(20):
        drawn = sample(narrow, [], number=number, seed=0, startup=99, digits=3)
        assert drawn["x"] in (0.12344, 0.12346)
        assert isinstance(drawn["n"], int)
        wide = sample(SPACE, [], number=number, seed=0, startup=99, digits=2)
        assert len(f"{wide['x']:g}".lstrip("0.")) <= 2


def test_what_is_in_progress_is_not_drawn_again() -> None:
    finished = [
        Trial(n, {"x": n / 20, "kind": "a"}, 1 - (n / 20 - 0.5) ** 2, 1.0) for n in range(20)
    ]
    first = sample(SPACE, finished, number=20, seed=0, startup=2)
    again = sample(SPACE, finished, number=20, seed=0, startup=2, running=[first])
    assert json.dumps(first) != json.dumps(again)


def test_trials_that_were_pruned_teach_and_those_that_failed_do_not() -> None:
    def drawn(trials: list[Trial]) -> list[object]:
        return [sample(SPACE, trials, number=n, seed=1, startup=2)["kind"] for n in range(8, 40)]

    good = [Trial(n, {"x": 0.5, "kind": "a"}, 0.5, 1.0) for n in range(4)]
    pruned = [
        Trial(n, {"x": 0.5, "kind": "b"}, None, 1.0, pruned=True, curve={1: 0.1})
        for n in range(4, 8)
    ]
    failed = [Trial(n, {"x": 0.5, "kind": "b"}, None, 1.0, failure="x") for n in range(4, 8)]
    assert drawn([*good, *pruned]).count("a") > 20
    assert drawn([*good, *failed]) == drawn(good)


@pytest.mark.filterwarnings("error")
def test_the_key_that_matters_is_named_first() -> None:
    trials = [
        Trial(n, {"x": (n * 7 % 20) / 20, "kind": "ab"[n % 2]}, (n * 7 % 20) / 20, 1.0)
        for n in range(20)
    ]
    shares = importances(SPACE, trials)
    assert list(shares) == ["x", "kind"]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["x"] > 0.8
    assert importances(SPACE, trials[: TRIALS_FOR_IMPORTANCES - 1]) == {}
