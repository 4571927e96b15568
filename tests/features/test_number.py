"""Numbers: standardised, in bins, missing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from twotower.features.number import NumberConfig, NumberFeature


def number(values: list[Any], **config: Any) -> NumberFeature:
    entry = NumberConfig(type="number", **config)
    return entry.fit("price", pl.Series("price", values))


def test_number_by_hand() -> None:
    feature = number([1, 3, None])  # mean 2, deviation 1
    encoded = feature.encode(pl.Series([3, None, 5]))
    assert encoded.dtype == np.float32
    assert encoded.tolist() == [[1, 0], [0, 1], [3, 0]]


def test_number_of_logs() -> None:
    feature = number([0.0, math.e**2 - 1], log=True)  # logs 0 and 2
    np.testing.assert_allclose(feature.encode(pl.Series([math.e - 1])), [[0, 0]], atol=1e-7)


def test_number_bins() -> None:
    feature = number([1, 2, 3, 4, None], num_bins=2)  # one edge, at the median 2.5
    assert feature.edges == (2.5,)
    assert feature.num_bins == 3
    bins = feature.encode(pl.Series([-100.0, 2.4, 2.5, 100.0, None]))[:, 2]
    assert bins.tolist() == [1, 1, 2, 2, 0]


@given(
    arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e30, 1e30)),
    arrays.arrays(np.float64, st.integers(0, 9), elements=st.floats(-3e38, 3e38)),
    st.integers(0, 5),
)
def test_number_is_finite_and_its_bins_are_in_range(
    training: Any, later: Any, num_bins: int
) -> None:
    feature = number(training.tolist(), num_bins=num_bins)
    encoded = feature.encode(pl.Series("price", later))
    assert encoded.shape == (len(later), 3 if num_bins else 2)
    assert np.isfinite(encoded).all()
    if num_bins:
        assert ((encoded[:, 2] >= 1) & (encoded[:, 2] < feature.num_bins)).all()


@pytest.mark.parametrize("value", [0.1, 0.0, 1e9, 123.456])
def test_number_that_is_constant_in_training(value: float) -> None:
    feature = number([value] * 1000)
    assert feature.deviation == 1.0
    assert abs(feature.encode(pl.Series([value + 2]))[0, 0] - 2) < 1e-6


def test_number_without_a_value_in_training() -> None:
    feature = number([None, None], num_bins=4)
    assert feature.encode(pl.Series([5.0, None])).tolist() == [[5, 0, 1], [0, 1, 0]]
