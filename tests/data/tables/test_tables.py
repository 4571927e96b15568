"""Tables under our names: which rows count, which are left out, and what is refused."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.config import DataConfig, TableName
from twotower.data.tables.entity_rows import read_entities
from twotower.data.tables.interaction_rows import read_interactions, read_rows
from twotower.data.tables.tables import Tables, read_tables
from twotower.errors import DataError

LOG = {"user_id": ["u1", "u1", "u2"], "item_id": ["i1", "i2", "i1"]}


class Shop:
    """A folder of tables and the config that reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"

    def write(self, name: str, rows: dict[str, Any]) -> str:
        pl.DataFrame(rows).write_parquet(self.path(name))
        return str(self.path(name))

    def config(self, **changes: Any) -> DataConfig:
        return DataConfig.model_validate({"interactions": str(self.path("log")), **changes})

    def interactions(
        self,
        rows: dict[str, Any],
        *,
        context: tuple[str, ...] = (),
        table: TableName = "interactions",
        **changes: Any,
    ) -> pl.DataFrame:
        source = self.write("log", rows)
        config = self.config(**changes)
        return read_interactions(source, config, context=context, notes=self.notes, table=table)

    def items(self, rows: dict[str, Any], **changes: Any) -> pl.DataFrame:
        return read_entities(
            self.write("items", rows), "item_id", self.config(**changes), self.notes
        )

    def tables(self, log: dict[str, Any], **others: dict[str, Any]) -> Tables:
        self.write("log", log)
        sources = {name: self.write(name, rows) for name, rows in others.items()}
        split = {name: sources.pop(name) for name in ("test", "validation") if name in sources}
        return read_tables(self.config(**sources, split=split))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def refusal(shop: Shop, rows: dict[str, Any], **options: Any) -> str:
    """What is said of interactions, without the file's name at its start."""
    with pytest.raises(DataError) as caught:
        shop.interactions(rows, **options)
    file, message = str(shop.path("log")), str(caught.value)
    assert message.startswith(file)
    return message.removeprefix(file)


# --- columns of the interactions --------------------------------------------------------------


def test_two_columns_are_enough(shop: Shop) -> None:
    found = shop.interactions(LOG)
    assert found.to_dict(as_series=False) == LOG
    assert shop.notes == []


def test_types_of_each_column(shop: Shop) -> None:
    found = shop.interactions(
        {
            "user_id": pl.Series([1, 2], dtype=pl.UInt8),
            "item_id": pl.Series(["x", "y"], dtype=pl.Categorical),
            "timestamp": ["2024-05-01", "2024-05-02T00:00:00Z"],
            "weight": ["4", "2.5"],
            "event_type": pl.Series(["buy", None], dtype=pl.Categorical),
            "device": [["a"], ["b"]],
            "unused": [1, 2],
        },
        context=("device",),
    )
    assert found.schema == {
        "user_id": pl.Int64,
        "item_id": pl.String,
        "timestamp": pl.Int64,
        "weight": pl.Float32,
        "event_type": pl.String,
        "device": pl.List(pl.String),
    }
    assert found.row(1) == (2, "y", 1714608000, 2.5, None, ["b"])


@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical, pl.Enum([" ", "1", "a", "b"])])
def test_categories_of_a_file_are_read_as_text(shop: Shop, dtype: Any) -> None:
    rows = {
        "user_id": pl.Series(["a", " ", "b"], dtype=dtype),
        "item_id": [1, 2, 3],
        "weight": pl.Series(["1", "1", "1"], dtype=dtype),
    }
    found = shop.interactions(rows, missing_ids="leave_out")
    assert found.rows() == [("a", 1, 1.0), ("b", 3, 1.0)]
    with pytest.raises(DataError) as error:
        shop.interactions(rows)
    assert str(error.value) == (
        f"{shop.path('log')}, column 'user_id': 1 of 3 rows have no id: row 2. Fix: fill in their "
        'ids, or set data.missing_ids = "leave_out".'
    )


