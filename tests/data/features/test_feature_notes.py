"""Features that are legal and may not mean what they say."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from twotower.config import FeaturesConfig
from twotower.data.features.feature_notes import feature_notes
from twotower.data.features.schema import Schema
from twotower.features.categories import CategoriesConfig


@pytest.mark.parametrize(
    ("separator", "cells", "expected"),
    [
        (
            None,
            ["a|b", "c|d", None, "e"],
            ": no separator is set, so that each cell of 'genres' is one value: 67% of the cells "
            "hold '|'. Set separator = \"|\".",
        ),
        (
            None,
            ["a", "b"],
            ": no separator is set, so that each cell of 'genres' is one value. Set the separator, "
            "or declare a category.",
        ),
        (
            ";",
            ["a,b", "c,d"],
            ": no cell of 'genres' holds the separator ';': 100% of the cells hold ','. Set "
            'separator = ",".',
        ),
        (
            "|",
            ["a", "b,c", "d"],
            ": no cell of 'genres' holds the separator '|'. Set the separator, or declare a "
            "category.",
        ),
        (
            ",",
            ["['a', 'b']", "['b']", None, "c"],
            ": 2 of 3 cells of 'genres' are lists written as text, such as \"['a', 'b']\": their "
            "brackets and quotes are read as part of the values. Write the values with a "
            "separator, such as a|b, or as lists of JSON Lines or Parquet.",
        ),
        ("|", ["a|b", "c"], None),
        (None, [["a"], ["b"]], None),
        (None, [None, None], None),
    ],
)
def test_separators(separator: str | None, cells: list[Any], expected: str | None) -> None:
    config = CategoriesConfig(type="categories", separator=separator)
    found = config.notes("features.item.genres", pl.Series("genres", cells))
    assert found == ([] if expected is None else ["features.item.genres" + expected])


def test_a_text_feature_without_terms() -> None:
    config = FeaturesConfig.model_validate({"item": {"title": {"type": "text"}}})
    items = pl.DataFrame({"item_id": [1, 2], "title": ["alpha", "beta"]})
    log = pl.DataFrame({"user_id": [1, 1], "item_id": [1, 2]})
    schema = Schema.fit(config, interactions=log, users=None, items=items)
    assert feature_notes(schema, "item", items) == [
        "features.item.title: no term of column 'title' occurs in 2 texts of training (min_count), "
        "so that the feature has no effect. Lower min_count, or remove the feature."
    ]
    assert feature_notes(schema, "user", None) == []
