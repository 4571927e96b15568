"""What holds for every feature type."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from twotower.config.feature_type import Feature
from twotower.data.dataset.entities import to_column
from twotower.features.categories import CategoriesConfig, CategoriesFeature
from twotower.features.category import CategoryConfig, CategoryFeature
from twotower.features.number import NumberConfig, NumberFeature
from twotower.features.timestamp import TimestampConfig, TimestampFeature


def category(values: list[Any], **config: Any) -> CategoryFeature:
    entry = CategoryConfig(type="category", **config)
    return entry.fit("colour", pl.Series("colour", values))


def categories(values: list[Any], **config: Any) -> CategoriesFeature:
    entry = CategoriesConfig(type="categories", **config)
    return entry.fit("genres", pl.Series("genres", values))


def number(values: list[Any], **config: Any) -> NumberFeature:
    entry = NumberConfig(type="number", **config)
    return entry.fit("price", pl.Series("price", values))


def timestamp(values: list[Any]) -> TimestampFeature:
    column = pl.Series("born", values)
    return TimestampConfig(type="timestamp").fit("born", column)


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
    assert len(to_column(feature.encode(column))) == 0
    assert feature.column == feature.name
