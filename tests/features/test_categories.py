"""Several values of a set."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.features.categories import CategoriesConfig, CategoriesFeature


def categories(values: list[Any], **config: Any) -> CategoriesFeature:
    entry = CategoriesConfig(type="categories", **config)
    return entry.fit("genres", pl.Series("genres", values))


def test_categories_of_text() -> None:
    feature = categories(["a|b", "b|c", None], separator="|")
    encoded = feature.encode(pl.Series(["c|a", "", None, "new|b|b", " b "]))
    assert encoded.tolist() == [[4, 2], [], [], [1, 3], [3]]


def test_categories_of_lists() -> None:
    feature = categories([["a", "b"], None, []])
    encoded = feature.encode(pl.Series([["b", None, "a"], [], None, ["?"]]))
    assert encoded.tolist() == [[3, 2], [], [], [1]]


def test_categories_take_the_first_max_values() -> None:
    feature = categories([["a", "b", "c"]], max_values=2)
    assert feature.encode(pl.Series([["c", "", "b", "a"]])).tolist() == [[4, 3]]


@pytest.mark.parametrize("given_as", ["text", "lists"])
def test_values_that_are_ignored_are_told(given_as: str) -> None:
    lists = [[f"tag{place}" for place in range(number)] for number in (3, 70, 65)]
    cells = lists if given_as == "lists" else ["|".join(row) for row in lists]
    entry = CategoriesConfig(type="categories", separator="|" if given_as == "text" else None)
    column = pl.Series("tags", cells)
    assert entry.notes("items.csv", column) == [
        "items.csv: 2 rows have more than 64 values in 'tags', 70 at most: 7 of 138 values are "
        "ignored. Put the most important values first, or raise max_values."
    ]
    assert not CategoriesConfig(**{**entry.model_dump(), "max_values": 70}).notes("", column)


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([None, None]),
        pl.Series([None, ""], dtype=pl.String),
        pl.Series([[], None], dtype=pl.List(pl.String)),
        pl.Series([[], []], dtype=pl.List(pl.Null)),
    ],
)
def test_categories_of_nothing(column: pl.Series) -> None:
    assert categories([["a"]]).encode(column).tolist() == [[], []]
    entry = CategoriesConfig(type="categories")
    fitted = entry.fit("genres", column)
    assert fitted.vocabulary.num_embeddings == 2


@given(st.lists(st.lists(st.sampled_from("abcde"), max_size=6), min_size=1), st.integers(1, 4))
def test_categories_hold_each_rows_values_once(rows: list[list[str]], max_values: int) -> None:
    column = pl.Series("genres", rows, dtype=pl.List(pl.String))
    entry = CategoriesConfig(type="categories", max_values=max_values)
    feature = entry.fit("genres", column)
    for values, nums in zip(rows, feature.encode(column), strict=True):
        kept = list(dict.fromkeys(values))[:max_values]
        assert feature.vocabulary.decode(nums.astype(np.int64)) == kept
