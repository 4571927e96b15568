"""Cells of every spelling, and what is said of those that cannot be read."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from twotower.config import CategoriesConfig, CategoryConfig, NumberConfig, TimestampConfig
from twotower.data.features.cells import categorical, check_column, split_values
from twotower.errors import DataError

NUMBER = NumberConfig(type="number")
CATEGORY = CategoryConfig(type="category")


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pl.Series([" a", "a ", "", "  ", None]), ["a", "a", None, None, None]),
        (pl.Series([1.0, 2.5, None, float("nan")]), ["1", "2.5", None, None]),
        (pl.Series([1, None]), ["1", None]),
        (pl.Series([True, False, None]), ["true", "false", None]),
        (
            pl.Series([" True", "TRUE", "false", "FALSE ", "yes"]),
            ["true"] * 2 + ["false"] * 2 + ["yes"],
        ),
        (pl.Series(["9.1", "9.10", "10.0", "007"]), ["9.1", "9.10", "10.0", "007"]),
        (pl.Series([9.1, 10.0], dtype=pl.Float32), ["9.1", "10"]),
        (pl.Series([2**64 - 1, None], dtype=pl.UInt64), ["18446744073709551615", None]),
        (pl.Series(["9.10", "10.00"]).cast(pl.Decimal(30, 2)), ["9.1", "10"]),
        (
            pl.Series(["2024-05-01 12:30:00"]).str.to_datetime(time_unit="ms"),
            ["2024-05-01 12:30:00"],
        ),
        (
            pl.Series(["2024-05-01 12:30:00"]).str.to_datetime(time_unit="ns"),
            ["2024-05-01 12:30:00"],
        ),
        (pl.Series([None, None]), [None, None]),
        (pl.Series([2**63, 1], dtype=pl.UInt64), ["9223372036854775808", "1"]),
        (pl.Series(["x", None], dtype=pl.Categorical), ["x", None]),
        (pl.Series(["x"], dtype=pl.Enum(["x"])), ["x"]),
        (pl.Series(["2024-05-01"]).str.to_date(), ["2024-05-01"]),
        (pl.Series([1]).cast(pl.Decimal(10, 2)), ["1"]),
        (pl.Series([], dtype=pl.Float64), []),
    ],
)
def test_categorical(column: pl.Series, expected: list[Any]) -> None:
    assert categorical(column).to_list() == expected


@pytest.mark.parametrize(
    ("column", "separator", "rows", "values"),
    [
        (pl.Series(["a| b|a||", None, "", "c"]), "|", [0, 0, 3], ["a", "b", "c"]),
        (pl.Series([["a ", " ", None, "b"], [], None, ["b", "b"]]), None, [0, 0, 3], list("abb")),
        (pl.Series([["a|b"]]), "|", [0], ["a|b"]),
        (pl.Series(["a|b", None]), None, [0], ["a|b"]),
        (pl.Series([3, None, 4]), None, [0, 2], ["3", "4"]),
        (pl.Series([[1, 2], [2, 2]], dtype=pl.Array(pl.Int8, 2)), None, [0, 0, 1], ["1", "2", "2"]),
        (pl.Series([[1.0, 2.5, float("nan")]]), None, [0, 0], ["1", "2.5"]),
        (pl.Series([12, 3]), "2", [0, 1], ["1", "3"]),
        (pl.Series([[True, False], [True]]), None, [0, 0, 1], ["true", "false", "true"]),
        (pl.Series([None, None]), "|", [], []),
        (pl.Series([None, None]), None, [], []),
        (pl.Series([[], []], dtype=pl.List(pl.Null)), None, [], []),
        (pl.Series([], dtype=pl.String), "|", [], []),
        (pl.Series([], dtype=pl.List(pl.String)), None, [], []),
    ],
)
def test_split_values(
    column: pl.Series, separator: str | None, rows: list[int], values: list[Any]
) -> None:
    found_rows, found = split_values(column, separator)
    assert found_rows.tolist() == rows
    assert found.to_list() == values
    assert found.dtype == pl.String


@pytest.mark.parametrize(
    ("column", "separator", "expected"),
    [
        (
            pl.Series(["Home > Kitchen>Pans", "Home", None, " > ", "Home >Kitchen"]),
            ">",
            [
                ["Home", "Home > Kitchen", "Home > Kitchen > Pans"],
                ["Home"],
                [],
                [],
                ["Home", "Home > Kitchen"],
            ],
        ),
        (pl.Series([["A", "B"], None, ["A", None]]), None, [["A", "A > B"], [], ["A"]]),
        (pl.Series([["A/B", "C"]]), "/", [["A", "A / B", "C"]]),
        (pl.Series(["A", "A"]), None, [["A"], ["A"]]),
    ],
)
def test_split_values_of_paths(
    column: pl.Series, separator: str | None, expected: list[list[str]]
) -> None:
    rows, values = split_values(column, separator, hierarchical=True)
    found: list[list[str]] = [[] for _ in expected]
    for row, value in zip(rows, values, strict=True):
        found[row].append(value)
    assert found == expected


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
            "declared type cannot read. Fix: write one plain value a cell.",
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
def test_check_column(config: Any, values: list[Any], message: str) -> None:
    column = pl.Series("price", values)
    with pytest.raises(DataError) as caught:
        check_column(config, column, file="items.csv")
    assert str(caught.value) == message


def test_codes_that_their_type_cannot_hold() -> None:
    column = pl.Series("ean", [1, 20_000_001], dtype=pl.Float32)
    with pytest.raises(DataError) as caught:
        check_column(CATEGORY, column, file="items.parquet")
    assert str(caught.value) == (
        "items.parquet, row 2, column 'ean': is declared a category, and Float32 does not hold "
        "every number of 16,777,216 and more, so that several values may have become one (found "
        "20000000.0). Fix: write the values as text or as integers."
    )


def test_check_column_names_no_row_that_it_does_not_know() -> None:
    with pytest.raises(DataError, match=r"^log\.csv, column 'x': is declared as a number"):
        check_column(NUMBER, pl.Series("x", ["?"]), file="log.csv", rows=False)


@pytest.mark.parametrize(
    ("config", "column"),
    [
        (CATEGORY, pl.Series([1.5, None])),
        (CategoriesConfig(type="categories"), pl.Series([["a"], None])),
        (NUMBER, pl.Series([None])),
        (TimestampConfig(type="timestamp"), pl.Series([None, "2024-05-01"])),
    ],
)
def test_check_column_lets_right_values_pass(config: Any, column: pl.Series) -> None:
    check_column(config, column)
