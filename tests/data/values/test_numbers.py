"""Numbers of every spelling, each read without regard to its neighbours."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.data.values.numbers import Decimal, parse_numbers, to_numbers
from twotower.errors import DataError


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pl.Series([1, None, -3]), [1, np.nan, -3]),
        (pl.Series([1.5, float("nan")]), [1.5, np.nan]),
        (pl.Series([" 1.5", "", "2e3", None, "NaN"]), [1.5, np.nan, 2000, np.nan, np.nan]),
        (pl.Series(["NULL", "n/a", "NA", "None", "\\N", "-", "-1"]), [*[np.nan] * 6, -1]),
        (pl.Series([True, False, None]), [1, 0, np.nan]),
        (pl.Series(["True", "false", None, " TRUE", "2"]), [1, 0, np.nan, 1, 2]),
        (pl.Series([None, None]), [np.nan, np.nan]),
        (pl.Series([2**63], dtype=pl.UInt64), [2.0**63]),
        (pl.Series([1]).cast(pl.Decimal(10, 2)), [1.0]),
        (pl.Series(["1", "x"], dtype=pl.Categorical).head(1), [1.0]),
        (pl.Series([], dtype=pl.String), []),
    ],
)
def test_to_numbers(column: pl.Series, expected: list[float]) -> None:
    found = to_numbers(column)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)


def test_to_numbers_takes_logs() -> None:
    found = to_numbers(pl.Series([0.0, np.e - 1, None]), log=True)
    np.testing.assert_allclose(found, [0, 1, np.nan])


POINT_CELLS = {
    "€16.02": 16.02,
    "35.73 EUR": 35.73,
    "$1,234.50": 1234.5,
    "-$1,234.50": -1234.5,
    "US$ 3": 3,
    "12 kr.": 12,
    "1 234 567.5": 1_234_567.5,
    "1\u00a0234": 1234,
    "1'234.5": 1234.5,
    "1,23,456": 123_456,
    "\u22125": -5,
    ".5": 0.5,
    "5.": 5,
    "+7": 7,
    "1.234": 1.234,
}
COMMA_CELLS = {
    "1.234,50": 1234.5,
    "1.234": 1234,
    "16,02 €": 16.02,
    "EUR 35,73": 35.73,
    "1 234,5": 1234.5,
    "7": 7,
    ",5": 0.5,
    "-1.234.567": -1_234_567,
    "1,5e3": 1500,
}


@pytest.mark.parametrize(("decimal", "cells"), [(".", POINT_CELLS), (",", COMMA_CELLS)])
def test_numbers_in_text(decimal: Decimal, cells: dict[str, float]) -> None:
    together = to_numbers(pl.Series(list(cells)), decimal=decimal)
    np.testing.assert_array_equal(together, list(cells.values()))
    for cell, number in cells.items():
        assert to_numbers(pl.Series([cell]), decimal=decimal).tolist() == [number]


@pytest.mark.parametrize(
    "text", ["12,5", "1,2345", "1,,234", "12 GB", "1.2.3", "--1", "€", "1 2", "1,234 567", "soon"]
)
def test_what_is_not_a_number(text: str) -> None:
    assert parse_numbers(pl.Series([text])).to_list() == [None]


@given(st.floats(-1e9, 1e9), st.sampled_from([".", ","]))
def test_python_spellings_are_read_back(number: float, decimal: str) -> None:
    """Python groups thousands by a comma and writes a point."""
    number = round(number, 3)
    swap = str.maketrans(",.", ".,") if decimal == "," else {}
    texts = [f"{number:,.3f}".translate(swap), f"{number:.3f}".translate(swap)]
    assert parse_numbers(pl.Series(texts), decimal).to_list() == [number] * 2  # type: ignore[arg-type]


CORRECT = "Fix: correct the value, leave the cell empty, or declare 'price' a category."


@pytest.mark.parametrize(
    ("decimal", "values", "message"),
    [
        (
            ".",
            ["1", "cheap", "2", "dear"],
            "items.csv, row 2, column 'price': is declared as a number, but this value is not a "
            f"number; it is the first of 2 such rows (found 'cheap'). {CORRECT}",
        ),
        (
            ".",
            ["1", "1.234,50 €"],
            "items.csv, row 2, column 'price': is declared as a number, but this value is not a "
            "number (found '1.234,50 €'). Fix: set decimal = \",\" for this feature, or correct "
            "the value.",
        ),
        (
            ",",
            ["12.5"],
            "items.csv, row 1, column 'price': is declared as a number, but this value is not a "
            "number (found '12.5'). Fix: set decimal = \".\" for this feature, or correct the "
            "value.",
        ),
        (
            ".",
            ["1", "inf"],
            "items.csv, row 2, column 'price': contains a value that is not finite (found 'inf'). "
            "Fix: leave the cell empty if the value is unknown.",
        ),
    ],
)
def test_errors_name_the_fix(decimal: Decimal, values: list[str], message: str) -> None:
    with pytest.raises(DataError) as caught:
        to_numbers(pl.Series("price", values), decimal=decimal, file="items.csv")
    assert str(caught.value) == message
