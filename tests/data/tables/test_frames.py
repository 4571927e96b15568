from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import datasets
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from twotower.data.tables.frames import to_polars
from twotower.errors import DataError

TABLE = pl.DataFrame(
    {
        "user_id": [3, 1, 2],
        "item_id": ["a", "b", None],
        "price": [0.5, None, 2.0],
        "genres": [["x", "y"], [], None],
        "new": [True, None, False],
    }
)

KINDS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "polars": lambda frame: frame,
    "lazy": lambda frame: frame.lazy(),
    "arrow": lambda frame: frame.to_arrow(),
    "batch": lambda frame: frame.to_arrow().combine_chunks().to_batches()[0],
    "hugging face": lambda frame: datasets.Dataset(frame.to_arrow()),
    "pandas": lambda frame: pd.DataFrame({n: pd.Series(frame[n].to_list()) for n in frame.columns}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table_gives_the_same_frame(kind: str) -> None:
    assert_frame_equal(to_polars(KINDS[kind](TABLE), "interactions"), TABLE)


def of_pandas(**columns: Any) -> pl.DataFrame:
    return to_polars(pd.DataFrame(columns), "interactions")


def test_the_index_of_a_pandas_frame_is_ignored() -> None:
    frame = pd.DataFrame({"user_id": [1, 2]}, index=pd.Index([7, 7], name="item_id"))
    assert_frame_equal(to_polars(frame, "interactions"), pl.DataFrame({"user_id": [1, 2]}))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pd.Series([1, None, 3], dtype="Int64"), pl.Series([1, None, 3])),
        (pd.Series([1.0, float("nan")]), pl.Series([1.0, None])),
        (pd.Series([True, None], dtype="boolean"), pl.Series([True, None])),
        (pd.Series(["a", None, "b"], dtype="category"), pl.Series(["a", None, "b"])),
        (pd.Series([5, 7, 5], dtype="category"), pl.Series([5, 7, 5])),
        (pd.Series(["a", None, float("nan"), pd.NA], dtype=object), pl.Series(["a"] + [None] * 3)),
        (pd.Series(["a", None], dtype="string"), pl.Series(["a", None])),
        (pd.Series([7, "a", 2.0, True, None], dtype=object), ["7", "a", "2", "true", None]),
        (pd.Series([2**70, 1], dtype=object), [str(2**70), "1"]),
        (pd.Series([["x"], None], dtype=object), pl.Series([["x"], None])),
        (
            pd.to_datetime(pd.Series(["2024-05-01 12:00", None])).dt.tz_localize("Europe/Oslo"),
            [dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC), None],
        ),
        (pd.to_datetime(pd.Series(["2024-05-01"])), [dt.datetime(2024, 5, 1)]),
    ],
    ids=str,
)
def test_columns_of_pandas(column: Any, expected: Any) -> None:
    found = of_pandas(column=column)["column"]
    if isinstance(expected, pl.Series):
        assert found.dtype == expected.dtype
        expected = expected.to_list()
    assert found.to_list() == expected


def test_names_of_pandas_columns_become_text() -> None:
    assert to_polars(pd.DataFrame({0: [1], 1: ["a"]}), "users").columns == ["0", "1"]


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["a", "b"])])
def test_categories_of_polars_become_text(dtype: Any) -> None:
    frame = pl.DataFrame({"item_id": pl.Series(["a", "b", None], dtype=dtype)})
    assert_frame_equal(to_polars(frame, "items"), frame.cast(pl.String))


def test_categories_of_arrow_become_their_values() -> None:
    table = pa.table({"item_id": pa.array([9, 8, None, 9]).dictionary_encode()})
    assert_frame_equal(to_polars(table, "items"), pl.DataFrame({"item_id": [9, 8, None, 9]}))


def test_the_rows_of_a_hugging_face_dataset_are_those_it_selects() -> None:
    chosen = datasets.Dataset.from_dict({"user_id": [1, 2, 3]}).select([2, 0])
    assert to_polars(chosen, "users")["user_id"].to_list() == [3, 1]


def test_a_dataset_dict_is_refused() -> None:
    rows = datasets.Dataset.from_dict({"user_id": [1]})
    splits: Any = datasets.DatasetDict({"train": rows, "validation": rows})
    with pytest.raises(DataError) as caught:
        to_polars(splits, "interactions")
    assert str(caught.value) == (
        "interactions frame: is a DatasetDict, of the splits train, validation. "
        "Fix: give one of them, such as dataset['train']."
    )


def test_a_streamed_dataset_is_refused() -> None:
    def rows() -> Iterator[dict[str, int]]:
        yield {"user_id": 1}

    streamed: Any = datasets.IterableDataset.from_generator(rows)
    with pytest.raises(DataError) as caught:
        to_polars(streamed, "test")
    assert str(caught.value) == (
        "test frame: is a streamed dataset, whose rows are not in memory. "
        "Fix: load it without streaming=True."
    )


@pytest.mark.parametrize(
    ("table", "got"),
    [
        ([("u", "i")], "list instead"),
        (None, "NoneType instead"),
        ("log.csv", "str instead; Dataset.read reads files"),
    ],
)
def test_what_is_not_a_table_is_refused(table: Any, got: str) -> None:
    with pytest.raises(TypeError) as caught:
        to_polars(table, "validation")
    assert str(caught.value) == (
        "The 'validation' parameter must be a Polars, pandas or PyArrow table, or a Hugging Face "
        f"dataset. Got {got}."
    )


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"batch"}))
def test_a_table_without_rows_is_refused(kind: str) -> None:
    with pytest.raises(DataError) as caught:
        to_polars(KINDS[kind](TABLE.clear()), "items")
    assert str(caught.value) == "items frame: has no rows. Fix: give a table with data."


def test_two_columns_of_one_name_are_refused() -> None:
    twice = pd.DataFrame([[1, 2, 3]], columns=["user_id", "item_id", "item_id"])
    arrow = pa.table([pa.array([1]), pa.array([2])], names=["item_id", "item_id"])
    for table in (twice, arrow):
        with pytest.raises(DataError) as caught:
            to_polars(table, "interactions")
        assert str(caught.value) == (
            "interactions frame: has 2 columns of the name 'item_id'. "
            "Fix: rename or drop all of them but one."
        )


def test_objects_that_are_not_single_values_are_refused_beside_others() -> None:
    with pytest.raises(DataError) as caught:
        of_pandas(tags=pd.Series(["a", ["b"]], dtype=object))
    assert str(caught.value) == (
        "interactions frame, row 2, column 'tags': holds Python objects of several types, and this "
        "list is not text, a number or a truth value (found ['b']). "
        "Fix: give the column values of one type."
    )


def test_a_type_that_polars_lacks_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        to_polars(pa.table({"month": pa.array([pa.MonthDayNano([1, 2, 3])])}), "items")
    assert str(caught.value).startswith(
        "items frame, column 'month': holds values of type month_day_nano_interval, which cannot "
        "be read: "
    )
    assert str(caught.value).endswith(
        " Fix: leave the column out, or convert it to text or numbers."
    )
