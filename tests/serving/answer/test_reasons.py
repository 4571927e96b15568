"""Reasons by hand: the nearest item of the history, by the name that a person knows it by."""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl
import pytest

from tests.data.small_shop import schema
from twotower.config import FeaturesConfig
from twotower.data.dataset.entities import EntityTable
from twotower.data.features.schema import Schema
from twotower.index.exact import ExactIndex
from twotower.serving.answer.reasons import (
    feature_reason,
    history_reasons,
    names_of,
    normalized,
)

LOG = pl.DataFrame({"user_id": [1, 1, 1, 1], "item_id": ["a", "b", "c", "d"]})
"""Nums of the items: 2, 3, 4, 5."""

VECTORS = np.array([[1, 0], [0, 2], [-3, 0], [4, 4]], dtype=np.float32)


def catalogue(**columns: list[str | None]) -> EntityTable:
    """Items a, b, c, d with what the items file says of a, b and c."""
    config = FeaturesConfig.model_validate({})
    fitted = Schema.fit(config, interactions=LOG, users=None, items=None)
    table = pl.DataFrame({"item_id": ["a", "b", "c"], **columns})
    return EntityTable(fitted, "item", table)


def index(*nums: int) -> ExactIndex:
    """Of the items with these nums."""
    kept = np.array(nums, dtype=np.int64)
    return ExactIndex(VECTORS[kept - 2], kept)


def reasons(recommended: list[int], history: list[int], items: EntityTable) -> list[str]:
    return history_reasons(
        index(2, 3, 4, 5),
        partial(names_of, items),
        np.array(recommended),
        np.array(history),
        VECTORS.shape[1],
    )


def test_the_nearest_item_of_the_history_is_named() -> None:
    items = catalogue(title=["Alien", "Brazil", "Casablanca"])
    assert reasons([5, 2, 4], [3, 4], items) == [
        "near 'Brazil' of the history (0.71)",
        "near 'Brazil' of the history (0.00)",
        "near 'Casablanca' of the history (1.00)",
    ]


def test_nearness_is_of_direction_and_not_of_length() -> None:
    # The inner product of c and d is larger than that of b and d, were c not on the other side.
    assert reasons([5], [2, 3, 4], catalogue()) == ["near a of the history (0.71)"]
    assert reasons([4], [2, 5], catalogue()) == ["near d of the history (-0.71)"]


def test_only_so_many_coordinates_are_compared() -> None:
    found = history_reasons(
        index(2, 3, 4, 5), partial(names_of, catalogue()), np.array([5]), np.array([3, 2]), 1
    )
    assert found == ["near a of the history (1.00)"]


def test_nothing_recommended_needs_no_reason() -> None:
    assert reasons([], [3], catalogue()) == []


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({}, "b"),
        ({"title": ["A", "B's", "C"]}, '"B\'s"'),
        ({"name": ["A", "Bee", "C"]}, "'Bee'"),
        ({"label": ["A", "Bee", "C"]}, "'Bee'"),
        ({"label": ["A", "Lab", "C"], "title": ["A", "Tit", "C"]}, "'Tit'"),
        ({"title": ["A", None, "C"], "name": ["A", "Nam", "C"]}, "'Nam'"),
        ({"title": ["A", None, "C"]}, "b"),
    ],
)
def test_an_item_goes_by_its_title_else_by_its_id(
    columns: dict[str, list[str | None]], name: str
) -> None:
    assert names_of(catalogue(**columns), np.array([3])) == [name]


def test_an_item_that_the_file_lacks_goes_by_its_id() -> None:
    assert names_of(catalogue(title=["A", "B", "C"]), np.array([5])) == ["d"]


def test_vectors_of_items_that_are_not_in_the_index_are_zeros() -> None:
    found = index(3, 5).vectors_of(np.array([5, 2, 3, 4, -1, 99]))
    assert found.tolist() == [[4, 4], [0, 0], [0, 2], [0, 0], [0, 0], [0, 0]]
    empty = ExactIndex(np.zeros((0, 2), dtype=np.float32), np.zeros(0, dtype=np.int64))
    assert empty.vectors_of(np.array([2])).tolist() == [[0, 0]]


def test_normalized_keeps_zeros() -> None:
    found = normalized(np.array([[3, 4], [0, 0]], dtype=np.float32))
    assert found.tolist() == pytest.approx(np.array([[0.6, 0.8], [0, 0]]))


def test_features_are_named() -> None:
    assert feature_reason(schema()) == "fits age, city, device"
    assert feature_reason(schema(user={"age": {"type": "number"}})) == "fits age"
    assert feature_reason(schema(item={})) == "fits the user"
