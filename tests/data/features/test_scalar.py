"""Each feature: fitted on training, the same array for the same value ever after."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from twotower.config import (
    CategoriesConfig,
    CategoryConfig,
    IdFeatureConfig,
    NumberConfig,
    TimestampConfig,
)
from twotower.data.features.scalar import (
    CategoriesFeature,
    CategoryFeature,
    Feature,
    IdFeature,
    NumberFeature,
    TimestampFeature,
)
from twotower.data.features.vocabulary import Vocabulary


def category(values: list[Any], **config: Any) -> CategoryFeature:
    entry = CategoryConfig(type="category", **config)
    return CategoryFeature.fit("colour", entry, pl.Series("colour", values))


def categories(values: list[Any], **config: Any) -> CategoriesFeature:
    entry = CategoriesConfig(type="categories", **config)
    return CategoriesFeature.fit("genres", entry, pl.Series("genres", values))


def number(values: list[Any], **config: Any) -> NumberFeature:
    entry = NumberConfig(type="number", **config)
    return NumberFeature.fit("price", entry, pl.Series("price", values))


def timestamp(values: list[Any]) -> TimestampFeature:
    column = pl.Series("born", values)
    return TimestampFeature.fit("born", TimestampConfig(type="timestamp"), column)


# --- id, category -----------------------------------------------------------------------------


def test_id() -> None:
    vocabulary = Vocabulary(pl.Series(["u1", "u2"]), num_oov=2)
    feature = IdFeature("id", IdFeatureConfig(num_oov=2), "user_id", vocabulary)
    nums = feature.encode(pl.Series(["u2", None, "new", "u1"]))
    assert nums[[0, 1, 3]].tolist() == [4, 0, 3]
    assert nums[2] in (1, 2)


def test_category() -> None:
    feature = category(["red", "blue", None, "red "])
    assert feature.encode(pl.Series(["blue", "red", " red", "green", None, ""])).tolist() == [
        *(2, 3, 3),
        *(1, 0, 0),
    ]


def test_category_below_min_count_shares_the_oov_row() -> None:
    feature = category(["red", "blue", "red"], min_count=2)
    assert feature.encode(pl.Series(["red", "blue", "new"])).tolist() == [2, 1, 1]


def test_category_of_floats_knows_integers_and_text() -> None:
    # A column of integers with a gap is a column of floats in many files.
    feature = category([1.0, 2.0, None])
    for again in ([2.0, 1.0, 1.5, None], ["2", "1", "1.5", None], ["2.0 ", "1", "x", ""]):
        nums = feature.encode(pl.Series(again)).tolist()
        assert nums[1:] == [2, 1, 0]
    assert feature.encode(pl.Series([2, 1])).tolist() == [3, 2]


def test_category_of_integers_knows_floats_and_text() -> None:
    feature = category([1, 2])
    assert feature.encode(pl.Series([2.0, 1.0, 1.5, None])).tolist() == [3, 2, 1, 0]
    assert feature.encode(pl.Series(["2", " 1 ", "one", ""])).tolist() == [3, 2, 1, 0]


def test_category_of_truth_values() -> None:
    feature = category([True, False])
    assert feature.encode(pl.Series([True, False, None])).tolist() == [3, 2, 0]
    assert feature.encode(pl.Series(["true", "yes"])).tolist() == [3, 1]


def test_category_without_a_value_in_training() -> None:
    feature = category([None, None])
    assert feature.vocabulary.num_embeddings == 2
    assert feature.encode(pl.Series(["red", None])).tolist() == [1, 0]


# --- categories -------------------------------------------------------------------------------


def test_categories_of_text() -> None:
    feature = categories(["a|b", "b|c", None], separator="|")
    encoded = feature.encode(pl.Series(["c|a", "", None, "new|b|b", " b "]))
    assert encoded.tolist() == [[4, 2], [0, 0], [0, 0], [1, 3], [3, 0]]


def test_categories_of_lists() -> None:
    feature = categories([["a", "b"], None, []])
    encoded = feature.encode(pl.Series([["b", None, "a"], [], None, ["?"]]))
    assert encoded.tolist() == [[3, 2], [0, 0], [0, 0], [1, 0]]


def test_categories_take_the_first_max_values() -> None:
    feature = categories([["a", "b", "c"]], max_values=2)
    assert feature.encode(pl.Series([["c", "", "b", "a"]])).tolist() == [[4, 3]]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([None, None]),
        pl.Series([None, ""], dtype=pl.String),
        pl.Series([[], None], dtype=pl.List(pl.String)),
        pl.Series([[], []], dtype=pl.List(pl.Null)),
    ],
)
def test_categories_of_nothing_are_one_column_of_padding(column: pl.Series) -> None:
    assert categories([["a"]]).encode(column).tolist() == [[0], [0]]
    entry = CategoriesConfig(type="categories")
    fitted = CategoriesFeature.fit("genres", entry, column)
    assert fitted.vocabulary.num_embeddings == 2


@given(st.lists(st.lists(st.sampled_from("abcde"), max_size=6), min_size=1), st.integers(1, 4))
def test_categories_hold_each_rows_values_once_and_padded(
    rows: list[list[str]], max_values: int
) -> None:
    column = pl.Series("genres", rows, dtype=pl.List(pl.String))
    entry = CategoriesConfig(type="categories", max_values=max_values)
    feature = CategoriesFeature.fit("genres", entry, column)
    for values, nums in zip(rows, feature.encode(column), strict=True):
        kept = list(dict.fromkeys(values))[:max_values]
        assert feature.vocabulary.decode(nums[: len(kept)]) == kept
        assert not nums[len(kept) :].any()


# --- number -----------------------------------------------------------------------------------


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


# --- timestamp --------------------------------------------------------------------------------


def test_timestamp_cycles() -> None:
    feature = timestamp(["2024-01-01T00:00:00", "2024-01-03T00:00:00"])
    # 2024-01-01 was a Monday; six in the morning is a quarter of the day.
    encoded = feature.encode(pl.Series(["2024-01-01T06:00:00", None]))
    assert encoded.shape == (2, feature.WIDTH)
    np.testing.assert_allclose(encoded[0, 0:2], [1, 0], atol=1e-6)
    week = 2 * math.pi * 0.25 / 7
    np.testing.assert_allclose(encoded[0, 2:4], [math.sin(week), math.cos(week)], atol=1e-6)
    np.testing.assert_allclose(encoded[0, 6:], [-0.75, 0], atol=1e-6)
    assert encoded[1].tolist() == [0] * 7 + [1]


def test_timestamp_of_one_moment_or_none() -> None:
    one = timestamp([1_700_000_000] * 5)
    assert one.deviation == 1.0
    assert np.isfinite(one.encode(pl.Series([1_800_000_000]))).all()
    none = timestamp([None])
    assert (none.mean, none.deviation) == (0.0, 1.0)


# --- all --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feature", "column"),
    [
        (category(["a"]), pl.Series([], dtype=pl.String)),
        (categories(["a"]), pl.Series([], dtype=pl.String)),
        (categories([["a"]]), pl.Series([], dtype=pl.List(pl.String))),
        (number([1]), pl.Series([], dtype=pl.Float64)),
        (number(["1"], num_bins=3), pl.Series([], dtype=pl.String)),
        (timestamp([1]), pl.Series([], dtype=pl.Int64)),
    ],
)
def test_zero_rows(feature: Feature, column: pl.Series) -> None:
    assert isinstance(feature, Feature)
    assert feature.encode(column).shape[0] == 0
    assert feature.column == feature.name
