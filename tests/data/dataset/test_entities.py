"""One row an entity: padding, OOV, warm in the order of the vocabulary, cold."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.data.small_shop import FEATURES, ITEMS, USERS, features, schema
from twotower.config import FeaturesConfig
from twotower.data.dataset.entities import OUTSIDE, EntityTable, tensor_of
from twotower.data.features.schema import Schema
from twotower.errors import DataError

LATER = pl.Series(["u7", "u1", "u7", None, "u3"])


def users(num_oov: int = 1) -> EntityTable:
    fitted = schema(**{**FEATURES, "user": {**FEATURES["user"], "id": {"num_oov": num_oov}}})
    return EntityTable(fitted, "user", USERS, extra_ids=LATER, file="users.csv")


def test_warm_then_cold_each_once() -> None:
    table = users()
    assert table.ids.to_list() == [None, None, "u1", "u2", "u9", "u3", "u7"]
    assert (table.first_known, table.end_warm, len(table)) == (2, 5, 7)
    assert table.is_warm(np.arange(-1, 7)).tolist() == [False] * 3 + [True] * 3 + [False] * 2
    vocabulary = table.schema.users
    assert vocabulary.encode(vocabulary.values).tolist() == table.nums(vocabulary.values).tolist()


def test_nums() -> None:
    table = users()
    nums = table.nums(pl.Series(["u7", "u2", "nobody", None, "u2"]))
    assert nums.tolist() == [6, 3, OUTSIDE, OUTSIDE, 3]
    assert nums.dtype == np.int64
    assert table.nums(pl.Series([], dtype=pl.String)).tolist() == []


def test_the_num_of_one_id_is_that_of_many() -> None:
    table = users()
    ids = ["u7", "u2", "nobody", ""]
    assert [table.num(one) for one in ids] == table.nums(pl.Series(ids)).tolist()
    assert table.num(7) == OUTSIDE
    assert table.own_id(7) == "7"


def test_an_integer_and_its_text_are_one_id() -> None:
    rows = pl.DataFrame({"user_id": [5, 9], "item_id": [1, 2]})
    table = EntityTable(
        Schema.fit(FeaturesConfig(), interactions=rows, users=None, items=None), "user", None
    )
    first = table.first_known
    assert [table.num(one) for one in (5, "9", "09", "x", 7)] == [
        first,
        first + 1,
        OUTSIDE,
        OUTSIDE,
        OUTSIDE,
    ]
    assert (table.own_id("9"), table.own_id("09"), table.own_id(9)) == (9, "09", 9)


def test_ids_as_features() -> None:
    table = users(num_oov=3)
    nums = tensor_of(table.features, "id").tolist()
    assert nums[:7] == [0, 1, 2, 3, 4, 5, 6]  # padding, each OOV row its own, then the warm
    assert all(1 <= num <= 3 for num in nums[7:])
    assert nums[7:] == table.schema.users.encode(["u3", "u7"]).tolist()


def test_features_stand_at_their_ids() -> None:
    table = users()
    frame = table.frame
    assert frame["user_id"].to_list() == table.ids.to_list()
    assert frame["city"].to_list() == [None, None, "Rome", None, "Oslo", "Lima", None]
    assert table.features["city"].tolist() == [0, 0, 3, 0, 2, 1, 0]
    # (value - 30) / 10, missing flag, bin of the edge 30
    expected = torch.tensor([[-1, 0, 1], [1, 0, 2], [0, 1, 0], [6.9, 0, 2]])
    torch.testing.assert_close(table.features["age"][2:6], expected)
    assert table.features["age"].tolist()[6] == [0, 1, 0]
    assert {len(column) for column in table.features.values()} == {len(table)}


def test_items_of_training_that_the_file_lacks_have_missing_features() -> None:
    table = EntityTable(schema(), "item", ITEMS)
    assert table.ids.to_list() == [None, None, "i1", "i2", "i4", "i3"]
    assert table.features["genres"].tolist() == [[], [], [2, 3], [3], [], [3, 1]]
    assert table.features["added"].tolist()[4] == [0] * 7 + [1]


def test_gather() -> None:
    table = users()
    gathered = table.gather(torch.tensor([5, 2, 5]))
    assert gathered.keys() == table.features.keys()
    assert gathered["id"].tolist() == [1, 2, 1]
    assert gathered["city"].tolist() == [1, 3, 1]


def test_without_a_file() -> None:
    table = EntityTable(schema(user={}), "user", None)
    assert table.ids.to_list() == [None, None, "u1", "u2", "u9"]
    assert table.frame.columns == ["user_id"]


def test_a_file_without_rows() -> None:
    table = EntityTable(schema(), "user", USERS.clear())
    assert len(table) == 5
    assert table.features["city"].tolist() == [0] * 5
    assert tensor_of(table.features, "age")[:, 1].tolist() == [1] * 5


def test_a_wrong_value_names_file_and_row() -> None:
    wrong = USERS.with_columns(pl.Series("age", [1.0, 2.0, float("inf"), None]))
    with pytest.raises(DataError, match=r"^new\.csv, row 3, column 'age': contains a value"):
        EntityTable(schema(), "user", wrong, file="new.csv")


@given(
    st.lists(st.integers(0, 30), min_size=1),
    st.lists(st.integers(-5, 40), unique=True),
    st.lists(st.integers(-5, 40)),
)
def test_every_id_has_one_row_warm_first(
    training: list[int], file: list[int], later: list[int]
) -> None:
    log = pl.DataFrame({"user_id": training, "item_id": training})
    declared = features(user={"twice": {"type": "category"}})
    table = pl.DataFrame(
        {"user_id": file, "twice": [str(2 * num) for num in file]},
        schema={"user_id": pl.Int64, "twice": pl.String},
    )
    fitted = Schema.fit(declared, interactions=log, users=table, items=None)
    extra = pl.Series(later, dtype=pl.Int64)
    entities = EntityTable(fitted, "user", table, extra_ids=extra)
    known = entities.ids[entities.first_known :].to_list()
    assert known[: len(set(training))] == sorted(set(training))
    assert sorted(known) == sorted({*training, *file, *later})
    nums = entities.nums(pl.Series([*training, *file, *later]))
    assert [entities.ids[int(num)] for num in nums] == [*training, *file, *later]
    twice = entities.frame["twice"].to_list()
    assert all(
        text == (str(2 * num) if num in file else None)
        for num, text in zip(entities.ids.to_list(), twice, strict=True)
    )
