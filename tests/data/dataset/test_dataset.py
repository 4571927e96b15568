"""Tables and parts to numbered interactions."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.data.small_shop import ITEMS, TEST, TRAIN, USERS, VALIDATION, config
from twotower.data.dataset.dataset import Dataset, context_columns, number_interactions
from twotower.data.dataset.entities import OUTSIDE, to_column
from twotower.data.dataset.splits import Parts
from twotower.data.tables.tables import Tables
from twotower.errors import DataError

PARTS = Parts(TRAIN, VALIDATION, TEST, "given", "")
TABLES = Tables(pl.concat([TRAIN, VALIDATION]), USERS, ITEMS, test=TEST)


def dataset(parts: Parts = PARTS, tables: Tables = TABLES) -> Dataset:
    return Dataset.from_parts(config(), tables, parts)


def test_numbers_of_all_parts() -> None:
    data = dataset()
    # users: u1 u2 u9 warm, then u3 of the file and u7 of the test part; items: i1 i2 i4, then i3.
    assert data.users.ids.to_list() == [None, None, "u1", "u2", "u9", "u3", "u7"]
    assert data.items.ids.to_list() == [None, None, "i1", "i2", "i4", "i3"]
    assert data.train.user_num.tolist() == [3, 2, 4, 3]
    assert data.train.item_num.tolist() == [2, 3, 4, 3]
    assert data.validation.item_num.tolist() == [2]
    assert data.test.user_num.tolist() == [5, 6, 2]
    assert data.test.item_num.tolist() == [5, OUTSIDE, 4]
    assert data.split() == (data.train, data.validation, data.test)
    assert data.train.timestamp is not None
    assert data.train.timestamp.tolist() == [30, 10, 20, 40]


def test_weights_are_1_where_there_are_none() -> None:
    assert dataset().train.weight.tolist() == [1, 1, 1, 1]
    weighted = TRAIN.with_columns(weight=pl.Series([0.5, 2, 1, 4], dtype=pl.Float32))
    assert dataset(replace(PARTS, train=weighted)).train.weight.tolist() == [0.5, 2, 1, 4]


def test_large_weights_count_by_their_logarithm() -> None:
    weighted = TRAIN.with_columns(weight=pl.Series([0.5, 10, 10 * np.e, 1e4], dtype=pl.Float32))
    found = dataset(replace(PARTS, train=weighted)).train.weight
    assert found == pytest.approx([0.5, 10, 20, 79.0776], rel=1e-5)
    assert found.dtype == np.float32


def test_contexts() -> None:
    data = dataset()
    assert data.train.context["device"].tolist() == [4, 0, 3, 4]
    assert data.test.context["device"].tolist()[::2] == [4, 3]
    assert context_columns(data.config) == ("device",)


def test_no_validation_part() -> None:
    data = dataset(replace(PARTS, validation=VALIDATION.clear()))
    assert len(data.validation) == 0
    assert len(data.validation.context["device"]) == 0


def test_refit_on_training_and_validation_rows() -> None:
    late = VALIDATION.with_columns(item_id=pl.lit("i7"), user_id=pl.lit("u7"))
    data = dataset(replace(PARTS, validation=late))
    assert data.validation.item_num.tolist() == [OUTSIDE]
    again = data.refit("train")
    assert again.schema.items.values.to_list() == ["i1", "i2", "i4", "i7"]
    assert again.schema.users.values.to_list() == ["u1", "u2", "u7", "u9"]
    assert len(again.train) == 5
    assert len(again.validation) == 0
    assert again.items.ids[int(again.train.item_num[4])] == "i7"
    assert again.parts.test is data.parts.test
    assert len(again.test) == 3
    assert len(data.train) == 4


def test_refit_on_all_rows_learns_test_values() -> None:
    again = dataset().refit("all")
    assert len(again.train) == 8
    assert again.schema.items.values.to_list() == ["i1", "i2", "i3", "i4", "i8"]
    assert (again.test.item_num >= 0).all()
    city = again.schema.features["user"]["city"]
    assert to_column(city.encode(pl.Series(["Lima"]))).tolist() == [2]


def test_refit_where_a_part_lacks_a_column() -> None:
    again = dataset(replace(PARTS, validation=VALIDATION.clear())).refit("train")
    assert len(again.train) == 4
    weighted = VALIDATION.with_columns(weight=pl.lit(2.0, dtype=pl.Float32))
    with_weight = dataset(replace(PARTS, validation=weighted)).refit("train")
    assert with_weight.train.weight.tolist() == [1, 1, 1, 1, 2]
    timeless = replace(PARTS, validation=VALIDATION.drop("timestamp"))
    assert dataset(timeless).refit("train").train.timestamp is None


def test_parts_can_be_joined_and_taken_from() -> None:
    data = dataset()
    joined = data.train.append(data.validation)
    assert joined.user_num.tolist() == [3, 2, 4, 3, 2]
    assert joined.context["device"].tolist() == [4, 0, 3, 4, 4]
    by_user = [values.tolist() for values in joined.by_user()]
    assert by_user == [[], [], [3, 2], [2, 3], [4], [], []]
    assert data.test.item_counts().tolist() == [0, 0, 0, 0, 1, 1]
    taken = joined.take(np.array([4, 0]))
    assert taken.user_num.tolist() == [2, 3]
    assert taken.context["device"].tolist() == [4, 4]
    assert taken.timestamp is not None
    assert taken.timestamp.tolist() == [50, 30]


def test_a_users_items_are_oldest_first() -> None:
    assert dataset().train.by_user()[3].tolist() == [2, 3]
    backwards = TRAIN.with_columns(timestamp=-pl.col("timestamp"))
    assert dataset(replace(PARTS, train=backwards)).train.by_user()[3].tolist() == [3, 2]


def test_contexts_of_different_widths_are_joined() -> None:
    several = config(features={"context": {"tags": {"type": "categories"}}})
    train = TRAIN.with_columns(tags=pl.Series([["a"], ["b"], [], ["a"]]))
    validation = VALIDATION.with_columns(tags=pl.Series([["b", "a", "new"]]))
    parts = replace(
        PARTS,
        train=train,
        validation=validation,
        test=TEST.with_columns(tags=pl.Series([[], [], []], dtype=pl.List(pl.String))),
    )
    data = Dataset.from_parts(several, replace(TABLES, interactions=train, test=parts.test), parts)
    assert data.train.context["tags"].tolist() == [[2], [3], [], [2]]
    expected = [[2], [3], [], [2], [3, 2, 1]]
    assert data.train.append(data.validation).context["tags"].tolist() == expected
    assert data.validation.append(data.train).context["tags"].tolist()[1:] == expected[:4]


def test_a_wrong_context_names_no_row_as_rows_may_have_been_left_out() -> None:
    odd = config(features={"context": {"device": {"type": "number"}}})
    with pytest.raises(DataError) as caught:
        Dataset.from_parts(odd, TABLES, PARTS)
    assert str(caught.value) == (
        "log.csv, column 'device': is declared as a number, but this value is not a number; it is "
        "the first of 4 such rows (found 'phone'). Fix: correct the value, leave the cell empty, "
        "or declare 'device' a category."
    )


def test_a_context_column_that_is_not_there() -> None:
    odd = config(features={"context": {"devise": {"type": "category"}}})
    with pytest.raises(DataError) as caught:
        Dataset.from_parts(odd, TABLES, PARTS)
    assert str(caught.value) == (
        "column 'devise': the interactions table has no such column, did you mean 'device'? Fix: "
        "set features.context.devise.column to one of: user_id, item_id, timestamp, device."
    )


def test_a_user_without_a_row() -> None:
    data = dataset()
    stranger = TEST.with_columns(user_id=pl.Series(["u1", "who", "u2"]))
    with pytest.raises(DataError) as caught:
        number_interactions(stranger, data.users, data.items, file="test.csv")
    assert str(caught.value) == (
        "test.csv, row 2, column 'user_id': this user has no row in the users table (found 'who')."
    )


# --- reprs ------------------------------------------------------------------------------------


def test_the_reprs_are_one_line() -> None:
    log = pl.DataFrame(
        {
            "user_id": [f"u{n % 10}" for n in range(1200)],
            "item_id": [n // 10 for n in range(1200)],
            "timestamp": [1_700_000_000 + 3600 * n for n in range(1200)],
        }
    )
    data = Dataset.from_frames(log)
    assert repr(data) == (
        "Dataset(972 training, 108 validation, 120 test rows; 10 users, 98 items in training; "
        "split global_time)"
    )
    assert repr(data.train) == (
        "Interactions(972 rows of 10 users and 98 items, 2023-11-14 to 2023-12-25)"
    )
    page = data._repr_html_()
    assert "<caption>Split global_time</caption>" in page
    assert (
        '<tr><th scope="row">training</th><td>972</td><td>10</td><td>98</td>'
        "<td>2023-11-14 to 2023-12-25</td></tr>"
    ) in page
    assert f"<li>{data.notes[0]}</li>" in page
    assert '<th scope="row">120</th><td>10</td>' in data.test._repr_html_()


@pytest.mark.parametrize("times", [None, list(range(40))])
def test_times_that_are_no_dates_are_not_shown_as_days(times: list[int] | None) -> None:
    log = {"user_id": [n % 4 for n in range(40)], "item_id": [n // 4 for n in range(40)]}
    frame = pl.DataFrame({**log, **({} if times is None else {"timestamp": times})})
    data = Dataset.from_frames(frame, split={"method": "random"})
    assert re.fullmatch(r"Interactions\(4 rows of \d users and \d items\)", repr(data.test))
    assert "days" not in data.train.summary()