def test_blank_rows_that_stand_before_others_are_noted(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("user_id,item_id\n,\nu,a\n\nu,b\n,\n", encoding="utf-8")
    found = read_rows(str(file), shop.config(), notes=shop.notes)
    assert found.rows() == [("u", "a"), ("u", "b")]
    assert shop.notes == [f"{file}: 2 blank rows are skipped and not counted in row numbers."]


@pytest.mark.parametrize("weights", [["x", "5", "4", None], [None, 5, 4, None]])
def test_what_rows_without_an_id_hold_does_not_matter(shop: Shop, weights: list[Any]) -> None:
    rows = {
        "user_id": [None, "u", "u", "v"],
        "item_id": ["a", "a", "b", " "],
        "weight": weights,
        "timestamp": ["", "2024-05-02", "2024-05-03", "soon"],
    }
    found = shop.interactions(rows, missing_ids="leave_out")
    assert found.rows() == [("u", "a", 1714608000, 5.0), ("u", "b", 1714694400, 4.0)]
    with pytest.raises(DataError, match="have no id: row 1"):
        shop.interactions(rows)
    for wrong in (["1", "x", "5", "2"], ["x", "5", "x", None]):
        bad = 2 if wrong[1] == "x" else 3
        with pytest.raises(
            DataError, match=f"row {bad}, column 'weight': 1 of 4 weights are not finite"
        ):
            shop.interactions({**rows, "weight": wrong}, missing_ids="leave_out")
    times = ["soon", "today", "2024-05-03", "soon"]
    with pytest.raises(DataError, match="1 of 4 timestamps cannot be read"):
        shop.interactions({**rows, "timestamp": times}, missing_ids="leave_out")


def test_rows_none_of_which_has_both_ids(shop: Shop) -> None:
    rows = {"user_id": ["u", None], "item_id": [None, "a"], "weight": ["x", "y"]}
    with pytest.raises(DataError) as error:
        shop.interactions(rows, missing_ids="leave_out")
    assert str(error.value) == (
        f"{shop.path('log')}: none of the 2 rows has both a user and an item. Fix: fill in their "
        "ids."
    )


def test_context_columns_keep_their_names_and_may_be_ours(shop: Shop) -> None:
    log = LOG | {"stars": [1, 2, 3], "hour": [4, 5, 6]}
    found = shop.interactions(
        log, context=("hour", "stars", "timestamp"), columns={"timestamp": "hour"}
    )
    assert found.columns == ["user_id", "item_id", "timestamp", "hour", "stars"]
    assert found["timestamp"].to_list() == found["hour"].to_list() == [4, 5, 6]


def test_a_missing_context_column(shop: Shop) -> None:
    assert refusal(shop, LOG | {"device": ["a"] * 3}, context=("devise",)) == (
        ", column 'devise': no such column, did you mean 'device'? There are: user_id, item_id, "
        "device. Fix: correct the name of the column in the config."
    )


# --- ids --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ([1.0, 2.0], [1, 2]),
        (["007", " 7"], ["007", " 7"]),
        ([True, False], ["true", "false"]),
        (pl.Series([2**64 - 1, 1], dtype=pl.UInt64), ["18446744073709551615", "1"]),
        (pl.Series([2**63 - 1, 1], dtype=pl.UInt64), [2**63 - 1, 1]),
        ([Decimal(2**62 + 1), Decimal(1)], [2**62 + 1, 1]),
        ([Decimal(2**63), Decimal("1.00")], ["9223372036854775808", "1"]),
        (["42", "-7"], [42, -7]),
        (["1.10", "7"], ["1.10", "7"]),
        (["+7", "7"], ["+7", "7"]),
        (["-0", "7"], ["-0", "7"]),
        (["4.0", "4"], ["4.0", "4"]),
        (pl.Series(["9", "10"], dtype=pl.Categorical), [9, 10]),
        (pl.Series([2**24 - 1, 0], dtype=pl.Float32), [2**24 - 1, 0]),
        (pl.Series([2**11 - 1, 0], dtype=pl.Float16), [2**11 - 1, 0]),
    ],
)
def test_ids_of_each_type(users: Any, expected: list[Any], shop: Shop) -> None:
    source = shop.write("log", {"user_id": users, "item_id": ["a", "b"]})
    assert read_rows(source, shop.config())["user_id"].to_list() == expected


