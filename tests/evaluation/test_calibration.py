"""Reliability by hand."""

from __future__ import annotations

import numpy as np
import pytest

from twotower.evaluation.calibration import brier_score, reliability

SAID = np.array([0.1, 0.2, 0.3, 0.6, 0.9, 1.0])
TRUE = np.array([0, 0, 1, 1, 1, 0])


def test_two_bins_by_hand() -> None:
    found = reliability(SAID, TRUE, num_bins=2)
    assert found.edges.tolist() == [0, 0.5, 1]
    assert found.counts.tolist() == [3, 3]
    assert found.predicted.tolist() == pytest.approx([0.2, 2.5 / 3])
    assert found.observed.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert found.error == pytest.approx(0.5 * (1 / 3 - 0.2) + 0.5 * (2.5 / 3 - 2 / 3))


def test_a_bin_holds_its_upper_edge_and_empty_bins_say_nothing() -> None:
    found = reliability(np.array([0.0, 0.25, 0.26]), np.array([0, 1, 1]), num_bins=4)
    assert found.counts.tolist() == [2, 1, 0, 0]
    assert found.observed[:2].tolist() == [0.5, 1.0]
    assert np.isnan(found.observed[2:]).all()
    assert found.error == pytest.approx((2 * abs(0.125 - 0.5) + 0.74) / 3)


def test_bins_of_equal_counts() -> None:
    said = np.array([0.001, 0.002, 0.003, 0.004, 0.02, 0.9])
    found = reliability(said, np.array([0, 0, 0, 0, 1, 1]), num_bins=3, equal_counts=True)
    assert found.counts.tolist() == [2, 2, 2]
    assert found.observed.tolist() == [0, 0, 1]
    alike = reliability(np.full(5, 0.4), np.array([0, 1, 0, 1, 0]), equal_counts=True)
    assert alike.counts.sum() == 5
    assert alike.error == pytest.approx(0)


def test_a_perfect_forecast_has_no_error_and_a_wrong_one_all() -> None:
    assert reliability(TRUE.astype(float), TRUE).error == 0
    assert reliability(1.0 - TRUE, TRUE).error == 1
    assert brier_score(TRUE.astype(float), TRUE) == 0
    assert brier_score(SAID, TRUE) == pytest.approx((0.01 + 0.04 + 0.49 + 0.16 + 0.01 + 1.0) / 6)


def test_nothing_said() -> None:
    found = reliability(np.zeros(0), np.zeros(0))
    assert np.isnan(found.error)
    assert found.counts.sum() == 0
    assert np.isnan(brier_score(np.zeros(0), np.zeros(0)))


def test_what_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"^The 'labels' parameter must have an entry for each probability, 6. Got 2 instead",
    ):
        reliability(SAID, TRUE[:2])
    for wrong in (-0.1, 1.1, np.nan):
        with pytest.raises(
            ValueError, match=r"^The 'probabilities' parameter must hold numbers from 0 to 1.$"
        ):
            reliability(np.array([wrong]), np.array([1]))
