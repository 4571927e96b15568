"""Calibration of predicted probabilities: reliability diagrams and Brier scores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Reliability(NamedTuple):
    """A reliability diagram: predictions in bins of equal width.

    Attributes:
        edges: (B + 1,) of the bins.
        counts: (B,) predictions in each.
        predicted: (B,) their mean, NaN in an empty bin.
        observed: (B,) the share of positive labels, NaN in an empty bin.
        error: the expected calibration error: the mean of |predicted - observed|, weighted by the
            counts; NaN without a prediction.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    error: float


def reliability(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.floating] | NDArray[np.bool_],
    *,
    num_bins: int = 15,
    equal_counts: bool = False,
) -> Reliability:
    """Compare predicted probabilities (T,) with labels (T,).

    Sources: Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning";
    Guo et al. 2017.

    Args:
        probabilities: in [0, 1].
        labels: 1 for a positive outcome.
        num_bins: B. A bin includes its upper edge; the first one its lower edge, too.
        equal_counts: put the edges at quantiles of the predictions, so that rare events, whose
            probabilities are all small, fill all bins; there may then be fewer bins.

    Raises:
        ValueError: the arrays differ in length, or a probability is outside [0, 1].
    """
    if len(probabilities) != len(labels):
        raise ValueError(
            "The 'labels' parameter must have an entry for each probability, "
            f"{len(probabilities)}. Got {len(labels)} instead."
        )
    predictions, true = probabilities.astype(np.float64), labels.astype(np.float64)
    if len(predictions) and not (predictions.min() >= 0 and predictions.max() <= 1):
        raise ValueError("The 'probabilities' parameter must hold numbers from 0 to 1.")
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    if equal_counts and len(predictions):
        edges = np.unique(np.quantile(predictions, edges[1:-1]))
        edges = np.concatenate([[0.0], edges[(edges > 0) & (edges < 1)], [1.0]])
    bins = np.clip(np.searchsorted(edges, predictions, side="left") - 1, 0, len(edges) - 2)
    count = np.bincount(bins, minlength=len(edges) - 1)
    with np.errstate(invalid="ignore"):
        predicted = np.bincount(bins, predictions, minlength=len(count)) / count
        observed = np.bincount(bins, true, minlength=len(count)) / count
    filled = count > 0
    gaps = np.abs(predicted[filled] - observed[filled])
    error = float(gaps @ count[filled] / len(predictions)) if len(predictions) else float("nan")
    return Reliability(edges, count, predicted, observed, error)


def brier_score(
    probabilities: NDArray[np.floating], labels: NDArray[np.floating] | NDArray[np.bool_]
) -> float:
    """The mean of (probability - label)² (Brier 1950); NaN without a prediction."""
    if not len(probabilities):
        return float("nan")
    return float(np.mean((probabilities.astype(np.float64) - labels.astype(np.float64)) ** 2))
