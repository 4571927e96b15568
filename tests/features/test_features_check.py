"""Columns that are not of their declared type: what is wrong, where, and the fix."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from twotower.errors import DataError
from twotower.features.categories import CategoriesConfig
from twotower.features.category import CategoryConfig
from twotower.features.number import NumberConfig
from twotower.features.timestamp import TimestampConfig

NUMBER = NumberConfig(type="number")
CATEGORY = CategoryConfig(type="category")


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (
            NUMBER,
            ["1", "cheap", "2", "dear"],
            "items.csv, row 2, column 'price': is declared as a number, but this value is not a "
            "number; it is the first of 2 such rows (found 'cheap'). Fix: correct the value, leave "
            "the cell empty, or declare 'price' a category.",
        ),
        (
            NUMBER,
            [1.0, float("inf")],
            "items.csv, row 2, column 'price': contains a value that is not finite (found inf). "
            "Fix: leave the cell empty if the value is unknown.",
        ),
        (
            NUMBER,
            [None, 1e39],
            "items.csv, row 2, column 'price': contains a value that is not finite (found 1e+39). "
            "Fix: leave the cell empty if the value is unknown.",
        ),
        (
            NumberConfig(type="number", log=True),
            [3.0, -0.5],
            "items.csv, row 2, column 'price': has log = true but contains a negative value (found "
            "-0.5). Fix: set log = false for it.",
        ),
        (
            CATEGORY,
            [["a"], ["b"]],
            "items.csv, column 'price': holds values of type List(String), which the declared type "
            "cannot read. Fix: declare it 'categories'.",
        ),
        (
            CategoriesConfig(type="categories"),
            [{"a": 1}],
            "items.csv, column 'price': holds values of type Struct({'a': Int64}), which the "
            "declared type cannot read. Fix: write one plain value per cell.",
        ),
        (
            TimestampConfig(type="timestamp"),
            ["2024-05-01", "soon"],
            "items.csv, column 'price': 1 of 2 timestamps cannot be read; row 2: 'soon'. Fix: "
            "write times as ISO 8601 (2024-05-01T12:30:00) or as unix seconds.",
        ),
        (
            TimestampConfig(type="timestamp"),
            [1.0, float("nan"), float("inf"), None],
            "items.csv, column 'price': 1 of 4 timestamps cannot be read; row 3: inf. "
            "Fix: write times as ISO 8601 (2024-05-01T12:30:00) or as unix seconds.",
        ),
    ],
)
def test_check(config: Any, values: list[Any], message: str) -> None:
    column = pl.Series("price", values)
    with pytest.raises(DataError) as caught:
        config.check(column, file="items.csv")
    assert str(caught.value) == message


def test_codes_that_their_type_cannot_hold() -> None:
    column = pl.Series("ean", [1, 20_000_001], dtype=pl.Float32)
    with pytest.raises(DataError) as caught:
        CATEGORY.check(column, file="items.parquet")
    assert str(caught.value) == (
        "items.parquet, row 2, column 'ean': is declared as a category, and Float32 does not hold "
        "every number of 16,777,216 and more, so that several values may have become one (found "
        "20000000.0). Fix: write the values as text or as integers."
    )


def test_check_names_no_row_that_it_does_not_know() -> None:
    with pytest.raises(DataError, match=r"^log\.csv, column 'x': is declared as a number"):
        NUMBER.check(pl.Series("x", ["?"]), file="log.csv", rows=False)


@pytest.mark.parametrize(
    ("config", "column"),
    [
        (CATEGORY, pl.Series([1.5, None])),
        (CategoriesConfig(type="categories"), pl.Series([["a"], None])),
        (NUMBER, pl.Series([None])),
        (TimestampConfig(type="timestamp"), pl.Series([None, "2024-05-01"])),
    ],
)
def test_check_lets_right_values_pass(config: Any, column: pl.Series) -> None:
    config.check(column)
