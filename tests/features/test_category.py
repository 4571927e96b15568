"""One value of a set, and the raw id."""

from __future__ import annotations

from typing import Any

import polars as pl

from twotower.config import IdFeatureConfig
from twotower.data.features.id import IdFeature
from twotower.data.features.vocabulary import Vocabulary
from twotower.features.category import CategoryConfig, CategoryFeature


def category(values: list[Any], **config: Any) -> CategoryFeature:
    entry = CategoryConfig(type="category", **config)
    return entry.fit("colour", pl.Series("colour", values))


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