@pytest.mark.parametrize(
    ("users", "message"),
    [
        (
            [None, "a"],
            ", column 'user_id': 1 of 2 rows have no id: row 1. Fix: fill in their ids, or set "
            'data.missing_ids = "leave_out".',
        ),
        (
            [1.0, float("nan")],
            ", column 'user_id': 1 of 2 rows have no id: row 2. Fix: fill in their ids, or set "
            'data.missing_ids = "leave_out".',
        ),
        (
            ["", "  "],
            ", column 'user_id': 2 of 2 rows have no id: rows 1, 2. Fix: fill in their ids, or set "
            'data.missing_ids = "leave_out".',
        ),
        (
            [1.0, 2.5],
            ", row 2, column 'user_id': an id must be text or a whole number (found 2.5). Fix: "
            "write ids as text or as integers.",
        ),
        (
            [Decimal("1.5"), Decimal(1)],
            ", row 1, column 'user_id': an id must be text or a whole number (found "
            "Decimal('1.5')). Fix: write ids as text or as integers.",
        ),
        (
            [1.0, 2.0**53],
            ", row 2, column 'user_id': Float64 does not hold every number of "
            "9,007,199,254,740,992 and more, so several ids may have been merged (found "
            "9007199254740992.0). Fix: write ids as text or as integers.",
        ),
        (
            pl.Series(range(20_000_001, 20_000_003), dtype=pl.Float32),
            ", row 1, column 'user_id': Float32 does not hold every number of 16,777,216 and more, "
            "so several ids may have been merged (found 20000000.0). Fix: write ids as text or "
            "as integers.",
        ),
        (
            pl.Series([1, 3001], dtype=pl.Float16),
            ", row 2, column 'user_id': Float16 does not hold every number of 2,048 and more, so "
            "several ids may have been merged (found 3000.0). Fix: write ids as text or as "
            "integers.",
        ),
        (
            [[1], [2]],
            ", column 'user_id': an id must be text or a whole number, but this column contains "
            "List(Int64).",
        ),
    ],
)
def test_values_that_are_no_ids(users: list[Any], message: str, shop: Shop) -> None:
    assert refusal(shop, {"user_id": users, "item_id": ["a", "b"]}) == message


# --- times and weights ------------------------------------------------------------------------


def test_rows_without_a_time(shop: Shop) -> None:
    assert refusal(shop, LOG | {"timestamp": [1, None, None]}) == (
        ", row 2, column 'timestamp': 2 of 3 rows have no time. Fix: fill in or remove these rows, "
        "or rename the column so that no times are used."
    )


