"""From scores to probabilities, and the weights by which two scores are added up.

What is fitted here is fitted on validation rows, which neither model has learned from. Shapes: Q
queries, K candidates, T scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, log_softmax, softmax

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


@dataclass(frozen=True)
class Blend:
    """A weighted sum of what is said of a candidate.

    Attributes:
        own: the weight of the ranker's logit.
        retriever: of the retriever's score.
        neighbours: of the score by the user's positives (`models/ranker/item_item_weights.py`).
    """

    own: float = 1.0
    retriever: float = 0.0
    neighbours: float = 0.0

    def mix(self, said: Mapping[str, Floats]) -> Floats:
        """Name -> (Q, K), to (Q, K)."""
        mixed: Floats = sum(getattr(self, name) * scores for name, scores in said.items())
        return mixed

    @staticmethod
    def fit(said: Mapping[str, Floats], labels: Floats, there: NDArray[np.bool_]) -> Blend:
        """The weights, none below 0, that make the relevant candidates most likely among those of
        their query: a conditional logit (McFadden 1974), softmax over each row.

        Args:
            said: name -> (Q, K), finite.
            labels: (Q, K), 1 where the candidate is relevant; rows without one say nothing.
            there: (Q, K) whether there is a candidate.
        """
        rows = labels.sum(axis=1) > 0
        if not rows.any():
            return Blend()
        there = there[rows]
        parts = np.stack([scores[rows] for scores in said.values()], axis=2).astype(np.float64)
        scale = parts[there].std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        parts = np.where(there[:, :, None], parts / scale, 0.0)
        wanted = labels[rows] / labels[rows].sum(axis=1, keepdims=True)

        def loss(weights: Floats) -> tuple[float, Floats]:
            mixed = np.where(there, parts @ weights, -np.inf)
            logs = np.where(there, log_softmax(mixed, axis=1), 0.0)
            gap = softmax(mixed, axis=1) - wanted
            value = -(wanted * logs).sum() / len(wanted) + RIDGE * float(weights @ weights)
            gradient = np.einsum("qk,qkp->p", gap, parts) / len(wanted) + 2 * RIDGE * weights
            return value, gradient

        start = np.ones(len(said))
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(said))
        weights = dict.fromkeys(asdict(Blend()), 0.0)
        weights.update(zip(said, (found.x / scale).tolist(), strict=True))
        return Blend(**weights)
