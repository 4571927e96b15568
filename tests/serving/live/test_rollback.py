"""Rollbacks walk the history of activations back, and never forward again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from twotower.errors import ConflictError
from twotower.serving.live.rollback import rolled_back
from twotower.serving.store.experiments import ABExperiment, ExperimentVariant
from twotower.serving.store.protocol import Deployment

ALL = frozenset("abcd")


def stored(history: Sequence[Deployment], wanted: Deployment) -> list[Deployment]:
    """The history after a change, as a store keeps it."""
    return [*history, replace(wanted, revision=wanted.revision + 1)]


def activated(versions: str) -> list[Deployment]:
    history = [Deployment()]
    for version in versions:
        history = stored(history, history[-1].activated(version))
    return history


def walk(history: list[Deployment], versions: frozenset[str] = ALL) -> str:
    """What rollback after rollback activates; `previous` names each before it is activated."""
    found = ""
    while True:
        try:
            wanted = rolled_back(history, versions)
        except ConflictError:
            return found
        assert wanted.active is not None
        if found:
            assert history[-1].previous == wanted.active
        history = stored(history, wanted)
        found += wanted.active


@pytest.mark.parametrize(
    ("versions", "back"),
    [("", ""), ("a", ""), ("ab", "a"), ("abc", "ba"), ("aba", "ba"), ("abcab", "acba")],
)
def test_each_rollback_goes_one_activation_back(versions: str, back: str) -> None:
    assert walk(activated(versions)) == back


def test_an_activation_after_a_rollback_remembers_what_it_replaced() -> None:
    history = activated("abc")
    history = stored(history, rolled_back(history, ALL))  # b, over a
    history = stored(history, history[-1].activated("d"))
    assert walk(history) == "ba"


def test_without_an_earlier_version_a_rollback_is_refused() -> None:
    with pytest.raises(ConflictError) as caught:
        rolled_back(activated("a"), ALL)
    assert str(caught.value) == (
        "there is no version to roll back to. Fix: activate a version by name."
    )


def test_versions_that_are_gone_are_passed_over() -> None:
    assert walk(activated("abcd"), frozenset("ad")) == "a"
    assert walk(activated("abab"), frozenset("b")) == ""


def test_an_experiment_ends_and_does_not_count() -> None:
    history = activated("ab")
    experiment = ABExperiment("x", (ExperimentVariant("one", "b", 1.0),))
    history = stored(history, replace(history[-1], experiment=experiment))
    history = stored(history, history[-1].activated("c"))
    once = rolled_back(history, ALL)
    assert (once.active, once.previous, once.experiment) == ("b", "a", None)
    assert walk(history) == "ba"


def test_a_history_of_an_earlier_version_of_twotower() -> None:
    """It kept the name of the previous version alone; its rollbacks were activations."""
    history = [replace(one, rollback_to=None) for one in activated("abc")]
    assert walk(history) == "ba"
    history = [replace(one, rollback_to=None) for one in activated("aba")]
    assert walk(history) == "ba"
