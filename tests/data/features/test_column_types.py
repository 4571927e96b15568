"""Types of the columns of users and items: inferred once, kept for later files."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from twotower.data.features.column_types import as_declared, as_kept, infer_undeclared, inferred
from twotower.errors import DataError
from twotower.features.category import CategoryConfig
from twotower.features.number import NumberConfig
from twotower.features.text import TextConfig
from twotower.features.timestamp import TimestampConfig


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "", None, "-2"], [1, None, None, -2]),
        (["1.5", "2"], [1.5, 2.0]),
        (["True", "FALSE", None], [True, False, None]),
        (["True", "yes"], ["True", "yes"]),
        (["007", "8"], ["007", "8"]),
        (["+7"], ["+7"]),
        (["1e5"], ["1e5"]),
        (["9223372036854775808"], ["9223372036854775808"]),
        (["", None], [None, None]),
    ],
)
def test_inferred(cells: list[str | None], expected: list[Any]) -> None:
    found = inferred(pl.Series(cells, dtype=pl.String))
    assert found.to_list() == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


def test_declared_columns_stay_text() -> None:
    frame = pl.DataFrame({"code": ["9.10", "9.1"], "stock": ["3", "4"], "vector": [[1.0], [2.0]]})
    found = infer_undeclared(frame, stay=["code"])
    assert found.to_dict(as_series=False) == {
        "code": ["9.10", "9.1"],
        "stock": [3, 4],
        "vector": [[1.0], [2.0]],
    }


CATEGORY = CategoryConfig(type="category")
NUMBER = NumberConfig(type="number", log=True)
COMMA = NumberConfig(type="number", decimal=",")


@pytest.mark.parametrize(
    ("column", "configs", "expected"),
    [
        (pl.Series([1, 2]), [CATEGORY], ["1", "2"]),
        (pl.Series([True, None]), [CATEGORY], ["true", None]),
        (pl.Series([" True", ""]), [CATEGORY], ["true", None]),
        (pl.Series(["9.10"]), [CATEGORY, NUMBER], ["9.10"]),
        (pl.Series([3.0, 2.5]), [TextConfig(type="text")], ["3", "2.5"]),
        (pl.Series(["1999", None]), [NUMBER], [1999, None]),
        (pl.Series(["$1,999.5", "2"]), [NUMBER], [1999.5, 2.0]),
        (pl.Series(["1.999", "2,5"]), [COMMA], [1999.0, 2.5]),
        (pl.Series(["True", "false"]), [NUMBER], [1.0, 0.0]),
        (pl.Series([True, False]), [NUMBER], [1, 0]),
        (pl.Series([1, 2]), [NUMBER], [1, 2]),
        (pl.Series([1.0, float("nan")]), [NUMBER], [1.0, None]),
        (pl.Series(["TRUE", "false"]), [], [True, False]),
        (pl.Series(["1", "2"]), [], ["1", "2"]),
        (pl.Series(["a"], dtype=pl.Categorical), [], ["a"]),
        (pl.Series([[1, 2]]), [CATEGORY], [[1, 2]]),
    ],
)
def test_as_declared(column: pl.Series, configs: list[Any], expected: list[Any]) -> None:
    found = as_declared(column.alias("c").to_frame(), {"c": configs})["c"].to_list()
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


@pytest.mark.parametrize(
    ("kept", "cells", "expected"),
    [
        (pl.String, ["9.10", "7"], ["9.10", "7"]),
        (pl.String, [9.1, 7.0], ["9.1", "7"]),
        (pl.String, [True, False], ["true", "false"]),
        (pl.Categorical(), [7], ["7"]),
        (pl.Int64, ["7", "", None], [7, None, None]),
        (pl.Int64, ["7", "2.5"], [7.0, 2.5]),
        (pl.Int64, [7.0], [7.0]),
        (pl.Float64, ["7", "2.5"], [7.0, 2.5]),
        (pl.Float64, [7], [7]),
        (pl.Boolean, ["True", "false", ""], [True, False, None]),
        (pl.Date, ["2024-05-01", None], [date(2024, 5, 1), None]),
        (pl.Datetime("us"), ["2024-05-01T12:00:00.5"], [datetime(2024, 5, 1, 12, 0, 0, 500_000)]),
        (pl.Datetime("ms", "UTC"), ["2024-05-01"], [datetime(2024, 5, 1, tzinfo=UTC)]),
        (pl.List(pl.Int64), [[1]], [[1]]),
    ],
)
def test_later_rows_get_the_kept_types(kept: Any, cells: list[Any], expected: list[Any]) -> None:
    found = as_kept(pl.DataFrame({"c": cells}), pl.Schema({"c": kept}), {})
    assert found["c"].to_list() == expected


DECLARE = "Fix: correct the value, or declare the column a category and train again."


@pytest.mark.parametrize(
    ("kept", "cells", "message"),
    [
        (pl.Int64, ["7", "A7"], f"row 2, column 'c': {{}}numbers{{}} (found 'A7'). {DECLARE}"),
        (pl.Int64, ["007"], f"row 1, column 'c': {{}}numbers{{}} (found '007'). {DECLARE}"),
        (pl.Int64, [True], f"row 1, column 'c': {{}}numbers{{}} (found True). {DECLARE}"),
        (
            pl.Float64,
            ["x", "1", "y"],
            f"row 1, column 'c': {{}}numbers{{}}; it is the first of 2 such rows (found 'x'). "
            f"{DECLARE}",
        ),
        (
            pl.Boolean,
            [None, "yes"],
            f"row 2, column 'c': {{}}true or false{{}} (found 'yes'). {DECLARE}",
        ),
        (
            pl.Date,
            [20240501],
            f"row 1, column 'c': {{}}values of type Date{{}} (found 20240501). {DECLARE}",
        ),
        (
            pl.List(pl.String),
            ["x"],
            f"row 1, column 'c': {{}}values of type List(String){{}} (found 'x'). {DECLARE}",
        ),
    ],
)
def test_later_rows_that_do_not_fit(kept: Any, cells: list[Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        as_kept(pl.DataFrame({"c": cells}), pl.Schema({"c": kept}), {}, file="new.csv")
    parts = ("this column of the bundle's table holds ", ", and this value does not fit")
    assert str(caught.value) == "new.csv, " + message.format(*parts)


DAY = datetime(1972, 1, 1)
WRITTEN: dict[str, list[Any]] = {
    "iso": ["1972-01-01", None],
    "datetime": [DAY, None],
    "date": [DAY.date(), None],
}


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize(
    ("declared", "kept", "expected"),
    [
        ({"unit": "s"}, pl.Int64, 63_072_000),
        ({"unit": "ms"}, pl.Int64, 63_072_000_000),
        ({"unit": "ns"}, pl.Int64, 63_072_000_000_000_000),
        ({"unit": "ms"}, pl.String, {"iso": "1972-01-01"}),
        ({"unit": "excel"}, pl.Float64, 26_299.0),
        ({"format": "%Y%m%d"}, pl.Int64, 19_720_101),
        ({"format": "%d/%m/%Y"}, pl.String, {"iso": "1972-01-01"}),
        ({}, pl.Datetime("us"), DAY),
    ],
)
def test_times_of_a_later_file_are_kept_as_those_of_the_table(
    declared: dict[str, Any], kept: Any, expected: Any, written: str
) -> None:
    """A datetime beside milliseconds became its number of microseconds."""
    config = TimestampConfig.model_validate({"type": "timestamp", **declared})
    if isinstance(expected, dict):
        text = {"unit": "63072000000", "format": "01/01/1972"}[next(iter(declared))]
        expected = expected.get(written, text)
    rows = pl.DataFrame({"born": WRITTEN[written]})
    found = as_kept(rows, pl.Schema({"born": kept}), {"born": [config]})
    assert found.schema == {"born": kept}
    assert found["born"].to_list() == [expected, None]