def test_times_are_named_as_the_file_names_them(shop: Shop) -> None:
    log = LOG | {"when": ["2024-05-01", "soon", "2024-05-01"]}
    assert refusal(shop, log, columns={"timestamp": "when"}) == (
        ", column 'when': 1 of 3 timestamps cannot be read; row 2: 'soon'. Fix: write times as ISO "
        "8601 (2024-05-01T12:30:00) or as unix seconds."
    )


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([1, 2, -3], [1, 2, -3]),
        (["0.5", " 1 ", "1e3"], [0.5, 1, 1000]),
        ([True, False, True], [1, 0, 1]),
        (["True", "false", "TRUE "], [1, 0, 1]),
        ([Decimal("0.25"), Decimal(1), Decimal(2)], [0.25, 1, 2]),
        ([b"1", b"2", b"3"], [1, 2, 3]),
    ],
)
def test_weights_of_each_type(weights: list[Any], expected: list[float], shop: Shop) -> None:
    found = read_rows(shop.write("log", LOG | {"weight": weights}), shop.config())
    assert found["weight"].dtype == pl.Float32
    assert found["weight"].to_list() == expected


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            [1, None, None],
            ", row 2, column 'weight': 2 of 3 rows have no weight. Fix: fill in or remove these "
            "rows, or rename the column so that no weights are used.",
        ),
        (
            ["1", "good", "bad"],
            ", row 2, column 'weight': 2 of 3 weights are not finite numbers (found 'good'). Fix: "
            "correct the value, or remove the row.",
        ),
        (
            ["Yes", "No", "Yes"],
            ", row 1, column 'weight': 3 of 3 weights are not finite numbers (found 'Yes'). Fix: "
            "write numbers, or true and false.",
        ),
        (
            [1.0, 2.0, float("nan")],
            ", row 3, column 'weight': 1 of 3 weights are not finite numbers (found nan). Fix: "
            "correct the value, or remove the row.",
        ),
        (
            [1.0, 1e39, 2.0],
            ", row 2, column 'weight': 1 of 3 weights are not finite numbers (found 1e+39). Fix: "
            "correct the value, or remove the row.",
        ),
    ],
)
def test_values_that_are_no_weights(weights: list[Any], message: str, shop: Shop) -> None:
    assert refusal(shop, LOG | {"weight": weights}) == message


@pytest.mark.parametrize(
    ("weights", "dtype"),
    [
        ([[1]] * 3, "List(Int64)"),
        ([{"a": 1}] * 3, "Struct({'a': Int64})"),
        ([b"\xff"] * 3, "Binary"),
        ([date(2024, 5, 1)] * 3, "Date"),
    ],
)
def test_types_that_hold_no_weights(weights: list[Any], dtype: str, shop: Shop) -> None:
    assert refusal(shop, LOG | {"weight": weights}) == (
        f", column 'weight': a weight must be a number, but this column contains {dtype}."
    )


# --- positive rows ----------------------------------------------------------------------------


def test_rows_of_too_small_a_weight_are_left_out(shop: Shop) -> None:
    log = LOG | {"weight": [4.0, 3.9, 5.0]}
    found = shop.interactions(log, positive={"min_weight": 4})
    assert found["weight"].to_list() == [4, 5]
    assert shop.notes == [
        f"{shop.path('log')}: 1 of 3 rows are below data.positive.min_weight = 4: they are not "
        "positives, and were dropped (data.positive.dislikes)."
    ]


def test_all_rows_above_0_are_positive_where_nothing_is_said(shop: Shop) -> None:
    assert len(shop.interactions(LOG | {"weight": [0.001, 1, 10]})) == 3
    assert shop.notes == []
    assert len(shop.interactions(LOG | {"weight": [0.001, 1, 1e30]})) == 3


@pytest.mark.parametrize("weight", [0.1, 0.3, 1 / 3, 16777217.0])
def test_a_threshold_is_reached_by_the_same_number(weight: float, shop: Shop) -> None:
    """Though weights are held in fewer digits than the threshold is written with."""
    log = LOG | {"weight": [weight, weight - weight / 10, weight]}
    assert len(shop.interactions(log, positive={"min_weight": weight})) == 2


def test_no_row_reaches_the_threshold(shop: Shop) -> None:
    assert refusal(shop, LOG | {"weight": [1.0, 2.5, 2.0]}, positive={"min_weight": 3}) == (
        ": no row reaches data.positive.min_weight = 3; the largest weight is 2.5. Fix: lower "
        "data.positive.min_weight."
    )


def test_a_threshold_needs_a_weight(shop: Shop) -> None:
    assert refusal(shop, LOG, positive={"min_weight": 3}) == (
        ": data.positive.min_weight needs a weight, and there is no such column. Fix: set "
        "data.columns.weight to the name that this table uses."
    )


def test_rows_of_other_event_types_are_left_out(shop: Shop) -> None:
    log = {
        "user_id": ["a", "b", "c", "d"],
        "item_id": [1, 2, 3, 4],
        "what": ["buy", "view", None, "like"],
    }
    found = shop.interactions(
        log, columns={"event_type": "what"}, positive={"event_types": ["buy", "like"]}
    )
    assert found.rows() == [("a", 1, "buy"), ("d", 4, "like")]
    assert shop.notes == [
        f"{shop.path('log')}: 2 of 4 rows have an event type that is not in "
        "data.positive.event_types and were dropped."
    ]


