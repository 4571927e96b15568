"""Calibration and blends: closed forms, planted functions, and what they must never do."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from twotower.models.ranker.calibration import Calibration

KINDS = ("none", "temperature", "isotonic")


def planted(number: int = 40_000) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores whose true log odds are 0.5 * score - 2."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 3, number)
    return scores, (rng.random(number) < expit(0.5 * scores - 2)).astype(float)


def test_without_calibration_a_probability_is_the_sigmoid() -> None:
    said = Calibration().probabilities(np.array([-1.0, 0.0, 2.0]))
    assert said.tolist() == pytest.approx([0.26894143, 0.5, 0.8807971])
    assert said.dtype == np.float32


def test_the_order_stays_where_high_scores_are_less_likely_on_the_whole() -> None:
    # Each query's better candidate is the taken one, but who takes less has the higher scores.
    scores = np.repeat([[1.0, 0.9], [9.0, 8.9]], [100, 100], axis=0)
    labels = np.zeros_like(scores)
    labels[:60, 0] = labels[100:110, 0] = 1
    found = Calibration.fit("temperature", scores.ravel(), labels.ravel())
    said = found.probabilities(scores)
    assert (said[:, 0] > said[:, 1]).all()
    assert said.mean() == pytest.approx(labels.mean(), abs=1e-3)


def test_the_temperature_is_found() -> None:
    scores, labels = planted()
    found = Calibration.fit("temperature", scores, labels)
    assert found.slope == pytest.approx(0.5, abs=0.02)
    assert found.shift == pytest.approx(-2, abs=0.05)
    # A fit with a shift says on average what happened.
    assert found.probabilities(scores).mean() == pytest.approx(labels.mean(), abs=1e-4)


def test_pooled_adjacent_violators_by_hand() -> None:
    scores = np.array([4.0, 1.0, 3.0, 2.0, 5.0, 6.0])
    labels = np.array([0.0, 0.0, 1.0, 0.0, 1.0, 1.0])
    # In order of the score: 0 0 1 0 1 1; the 1 at 3 and the 0 at 4 are pooled to 1/2.
    found = Calibration.fit("isotonic", scores, labels)
    assert found.scores[1:-1] == (1.5, 3.5, 5.5)
    assert found.chances[1:-1] == pytest.approx((1e-5, 0.5, 0.999))
    said = found.probabilities(np.array([0.0, 1.5, 2.5, 3.5, 5.5, 9.0]))
    assert said.tolist() == pytest.approx([1e-5, 1e-5, 0.25, 0.5, 0.999, 0.999], abs=1e-4)


def test_isotonic_regression_finds_a_planted_curve() -> None:
    scores, labels = planted()
    found = Calibration.fit("isotonic", scores, labels)
    asked = np.linspace(-6, 6, 25)
    np.testing.assert_allclose(found.probabilities(asked), expit(0.5 * asked - 2), atol=0.04)


def test_isotonic_regression_keeps_the_order_of_what_scores_beyond_its_pools() -> None:
    scores, labels = planted(2000)
    found = Calibration.fit("isotonic", scores, labels)
    beyond = np.linspace(found.scores[-2], scores.max() + scores.std(), 50)
    said = found.probabilities(beyond)
    assert (np.diff(said) > 0).all()
    assert said[-1] - said[0] < 0.01
    below = np.linspace(scores.min() - scores.std(), found.scores[1], 50)
    assert (np.diff(found.probabilities(below)) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_higher_score_is_never_less_likely(kind: str) -> None:
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(size=500), rng.integers(0, 2, 500).astype(float)
    found = Calibration.fit(kind, scores, labels)  # type: ignore[arg-type]
    said = found.probabilities(np.linspace(-9, 9, 400))
    assert (np.diff(said) >= 0).all()
    assert ((said >= 0) & (said <= 1)).all()
    upside_down = Calibration.fit(kind, -scores, (scores > 0).astype(float))  # type: ignore[arg-type]
    assert (np.diff(upside_down.probabilities(np.linspace(-9, 9, 400))) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [[], [0.0, 0.0], [1.0, 1.0]])
def test_where_nothing_can_be_fitted_scores_stay(kind: str, labels: list[float]) -> None:
    scores = np.arange(len(labels), dtype=float)
    assert Calibration.fit(kind, scores, np.array(labels)) == Calibration()  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_as_json_and_back(kind: str) -> None:
    found = Calibration.fit(kind, *planted(300))  # type: ignore[arg-type]
    again = json.loads(json.dumps(asdict(found)))
    again = {n: tuple(v) if isinstance(v, list) else v for n, v in again.items()}
    assert Calibration(**again) == found
