"""Filters by hand, and against Python's own operators."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.small_shop import TRAIN, features, schema
from twotower.data.features.schema import Schema
from twotower.errors import DataError
from twotower.serving.answer.filters import mask_of, unknown_columns, without_unknown

SCHEMA = schema()
FRAME = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "d"],
        "price": [1.5, None, 3.0, float("nan")],
        "stock": [0, 3, 7, None],
        "genres": ["drama|opera", "drama", None, " crime | drama "],
        "tags": [["x", "y"], [], None, ["y"]],
        "new": [True, False, None, True],
        "since": [date(2024, 1, 1), date(2024, 2, 2), None, date(2023, 5, 5)],
        "note": ["true", "9.10", "7", None],
        "year": ["1999", "2024", None, "2001"],
    }
)


def kept(expression: Any) -> str:
    mask = mask_of(expression, FRAME, SCHEMA)
    return "".join(FRAME.filter(pl.Series(mask))["item_id"].to_list())


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"column": "item_id", "equals": "b"}, "b"),
        ({"column": "item_id", "in": ["a", "d", "z"]}, "ad"),
        ({"column": "item_id", "in": []}, ""),
        ({"column": "price", "equals": 3}, "c"),
        ({"column": "price", "range": {"min": 1.5}}, "ac"),
        ({"column": "price", "range": {"max": 2}}, "a"),
        ({"column": "price", "equals": None}, "b"),
        ({"column": "stock", "in": [0, None]}, "ad"),
        ({"column": "stock", "range": {"min": 2.5, "max": 7}}, "bc"),
        ({"column": "new", "equals": True}, "ad"),
        ({"column": "new", "equals": "true"}, "ad"),
        ({"column": "new", "in": ["False", True]}, "abd"),
        ({"column": "note", "equals": True}, "a"),
        ({"column": "note", "in": ["9.10", 7]}, "bc"),
        ({"column": "note", "equals": 9.1}, ""),
        ({"column": "stock", "equals": "3"}, "b"),
        ({"column": "year", "range": {"min": 2000, "max": 2010}}, "d"),
        ({"column": "year", "range": {"min": "2001"}}, "bd"),
        ({"column": "genres", "equals": " drama"}, "abd"),
        ({"column": "tags", "equals": "y"}, "ad"),
        ({"column": "tags", "in": ["x", None]}, "ac"),
        ({"column": "genres", "equals": "drama"}, "abd"),
        ({"column": "genres", "in": ["crime", "opera"]}, "ad"),
        ({"column": "since", "range": {"min": "2024-01-01"}}, "ab"),
        ({"column": "since", "equals": "2023-05-05"}, "d"),
        ({"not": {"column": "stock", "equals": 0}}, "bcd"),
        ({"and": [{"column": "new", "equals": True}, {"column": "stock", "equals": 0}]}, "a"),
        ({"or": [{"column": "new", "equals": False}, {"column": "stock", "equals": 7}]}, "bc"),
    ],
)
def test_what_a_filter_keeps(expression: Any, expected: str) -> None:
    assert kept(expression) == expected


def rows_kept(column: pl.Series, **condition: Any) -> list[int]:
    frame = pl.DataFrame({"item_id": range(len(column)), "x": column})
    mask = mask_of({"column": "x", **condition}, frame, SCHEMA)
    return [int(row) for row in mask.nonzero()[0]]


NOON = datetime(2024, 5, 1, 12)
MOMENTS = [NOON, NOON + timedelta(seconds=0.5), None, datetime(1969, 12, 31, 23, 59, 59)]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_times_are_moments_whatever_a_column_stores_them_as(unit: Any, zone: str | None) -> None:
    column = pl.Series(MOMENTS).cast(pl.Datetime(unit))
    if zone is not None:
        column = column.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    assert rows_kept(column, equals="2024-05-01T12:00:00") == [0]
    assert rows_kept(column, equals="2024-05-01T14:00:00+02:00") == [0]
    assert rows_kept(column, **{"in": ["2024-05-01 12:00:00.500", None]}) == [1, 2]
    assert rows_kept(column, range={"min": "2024-05-01T12:00:00"}) == [0, 1]
    assert rows_kept(column, range={"min": "2024-05-01T12:00:00.25"}) == [1]
    assert rows_kept(column, range={"max": "1970-01-01"}) == [3]
    assert rows_kept(column, range={"max": "1969-12-31T23:59:59"}) == [3]
    assert rows_kept(column, range={"max": "1969-12-31T23:59:58"}) == []


def test_days_are_compared_as_days() -> None:
    column = pl.Series([date(1969, 12, 30), date(1970, 1, 1), date(2024, 2, 29)])
    assert rows_kept(column, equals="2024-02-29") == [2]
    assert rows_kept(column, range={"min": "1969-12-31", "max": "2024-02-28"}) == [1]
    assert rows_kept(column, range={"max": "1969-12-30"}) == [0]


def test_bounds_beyond_a_columns_type_keep_all_or_nothing() -> None:
    small = pl.Series([-128, 0, 127, None], dtype=pl.Int8)
    assert rows_kept(small, range={"min": -1000, "max": 1000}) == [0, 1, 2]
    assert rows_kept(small, range={"min": -128, "max": 127}) == [0, 1, 2]
    assert rows_kept(small, range={"min": 128}) == rows_kept(small, range={"max": -129}) == []
    assert rows_kept(small, range={"min": 126.5, "max": 127.5}) == [2]
    assert rows_kept(small, range={"min": 0.5, "max": 126.5}) == []
    assert rows_kept(small, **{"in": [1000, 127, -128, -129]}) == [0, 2]
    floats = pl.Series([-1.0, 1e300, float("inf"), float("nan"), None])
    assert rows_kept(floats, range={"max": 10**400}) == [0, 1, 2]
    assert rows_kept(floats, range={"min": 10**400}) == [2]
    assert rows_kept(floats, range={"min": -(10**400), "max": 0}) == [0]


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["new", "used"])])
def test_a_dictionary_is_text(dtype: Any) -> None:
    column = pl.Series(["used", "new", None]).cast(dtype)
    assert rows_kept(column, equals="used") == [0]
    assert rows_kept(column, **{"in": ["worn", None]}) == [2]
    assert rows_kept(column, range={"min": "o"}) == [0]


def test_decimals_are_numbers() -> None:
    column = pl.Series(["1.50", "2.00", None]).cast(pl.Decimal(10, 2))
    assert rows_kept(column, equals=1.5) == [0]
    assert rows_kept(column, range={"min": 1.75}) == [1]


def test_what_a_list_of_fixed_length_holds() -> None:
    column = pl.Series([[1, 2], [2, 3], None], dtype=pl.Array(pl.Int64, 2))
    assert rows_kept(column, equals=2) == [0, 1]
    assert rows_kept(column, **{"in": [3, None]}) == [1, 2]


@pytest.mark.parametrize(
    ("expression", "unknown", "left"),
    [
        ({"column": "price", "equals": 1}, [], {"column": "price", "equals": 1}),
        ({"column": "size", "equals": 1}, ["size"], None),
        ({"not": {"column": "size", "equals": 1}}, ["size"], None),
        (
            {"or": [{"column": "size", "in": [1]}, {"column": "new", "equals": True}]},
            ["size"],
            {"or": [{"column": "new", "equals": True}]},
        ),
        (
            {"and": [{"column": "size", "in": [1]}, {"not": {"column": "new", "equals": True}}]},
            ["size"],
            {"and": [{"not": {"column": "new", "equals": True}}]},
        ),
        (
            {"and": [{"column": "size", "in": [1]}, {"or": [{"column": "size", "equals": 2}]}]},
            ["size"],
            None,
        ),
        (
            {"or": [{"column": "size", "equals": 1}, {"column": "hue", "equals": 2}]},
            ["size", "hue"],
            None,
        ),
    ],
)
def test_conditions_on_other_columns_can_be_passed_over(
    expression: Any, unknown: list[str], left: Any
) -> None:
    assert unknown_columns(expression, FRAME.columns) == unknown
    assert without_unknown(expression, FRAME.columns) == left


CATALOGUE = pl.DataFrame(
    {
        "item_id": ["i1", "i2", "i3"],
        "new": [True, False, None],
        "path": ["Home > Kitchen", "Home > Bath", None],
        "codes": [[7], [8, 9], None],
    }
)
DECLARED = Schema.fit(
    features(
        item={
            "new": {"type": "category"},
            "path": {"type": "categories", "separator": ">", "hierarchical": True},
            "codes": {"type": "categories"},
        }
    ),
    interactions=TRAIN,
    users=None,
    items=CATALOGUE,
)


@pytest.mark.parametrize("new", [["true", "false", None], [True, False, None]])
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"column": "new", "equals": True}, "a"),
        ({"column": "new", "equals": "True"}, "a"),
        ({"column": "new", "in": ["false", None]}, "bc"),
        ({"column": "path", "equals": "Home"}, "ab"),
        ({"column": "path", "equals": "Home>Kitchen"}, "a"),
        ({"column": "path", "equals": None}, "c"),
        ({"column": "codes", "equals": 7}, "a"),
        ({"column": "codes", "in": ["7", "8"]}, "ab"),
    ],
)
def test_declared_categories_are_compared_as_text(
    new: list[Any], expression: Any, expected: str
) -> None:
    frame = CATALOGUE.with_columns(pl.Series("new", new))
    mask = mask_of(expression, frame, DECLARED)
    assert "".join("abc"[row] for row in mask.nonzero()[0]) == expected


OTHER_TYPE = "Fix: compare numbers with numbers, text with text, and times with ISO 8601 text."


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            {"column": "prise", "equals": 1},
            "there is no item column 'prise', did you mean 'price'? There are: price, stock, "
            "genres, tags, new, since, note, year, item_id",
        ),
        (
            {"column": "stock", "equals": 1.5},
            "column 'stock': holds values of type Int64, and the filter compares them with another "
            f"type (found 1.5). {OTHER_TYPE}",
        ),
        (
            {"column": "new", "equals": 1},
            "column 'new': holds values of type Boolean, and the filter compares them with another "
            f"type (found 1). {OTHER_TYPE}",
        ),
        (
            {"column": "stock", "equals": "2024-01-01"},
            "column 'stock': holds values of type Int64, and the filter compares them with another "
            f"type (found '2024-01-01'). {OTHER_TYPE}",
        ),
        (
            {"column": "since", "equals": 19723},
            "column 'since': holds values of type Date, and the filter compares them with another "
            f"type (found 19723). {OTHER_TYPE}",
        ),
        (
            {"column": "note", "range": {"max": 8}},
            "column 'note': holds values of type String, and the filter compares them with another "
            f"type (found 8). {OTHER_TYPE}",
        ),
        (
            {"column": "tags", "range": {"min": "x"}},
            "column 'tags': has values of type List(String), which have no order. Fix: use equals "
            "or in.",
        ),
        (
            {"column": "since", "range": {"min": "soon"}},
            "column 'since': holds values of type Date, and the filter compares them with another "
            f"type (found 'soon'). {OTHER_TYPE}",
        ),
        (
            {"column": "new", "range": {"min": 0}},
            "column 'new': has values of type Boolean, which have no order. Fix: use equals or in.",
        ),
        (
            {"column": "new"},
            "is no filter (found {'column': 'new'}). Fix: name a column and equals, in or range.",
        ),
    ],
)
def test_a_wrong_filter_is_told(expression: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        mask_of(expression, FRAME, SCHEMA)
    assert str(caught.value) == message


numbers = st.one_of(st.none(), st.integers(-5, 5))


@given(
    st.lists(numbers, min_size=1, max_size=20),
    st.integers(-6, 6),
    st.integers(-6, 6),
    st.lists(numbers, max_size=4),
)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_conditions_are_those_of_python(
    values: list[int | None], low: int, high: int, among: list[int | None]
) -> None:
    frame = pl.DataFrame({"v": pl.Series(values, dtype=pl.Int64)})
    inside = mask_of({"column": "v", "range": {"min": low, "max": high}}, frame, SCHEMA)
    assert inside.tolist() == [v is not None and low <= v <= high for v in values]
    listed = mask_of({"column": "v", "in": among}, frame, SCHEMA)
    assert listed.tolist() == [v in among for v in values]
    both = {"column": "v", "in": among}, {"not": {"column": "v", "equals": low}}
    combined = mask_of({"and": list(both)}, frame, SCHEMA)
    assert combined.tolist() == [v in among and v != low for v in values]
