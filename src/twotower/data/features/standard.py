"""Standardised numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_DEVIATIONS = 1e6
"""Standardised numbers are cut off at it, so that they are finite whatever a request sends."""


def mean_and_deviation(known: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and deviation of values (T,): 0 and 1 of none; a constant has deviation 1."""
    if not len(known):
        return 0.0, 1.0
    mean, deviation = float(known.mean()), float(known.std())
    # The mean of equal values is off by rounding, which is no deviation to divide by.
    return mean, deviation if deviation > 1e-12 * abs(mean) else 1.0