def test_event_types_may_be_numbers(shop: Shop) -> None:
    found = shop.interactions(LOG | {"event_type": [1, 2, 1]}, positive={"event_types": ["1"]})
    assert found["event_type"].to_list() == ["1", "1"]


def test_an_event_type_that_is_not_there(shop: Shop) -> None:
    log = LOG | {"event_type": ["buy", "view", None]}
    assert refusal(shop, log, positive={"event_types": ["buy", "vew"]}) == (
        ", column 'event_type': no row has the event type 'vew', did you mean 'view'? There are: "
        "buy, view. Fix: correct data.positive.event_types."
    )


def test_a_test_part_may_lack_some_event_types_but_not_all(shop: Shop) -> None:
    log = LOG | {"event_type": ["buy", "view", None]}
    options: dict[str, Any] = {"table": "test"}
    found = shop.interactions(log, positive={"event_types": ["buy", "like"]}, **options)
    assert found["event_type"].to_list() == ["buy"]
    assert refusal(shop, log, positive={"event_types": ["like"]}, **options) == (
        ", column 'event_type': no row has the event type 'like', did you mean 'view'? There "
        "are: buy, view. Fix: correct data.positive.event_types."
    )


def test_event_types_need_their_column(shop: Shop) -> None:
    assert refusal(shop, LOG, positive={"event_types": ["buy"]}) == (
        ": data.positive.event_types needs event types, and there is no such column. Fix: set "
        "data.columns.event_type to the name that this table uses."
    )


def test_values_that_are_no_event_types(shop: Shop) -> None:
    assert refusal(shop, LOG | {"event_type": [["a"]] * 3}) == (
        ", column 'event_type': an event type must be text, but this column contains List(String)."
    )


def test_types_and_weights_together(shop: Shop) -> None:
    log = LOG | {"event_type": ["buy", "buy", "view"], "weight": [1, 5, 9]}
    found = shop.interactions(log, positive={"event_types": ["buy"], "min_weight": 5})
    assert found.rows() == [("u1", "i2", 5.0, "buy")]
    assert shop.notes == [
        f"{shop.path('log')}: 1 of 3 rows have an event type that is not in "
        "data.positive.event_types and were dropped.",
        f"{shop.path('log')}: 1 of 2 rows are below data.positive.min_weight = 5: they are not "
        "positives, and were dropped (data.positive.dislikes).",
    ]


# --- duplicates -------------------------------------------------------------------------------


def test_a_row_that_is_not_positive_does_not_stand_for_one_that_is(shop: Shop) -> None:
    log = {"user_id": ["a", "a"], "item_id": [1, 1], "weight": [1, 5]}
    found = shop.interactions(log, positive={"min_weight": 5})
    assert found["weight"].to_list() == [5]


def test_one_moment_in_two_spellings_is_one_time(shop: Shop) -> None:
    times = ["2024-05-01T12:00:00Z", "2024-05-01T14:00:00+02:00"]
    log = {"user_id": ["a", "a"], "item_id": [1, 1], "timestamp": times}
    assert len(shop.interactions(log)) == 1


# --- users and items --------------------------------------------------------------------------


def test_entities_keep_their_columns_and_order(shop: Shop) -> None:
    found = shop.items({"genre": [["a"], None], "item_id": [2.0, 1.0], "Price": ["x", ""]})
    assert found.to_dict(as_series=False) == {
        "genre": [["a"], None],
        "item_id": [2, 1],
        "Price": ["x", ""],
    }


def test_entities_have_the_mapped_name_or_ours(shop: Shop) -> None:
    assert shop.items({"sku": [1]}, columns={"item_id": "sku"}).columns == ["item_id"]
    assert shop.items({"item_id": [1]}, columns={"item_id": "sku"}).columns == ["item_id"]


