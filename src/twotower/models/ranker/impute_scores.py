"""Scores for candidates of which a scorer knows nothing, or nothing that compares with the others.

Shapes: Q queries, K candidates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def filled(scores: Floats, known: NDArray[np.bool_], guide: Floats) -> Floats:
    """Scores (Q, K), those that are not known being what others of their query with such a guide
    (Q, K) have: a straight line, fitted to each row; 0 in a row of which nothing is known. So an
    item without a score is neither ahead of the others for it, nor behind them."""
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)

    def centred(values: Floats) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        mean = np.where(known, values, 0.0).sum(axis=1, keepdims=True) / count
        return mean, np.where(known, values - mean, 0.0)

    mean, rest = centred(scores)
    guide_mean, guide_rest = centred(guide)
    spread = (guide_rest**2).sum(axis=1, keepdims=True)
    slope = (rest * guide_rest).sum(axis=1, keepdims=True) / np.where(spread > 0, spread, 1.0)
    line = mean + slope * (guide - guide_mean)
    return np.where(known, scores, line).astype(np.float32)


def among_others(
    scores: Floats, known: NDArray[np.bool_], strange: NDArray[np.bool_], guide: Floats
) -> Floats:
    """Scores (Q, K), those of strange candidates moved, all of a query by as much, to where others
    of the query with such a guide (Q, K) are. The strange ones keep their order among themselves;
    candidates that are neither known nor strange get what `filled` says."""
    count = np.maximum(strange.sum(axis=1, keepdims=True), 1)
    mean = np.where(strange, scores, 0.0).sum(axis=1, keepdims=True) / count
    moved = filled(scores, known, guide) + np.where(strange, scores - mean, 0.0)
    return np.where(known, scores, moved).astype(np.float32)
