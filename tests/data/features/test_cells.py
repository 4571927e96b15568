"""Cells of every spelling, and what is said of those that cannot be read."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from twotower.data.features.cells import categorical, split_values


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