def test_entities_without_their_id(shop: Shop) -> None:
    with pytest.raises(DataError) as caught:
        shop.items({"itemid": [1], "b": [2]})
    assert str(caught.value) == (
        f"{shop.path('items')}, column 'item_id': no such column, did you mean 'itemid'? There "
        "are: itemid, b. Fix: set data.columns.items_key to the name that this table uses."
    )


def test_entities_with_rows_without_an_id(shop: Shop) -> None:
    with pytest.raises(DataError) as caught:
        shop.items({"sku": ["a", None]}, columns={"item_id": "sku"})
    assert str(caught.value) == (
        f"{shop.path('items')}, column 'sku': 1 of 2 rows have no id: row 2. Fix: remove these "
        "rows, or fill in their ids."
    )


def test_equal_rows_of_an_entity_are_one(shop: Shop) -> None:
    found = shop.items({"item_id": ["b", "a", "b", "b"], "tags": [["x"], None, ["x"], ["x"]]})
    assert found.rows() == [("b", ["x"]), ("a", None)]
    assert shop.notes == [f"{shop.path('items')}: 2 rows are exact duplicates and were dropped."]


def test_rows_of_an_entity_that_differ(shop: Shop) -> None:
    columns = {"item_id": [5, 7, 5, 7, 5, 7], "price": [1, 2, 1, 3, 1, 4]}
    with pytest.raises(DataError) as caught:
        shop.items(columns)
    assert str(caught.value) == (
        f"{shop.path('items')}, column 'item_id': 1 id has rows that differ; the first, 7, stands "
        "in rows 2 and 4. Fix: keep one row per id."
    )
    with pytest.raises(DataError) as caught:
        shop.items(columns | {"price": [1, 2, 1, 3, 9, None]})
    assert str(caught.value) == (
        f"{shop.path('items')}, column 'item_id': 2 ids have rows that differ; the first, 5, "
        "stands in rows 1 and 5. Fix: keep one row per id."
    )


# --- all tables together ----------------------------------------------------------------------


def test_tables_that_are_not_there_are_none(shop: Shop) -> None:
    found = shop.tables(LOG)
    assert found.interactions.to_dict(as_series=False) == LOG
    assert (found.users, found.items, found.test, found.validation) == (None,) * 4
    assert found.notes == ()


def test_all_tables(shop: Shop) -> None:
    found = shop.tables(
        LOG,
        users={"user_id": ["u2", "u1"], "age": [1, 2]},
        items={"item_id": ["i1", "i2", "i3"]},
        test={"user_id": ["u3"], "item_id": ["i3"]},
        validation={"user_id": ["u2"], "item_id": ["i2"]},
    )
    parts = (found.interactions, found.users, found.items, found.test, found.validation)
    assert [part is not None and part.shape for part in parts] == [
        (3, 2),
        (2, 2),
        (3, 1),
        (1, 2),
        (1, 2),
    ]
    assert found.notes == ()


def test_users_and_items_that_their_files_lack_are_counted(shop: Shop) -> None:
    found = shop.tables(LOG, users={"user_id": ["u1", "u9"]}, items={"item_id": ["i2"]})
    assert len(found.interactions) == 3
    assert found.notes == (
        "1 of 2 users of the interactions are not in the users file: their features are missing "
        "values.",
        "1 of 2 items of the interactions are not in the items file: their features are missing "
        "values.",
    )


def test_a_file_that_has_none_of_the_items(shop: Shop) -> None:
    found = shop.tables(LOG, items={"item_id": ["I1", "I2"]})
    assert found.notes == (
        "None of the 2 items of the interactions is in the items file: are ids written differently "
        "there ('i1' and 'I1')?",
    )


def test_notes_of_every_table_are_kept(shop: Shop) -> None:
    twice = {name: values * 2 for name, values in LOG.items()}
    found = shop.tables(twice, test=twice, items={"item_id": ["i1", "i2", "i2"]})
    doubled = (
        "3 of 6 rows repeat user_id, item_id of another: each set became one row "
        '(data.duplicates = "max").'
    )
    assert found.notes == (
        f"{shop.path('items')}: 1 rows are exact duplicates and were dropped.",
        f"{shop.path('log')}: {doubled}",
        f"{shop.path('test')}: {doubled}",
    )


