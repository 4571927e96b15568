"""From scores to probabilities.

What is fitted here is fitted on validation rows, which neither model has learned from. Shapes: T
scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.floating]

RIDGE = 1e-6
"""Keeps a fit finite where scores separate the labels without an error."""
STEPS = 100
LEAST_SLOPE = 1e-3
"""Of a temperature's, a standard deviation of the scores: where high scores are no likelier on the
whole, they still stand before low ones of the same query."""
LOWEST, HIGHEST = 1e-5, 1 - 1e-3
"""Isotonic regression would say 0 and 1 of what it has seen little of."""
REACH, RISE = 10.0, 0.1
"""Beyond the outermost pools, over so many standard deviations of the scores, the chance goes on by
this share of what is left to 0 or 1: the best of a list are often there, and must not become
alike."""


@dataclass(frozen=True)
class Calibration:
    """A non-decreasing function from scores to probabilities.

    Attributes:
        kind: `none` is the plain sigmoid, `temperature` that of slope * score + shift (Guo et al.
            2017; Platt 1999), `isotonic` a line through points (Zadrozny & Elkan 2002).
        slope, shift: of `temperature`; the temperature is 1 / slope.
        scores, chances: the points of `isotonic`, ascending.
    """

    kind: Literal["none", "temperature", "isotonic"] = "none"
    slope: float = 1.0
    shift: float = 0.0
    scores: tuple[float, ...] = ()
    chances: tuple[float, ...] = ()

    def probabilities(self, scores: Floats) -> NDArray[np.float32]:
        """Scores (...) to probabilities (...)."""
        if self.kind == "isotonic":
            said = np.interp(scores, self.scores, self.chances)
        else:
            said = expit(self.slope * scores.astype(np.float64) + self.shift)
        return said.astype(np.float32)

    @staticmethod
    def fit(
        kind: Literal["none", "temperature", "isotonic"], scores: Floats, labels: Floats
    ) -> Calibration:
        """Fit to scores (T,) and labels (T,), 0 or 1. Where all labels are alike there is nothing
        to fit, and scores stay as they are."""
        if kind == "none" or not len(labels) or labels.min() == labels.max():
            return Calibration()
        return _isotonic(scores, labels) if kind == "isotonic" else _temperature(scores, labels)


def _temperature(scores: Floats, labels: Floats) -> Calibration:
    """Logistic regression on the score by Newton's method; the slope is not allowed to turn the
    order round."""
    scale = float(scores.std()) or 1.0
    inputs = np.stack([(scores - scores.mean()) / scale, np.ones(len(scores))], axis=1)
    start = float(np.log(labels.mean() / (1 - labels.mean())))
    weights = np.array([1.0, start])
    for _ in range(STEPS):
        chances = expit(inputs @ weights)
        gradient = inputs.T @ (chances - labels) + RIDGE * weights
        curvature = (inputs * (chances * (1 - chances))[:, None]).T @ inputs + RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    if weights[0] < LEAST_SLOPE:
        weights = np.array([LEAST_SLOPE, start])
    slope = float(weights[0]) / scale
    shift = float(weights[1]) - slope * float(scores.mean())
    return Calibration("temperature", slope, shift)


def _isotonic(scores: Floats, labels: Floats) -> Calibration:
    """Pool adjacent violators; each pool is a point at its mean score, and lines between them and
    beyond keep the order inside a pool."""
    # Only fitting needs it, and each start of a program would wait for it.
    from scipy.optimize import isotonic_regression  # noqa: PLC0415

    order = np.argsort(scores, kind="stable")
    fitted = isotonic_regression(labels[order].astype(np.float64))
    bounds = fitted.blocks
    sizes = np.diff(bounds)
    centres = np.add.reduceat(scores[order].astype(np.float64), bounds[:-1]) / sizes
    chances = np.clip(fitted.x[bounds[:-1]], LOWEST, HIGHEST)
    reach = REACH * (float(scores.std()) or 1.0)
    centres = np.concatenate([[centres[0] - reach], centres, [centres[-1] + reach]])
    low, high = chances[0] * (1 - RISE), chances[-1] + (1 - chances[-1]) * RISE
    chances = np.concatenate([[low], chances, [high]])
    return Calibration("isotonic", scores=tuple(centres.tolist()), chances=tuple(chances.tolist()))
