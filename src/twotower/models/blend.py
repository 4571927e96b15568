"""A weighted sum of what several scorers say of the candidates of a query.

What is fitted here is fitted on validation rows, from which no scorer has learned. Shapes: Q
queries, K candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

Floats = NDArray[np.floating]

RIDGE = 1e-6
"""Keeps a fit finite where scores separate the labels without an error."""


@dataclass(frozen=True)
class Blend:
    """A weighted sum of scores.

    Attributes:
        weights: scorer -> its weight; scorers that are not named weigh nothing.
    """

    weights: Mapping[str, float]

    def __getitem__(self, name: str) -> float:
        return self.weights.get(name, 0.0)

    def mix(self, said: Mapping[str, Floats]) -> Floats:
        """Name -> (Q, K), to (Q, K)."""
        first, *others = (self[name] * scores for name, scores in said.items())
        return sum(others, first)

    def shares(self, scales: Mapping[str, float]) -> dict[str, float]:
        """How much each scorer moves the sum, the shares adding up to 1; all 0 if nothing does.

        Args:
            scales: scorer -> the standard deviation of its scores.
        """
        moved = {name: abs(self[name]) * scale for name, scale in scales.items()}
        total = sum(moved.values()) or 1.0
        return {name: value / total for name, value in moved.items()}

    @staticmethod
    def fit(
        said: Mapping[str, Floats],
        labels: Floats,
        there: NDArray[np.bool_],
        *,
        ridge: float = RIDGE,
    ) -> Blend | None:
        """The weights, none below 0, that make the relevant candidates most likely among those of
        their query: a conditional logit (McFadden 1974), softmax over each row. None if there is no
        relevant candidate.

        Args:
            said: name -> (Q, K), finite.
            labels: (Q, K), 1 where the candidate is relevant; rows without one say nothing.
            there: (Q, K) whether there is a candidate.
            ridge: the penalty on the squared weights of scores of standard deviation 1, relative to
                the loss of the mean query.
        """
        # Only fitting needs it, and each start of a program would wait for it.
        from scipy.optimize import minimize  # noqa: PLC0415

        rows = labels.sum(axis=1) > 0
        if not rows.any():
            return None
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
            value = -(wanted * logs).sum() / len(wanted) + ridge * float(weights @ weights)
            gradient = np.einsum("qk,qkp->p", gap, parts) / len(wanted) + 2 * ridge * weights
            return value, gradient

        start = np.ones(len(said))
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(said))
        return Blend(dict(zip(said, (found.x / scale).tolist(), strict=True)))