@pytest.mark.parametrize(
    ("log", "test", "items", "expected"),
    [
        ([1, 2], ["1", "3"], [2.0, 3.0], [1, 2]),
        (["1", "2"], [1, 3], ["2", "3"], [1, 2]),
        ([1, 2], ["01", "3"], [2, 3], ["1", "2"]),
        ([1, 2], ["x", "3"], ["2", "3"], ["1", "2"]),
        (["1", "2"], ["3", "4"], ["2", "3"], [1, 2]),
    ],
)
def test_ids_are_of_one_type_in_all_tables(
    log: list[Any], test: list[Any], items: list[Any], expected: list[Any], shop: Shop
) -> None:
    """Integers where every table's can be; else text in all, so that 1 in one is 1 in another."""
    found = shop.tables(
        {"user_id": ["a", "b"], "item_id": log},
        test={"user_id": ["a", "b"], "item_id": test},
        items={"item_id": items},
    )
    assert found.test is not None
    assert found.items is not None
    assert found.interactions["item_id"].to_list() == expected
    assert found.interactions["user_id"].to_list() == ["a", "b"]
    frames = (found.interactions, found.test, found.items)
    assert len({frame["item_id"].dtype for frame in frames}) == 1
    assert found.notes == (
        "1 of 2 items of the interactions are not in the items file: their features are missing "
        "values.",
    )


def test_the_rules_for_positive_rows_hold_for_the_test_part(shop: Shop) -> None:
    log = LOG | {"weight": [5, 5, 1]}
    found = read_tables(
        shop.config(
            interactions=shop.write("log", log),
            positive={"min_weight": 4},
            split={"test": shop.write("test", log)},
        )
    )
    assert found.test is not None
    assert found.test.equals(found.interactions)
    below = (
        "1 of 3 rows are below data.positive.min_weight = 4: they are not positives, and were "
        "dropped (data.positive.dislikes)."
    )
    assert found.notes == (f"{shop.path('log')}: {below}", f"{shop.path('test')}: {below}")


def test_a_separator_holds_for_every_file(tmp_path: Path) -> None:
    sources = {}
    for name, text in (
        ("interactions", "user_id;item_id\n1;2\n"),
        ("users", "user_id;age\n1;9\n"),
        ("items", "item_id;price\n2;0.5\n"),
    ):
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
        sources[name] = str(tmp_path / f"{name}.csv")
    found = read_tables(DataConfig.model_validate({**sources, "separator": ";"}))
    assert found.users is not None
    assert found.items is not None
    assert found.interactions.rows() == [(1, 2)]
    assert (found.users.rows(), found.items.rows()) == ([(1, 9)], [(2, 0.5)])


@pytest.mark.parametrize(
    ("column", "cell", "data", "fix"),
    [
        (
            "click",
            0,
            {"columns": {"weight": "click"}},
            "set data.columns.weight to another column, or remove it where every row is a positive",
        ),
        (
            "kind",
            "hide",
            {
                "columns": {"event_type": "kind"},
                "positive": {"event_weights": {"hide": -1}},
            },
            "give a type a weight above 0 in data.positive.event_weights",
        ),
    ],
)
def test_the_column_of_a_log_of_dislikes_is_named(
    column: str, cell: Any, data: dict[str, Any], fix: str, tmp_path: Path
) -> None:
    file = tmp_path / "log.csv"
    pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", "b"], column: cell}).write_csv(file)
    config = DataConfig.model_validate({"interactions": str(file), **data})
    with pytest.raises(DataError) as caught:
        read_tables(config)
    assert str(caught.value) == (
        f"{file}, column {column!r}: all 2 rows have a weight of 0 or below: they are dislikes, so "
        f"there are no positives to learn from. Fix: {fix}."
    )
