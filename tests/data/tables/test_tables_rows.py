"""What a row means: the canonical order, rows that repeat each other, event weights, dislikes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.config import Config, DataConfig, PositiveConfig, TableName
from twotower.data.dataset.dataset import Dataset, dislike_notes
from twotower.data.tables.interaction_rows import read_interactions
from twotower.data.tables.positive_rows import is_positive
from twotower.data.tables.tables import read_tables
from twotower.errors import DataError


class Log:
    """A file of interactions, written anew for each reading."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []

    @property
    def path(self) -> Path:
        return self.folder / "log.parquet"

    def write(self, rows: list[tuple[Any, ...]], columns: str) -> str:
        pl.DataFrame(rows, schema=columns.split(), orient="row").write_parquet(self.path)
        return str(self.path)

    def read(
        self,
        rows: list[tuple[Any, ...]],
        columns: str,
        *,
        table: TableName = "interactions",
        context: tuple[str, ...] = (),
        **data: Any,
    ) -> list[tuple[Any, ...]]:
        """The positive rows; the same, whatever the order of the file."""
        self.notes = []
        orders = (rows, rows[::-1], rows[1:] + rows[:1])
        found = [self._read(order, columns, table, context, data) for order in orders]
        assert found[0] == found[1] == found[2]
        self.notes = self.notes[: len(self.notes) // 3]
        return found[0]

    def _read(
        self,
        rows: list[tuple[Any, ...]],
        columns: str,
        table: TableName,
        context: tuple[str, ...],
        data: dict[str, Any],
    ) -> list[tuple[Any, ...]]:
        config = DataConfig.model_validate({"interactions": self.write(rows, columns), **data})
        return read_interactions(
            config.interactions, config, table=table, context=context, notes=self.notes
        ).rows()

    def refusal(self, rows: list[tuple[Any, ...]], columns: str, **options: Any) -> str:
        with pytest.raises(DataError) as caught:
            self.read(rows, columns, **options)
        return str(caught.value).replace(str(self.path), "LOG")

    def said(self) -> list[str]:
        return [note.removeprefix(f"{self.path}: ") for note in self.notes]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


PLAIN = "user_id item_id"
TIMED = "user_id item_id timestamp"
WEIGHED = "user_id item_id weight"
FULL = "user_id item_id timestamp weight"
TYPED = "user_id item_id event_type"


# --- order ------------------------------------------------------------------------------------


def test_rows_are_by_user_time_and_item(log: Log) -> None:
    rows = [("b", "x", 5), ("a", "y", 9), ("a", "z", 2), ("a", "x", 9), ("b", "y", 1)]
    assert log.read(rows, TIMED) == [
        ("a", "z", 2),
        ("a", "x", 9),
        ("a", "y", 9),
        ("b", "y", 1),
        ("b", "x", 5),
    ]


def test_rows_without_times_are_by_user_and_item(log: Log) -> None:
    rows = [(2, 5), (10, 1), (2, 30), (2, 4)]
    assert log.read(rows, PLAIN) == [(2, 4), (2, 5), (2, 30), (10, 1)]


def test_ids_and_times_too_far_apart_for_one_key_of_64_bits(log: Log) -> None:
    rows = [(2**62, 7, -(10**9)), (-(2**62), 2**62, 10**9), (-(2**62), -(2**62), 10**9)]
    assert log.read(rows, TIMED) == sorted(rows)


def test_the_files_order_stands_for_time_in_last_out_alone(log: Log) -> None:
    rows = [("b", "y"), ("a", "z"), ("a", "x"), ("b", "y"), ("a", "y")]
    source = log.write(rows, PLAIN)
    config = DataConfig.model_validate({"interactions": source, "split": {"method": "last_out"}})
    found = read_interactions(source, config)
    assert found.rows() == [("b", "y"), ("a", "z"), ("a", "x"), ("a", "y")]


def test_milliseconds_decide_the_order(log: Log) -> None:
    at = 1714560000
    rows = [
        ("u1", "THIRD", at * 1000 + 900),
        ("u1", "FIRST", at * 1000 + 100),
        ("u1", "SECOND", at * 1000 + 500),
    ]
    assert log.read(rows, TIMED) == [
        ("u1", "FIRST", at, 100_000_000),
        ("u1", "SECOND", at, 500_000_000),
        ("u1", "THIRD", at, 900_000_000),
    ]


def test_last_out_tests_the_last_row_of_a_log_in_milliseconds(log: Log) -> None:
    rows = [
        (user, item, day * 86_400_000 + rest)
        for day, user in ((19844, "u1"), (19845, "u2"))
        for item, rest in (("THIRD", 900), ("FIRST", 100), ("SECOND", 500))
    ]
    for order in (rows, rows[::-1], rows[2:] + rows[:2]):
        dataset = dataset_of(log, order, TIMED, split=LAST_OUT)
        assert dataset.parts.test["item_id"].to_list() == ["THIRD", "THIRD"]
        histories = dataset.train.histories().items
        items = [dataset.items.ids[int(num)] for num in histories[dataset.users.first_known]]
        assert items == ["FIRST", "SECOND"]


LAST_OUT = {"method": "last_out", "validation_fraction": 0}


def dataset_of(
    log: Log,
    rows: list[tuple[Any, ...]],
    columns: str,
    *,
    features: dict[str, Any] | None = None,
    ranker: dict[str, Any] | None = None,
    **data: Any,
) -> Dataset:
    sections: dict[str, Any] = {"features": features or {}, "ranker": ranker}
    config = {"data": {"interactions": log.write(rows, columns), **data}, **sections}
    return Dataset.read(Config.model_validate(config))


def test_milliseconds_hold_where_parts_are_joined(log: Log) -> None:
    """By chance, an early row may be in validation and a late one in training."""
    rows = [("u", f"i{place}", 1714560000_000 + place) for place in range(40)]
    rows += [("v", f"i{place}", 1714560000_000 + place) for place in range(40)]
    dataset = dataset_of(log, rows, TIMED, split={"method": "random"})
    part = dataset.train.append(dataset.validation.take(dataset.validation.item_num.nonzero()[0]))
    assert len(dataset.validation) > 0
    nums = part.histories().items[dataset.users.first_known]
    order = [int(str(dataset.items.ids[int(num)])[1:]) for num in nums if num >= 0]
    assert order == sorted(order)


def test_ties_are_counted_and_do_not_depend_on_the_files_order(log: Log) -> None:
    rows = [
        ("u1", "a", 1714560000),
        ("u1", "x", 1714646400),
        ("u1", "y", 1714646400),
        ("u1", "z", 1714646400),
        ("u2", "a", 1714560000),
        ("u2", "b", 1714646401),
    ]
    for order in (rows, rows[::-1]):
        dataset = dataset_of(log, order, TIMED, split=LAST_OUT)
        assert dataset.parts.test["item_id"].to_list() == ["x", "y", "z", "b"]
        assert dataset.parts.train["item_id"].to_list() == ["a", "a"]
        assert dataset.tables.notes == (
            "3 of 6 rows share user and time with another row: last_out keeps them in one part.",
        )
    config = DataConfig.model_validate({"interactions": log.write(rows, TIMED)})
    assert read_tables(config).notes == (
        "3 of 6 rows share user and time with another row: they are in the order of their items' "
        "ids.",
    )


# --- rows that repeat each other --------------------------------------------------------------

REPEATED = [("u", "i", 7, 2.0), ("u", "i", 7, 5.0), ("u", "i", 8, 3.0), ("v", "i", 7, 4.0)]


@pytest.mark.parametrize(
    ("rule", "expected", "note"),
    [
        (
            "max",
            [("u", 7, 5.0), ("u", 8, 3.0), ("v", 7, 4.0)],
            "1 of 4 rows repeat user_id, item_id, timestamp of another: each set became one row, "
            'with the largest weight (data.duplicates = "max").',
        ),
        (
            "sum",
            [("u", 7, 7.0), ("u", 8, 3.0), ("v", 7, 4.0)],
            "1 of 4 rows repeat user_id, item_id, timestamp of another: each set became one row, "
            'with the sum of the weights (data.duplicates = "sum").',
        ),
        (
            "count",
            [("u", 7, 2.0), ("u", 8, 1.0), ("v", 7, 1.0)],
            "1 of 4 rows repeat user_id, item_id, timestamp of another: each set became one row, "
            'with the number of rows as its weight (data.duplicates = "count").',
        ),
        (
            "last",
            [("u", 8, 3.0), ("v", 7, 4.0)],
            "2 of 4 rows repeat user_id, item_id of another: the newest row of each user and item "
            'was kept (data.duplicates = "last").',
        ),
    ],
)
def test_rows_that_repeat_each_other(rule: str, expected: Any, note: str, log: Log) -> None:
    found = log.read(REPEATED, FULL, duplicates=rule)
    assert [(user, time, weight) for user, _, time, weight in found] == expected
    assert [said for said in log.said() if "are read as an order" not in said] == [note]


def test_the_row_of_the_largest_weight_gives_event_type_and_context(log: Log) -> None:
    columns = "user_id item_id weight event_type device"
    rows = [
        ("u1", "i1", 1, "view", "phone"),
        ("u1", "i1", 5, "buy", "desk"),
        ("u2", "i1", 5, "buy", "phone"),
        ("u2", "i1", 5, "buy", "desk"),
    ]
    found = log.read(rows, columns, context=("device",), duplicates="sum")
    assert found == [("u1", "i1", 6.0, "buy", "desk"), ("u2", "i1", 10.0, "buy", "desk")]


def test_repeated_rows_with_lists_as_context(log: Log) -> None:
    rows = [("u", "i", ["b"]), ("u", "i", ["a"]), ("u", "i", ["c"])]
    assert log.read(rows, "user_id item_id tags", context=("tags",)) == [("u", "i", ["a"])]
    assert log.said() == [
        "2 of 3 rows repeat user_id, item_id of another: each set became one row "
        '(data.duplicates = "max").'
    ]


@pytest.mark.parametrize("rule", ["sum", "count"])
def test_without_weights_repeated_rows_are_counted(rule: str, log: Log) -> None:
    rows = [("u", "i"), ("u", "j"), ("u", "i"), ("u", "i")]
    assert log.read(rows, PLAIN, duplicates=rule) == [("u", "i", 3.0), ("u", "j", 1.0)]


def test_the_newest_row_needs_times(log: Log) -> None:
    assert log.refusal([("u", "i")], PLAIN, duplicates="last") == (
        'LOG: data.duplicates = "last" needs times, and there is no such column. Fix: set '
        "data.columns.timestamp to the name that this table uses."
    )


def test_times_within_a_second_are_not_repeats(log: Log) -> None:
    rows = [("u", "i", 1714560000_001), ("u", "i", 1714560000_002), ("u", "i", 1714560000_001)]
    assert len(log.read(rows, TIMED)) == 2


# --- dislikes ---------------------------------------------------------------------------------


def test_weights_of_0_and_below_are_no_positives(log: Log) -> None:
    rows = [("u", "a", 1), ("u", "b", 0), ("u", "c", -3), ("v", "a", 0.5)]
    assert log.read(rows, WEIGHED) == [("u", "a", 1.0), ("v", "a", 0.5)]
    assert log.said() == [
        "2 of 4 rows have a weight of 0 or below: they are dislikes, not positives, and were "
        "dropped (data.positive.dislikes)."
    ]


def test_truth_values_are_weights_of_1_and_0(log: Log) -> None:
    rows = [("u", "a", "True"), ("u", "b", "False"), ("v", "a", "true")]
    assert log.read(rows, WEIGHED) == [("u", "a", 1.0), ("v", "a", 1.0)]


def test_both_kinds_of_rows_that_are_no_positives_are_counted(log: Log) -> None:
    rows = [("u", "a", 5), ("u", "b", 1), ("u", "c", -1), ("u", "d", 2)]
    options: dict[str, Any] = {"positive": {"min_weight": 4, "dislikes": "negatives"}}
    assert log.read(rows, WEIGHED, **options) == [("u", "a", 5.0)]
    assert log.said() == [
        "1 of 4 rows have a weight of 0 or below: they are dislikes, not positives, but negatives "
        'for the ranker (data.positive.dislikes = "negatives").',
        "2 of 4 rows are below data.positive.min_weight = 4: they are not positives, but "
        'negatives for the ranker (data.positive.dislikes = "negatives").',
    ]


@pytest.mark.parametrize("weights", [(0, 0), (-1, 0), (-2, -1)])
def test_a_table_of_dislikes_alone(weights: tuple[int, int], log: Log) -> None:
    rows = [("u", "a", weights[0]), ("u", "b", weights[1])]
    assert log.refusal(rows, WEIGHED) == (
        "LOG, column 'weight': all 2 rows have a weight of 0 or below: they are dislikes, so there "
        "are no positives to learn from. Fix: set data.columns.weight to another column, or rename "
        "the column so that no weights are used."
    )


def test_a_newer_dislike_takes_the_place_of_a_positive_where_the_newest_row_counts(
    log: Log,
) -> None:
    rows = [("u", "a", 1, 5), ("u", "a", 2, -1), ("u", "b", 1, -1), ("u", "b", 2, 5)]
    both = [("u", "a", 1, 5.0), ("u", "b", 2, 5.0)]
    assert log.read(rows, FULL) == both
    assert log.read(rows, FULL, duplicates="last") == both[1:]


def test_returns_are_taken_off_where_quantities_are_added(log: Log) -> None:
    rows = [("u", "a", 6), ("u", "a", -6), ("u", "b", 1_000_000), ("u", "b", -1)]
    assert log.read(rows, WEIGHED, duplicates="sum") == [("u", "b", 999_999.0)]
    assert log.read(rows, WEIGHED, duplicates="count") == [("u", "a", 1.0), ("u", "b", 1.0)]


def test_dislikes_are_older_than_what_is_held_out(log: Log) -> None:
    """i4 is disliked before and i6 after the test part starts; i7 is a positive, too."""
    rows = [(f"u{n % 20}", f"i{n % 8}", 100 + n, 1) for n in range(40)]
    rows += [("u1", "i4", 110, -1), ("u1", "i6", 139, -1), ("u7", "i7", 90, -1)]
    rows += [("u1", "nobody-likes-it", 90, -1), ("u99", "i1", 90, -1)]
    positive = {"dislikes": "negatives"}
    dataset = dataset_of(log, rows, FULL, positive=positive, split={"method": "global_time"})
    assert dataset.tables.dislikes is not None
    assert len(dataset.tables.dislikes) == 5
    assert named(dataset) == [("u1", "i4")]
    assert dislike_notes(dataset) == (
        'data.positive.dislikes = "negatives" has no effect without a [ranker].',
    )
    with_ranker = dataset_of(log, rows, FULL, positive=positive, ranker={})
    assert dislike_notes(with_ranker) == (
        "The ranker learns 1 pairs of a user and a disliked item as negatives.",
    )
    by_chance = dataset_of(log, rows, FULL, positive=positive, split={"method": "random"})
    assert ("u1", "i6") in named(by_chance)
    left_out = dataset_of(log, rows, FULL)
    assert (left_out.tables.dislikes, left_out.dislikes) == (None, None)
    assert dislike_notes(left_out) == ()


def named(dataset: Dataset) -> list[tuple[Any, Any]]:
    """The pairs of the dislikes."""
    lists = dataset.dislikes
    assert lists is not None
    return [
        (dataset.users.ids[int(user)], dataset.items.ids[int(item)])
        for user, item in zip(lists.keys(), lists.values, strict=True)
    ]


def test_last_out_cuts_dislikes_by_user(log: Log) -> None:
    rows = [
        (user, item, start + place, 1)
        for user, start in (("u", 0), ("v", 100))
        for place, item in enumerate("abc")
    ]
    rows += [("u", "d", 50, 1), ("v", "d", 99, -1), ("u", "b", 3, -1), ("w", "a", 500, 1)]
    rows += [("w", "b", 900, -1), ("u", "c", 60, -1), ("w", "d", 10, 1)]
    dataset = dataset_of(
        log, rows, FULL, positive={"dislikes": "negatives"}, split={"method": "last_out"}
    )
    # u's held-out rows start at 2, w's rows all train; d is in training by w's row.
    assert named(dataset) == [("v", "d"), ("w", "b")]


def test_an_item_with_dislikes_alone_is_in_no_catalogue(log: Log) -> None:
    rows = [(f"u{n % 10}", f"i{n % 4}-{n // 20}", 1) for n in range(40)]
    rows += [(f"u{n}", "hated", -1) for n in range(40)]
    dataset = dataset_of(log, rows, WEIGHED)
    assert "hated" not in dataset.items.ids.to_list()
    assert len(dataset.train) + len(dataset.test) + len(dataset.validation) == 40
    items = log.folder / "items.parquet"
    pl.DataFrame({"item_id": ["hated", "i0"]}).write_parquet(items)
    with_file = dataset_of(log, rows, WEIGHED, items=str(items))
    assert "hated" in with_file.items.ids.to_list()
    num = int(with_file.items.nums(pl.Series(["hated"]))[0])
    assert with_file.train.item_counts()[num] == 0


# --- event weights ----------------------------------------------------------------------------

EVENTS = [("u", "a", "click"), ("u", "b", "buy"), ("u", "c", "hide"), ("u", "d", None)]
EVENTS += [("u", "e", "cart"), ("u", "f", "scroll")]


def test_event_types_have_weights(log: Log) -> None:
    weights = {"click": 1, "buy": 5, "hide": -1, "cart": 3}
    found = log.read(EVENTS, TYPED, positive={"event_weights": weights})
    assert [(item, weight) for _, item, _, weight in found] == [
        ("a", 1.0),
        ("b", 5.0),
        ("d", 1.0),
        ("e", 3.0),
        ("f", 1.0),
    ]
    assert log.said() == [
        "rows of the event types 'scroll' have the weight 1, as data.positive.event_weights does "
        "not list them.",
        "1 of 6 rows have a weight of 0 or below: they are dislikes, not positives, and were "
        "dropped (data.positive.dislikes).",
    ]


def test_event_weights_take_the_place_of_the_weight_column(log: Log) -> None:
    rows = [("u", "a", "click", -7), ("u", "b", "buy", 2)]
    positive = {"event_weights": {"click": 1, "buy": 5}, "min_weight": 2}
    columns = "user_id item_id event_type weight"
    assert log.read(rows, columns, positive=positive) == [("u", "b", 5.0, "buy")]
    assert log.said()[0] == (
        "the weight column is not used, because data.positive.event_weights replaces it."
    )


def test_a_test_file_without_the_weights_of_the_log(tmp_path: Path) -> None:
    rows = pl.DataFrame({"user_id": [1, 2], "item_id": [3, 4]})
    rows.with_columns(weight=pl.Series([1.0, 5.0])).write_csv(tmp_path / "log.csv")
    rows.write_csv(tmp_path / "test.csv")
    config = DataConfig.model_validate(
        {"interactions": f"{tmp_path}/log.csv", "split": {"test": f"{tmp_path}/test.csv"}}
    )
    assert read_tables(config).notes == (
        "The test part has no weights, which the interactions have: all its rows are positives.",
    )


def test_event_weights_that_do_not_occur(log: Log) -> None:
    positive = {"event_weights": {"click": 1, "bye": 5}}
    assert log.refusal(EVENTS, TYPED, positive=positive) == (
        "LOG, column 'event_type': no row has the event type 'bye', did you mean 'buy'? There are: "
        "buy, cart, click, hide, scroll. Fix: correct data.positive.event_weights."
    )
    assert len(log.read(EVENTS, TYPED, positive=positive, table="test")) == 6


def test_each_key_that_lacks_its_column_is_named(log: Log) -> None:
    positive = {"event_weights": {"buy": 5}, "event_types": ["buy"]}
    assert log.refusal([("u", "a")], PLAIN, positive=positive) == (
        "LOG: data.positive.event_types needs event types, and there is no such column. Fix: set "
        "data.columns.event_type to the name that this table uses.\n"
        "LOG: data.positive.event_weights needs event types, and there is no such column. Fix: set "
        "data.columns.event_type to the name that this table uses."
    )


@pytest.mark.parametrize(
    ("config", "event_type", "weight", "expected"),
    [
        ({}, None, None, True),
        ({}, None, 0.0, False),
        ({}, None, -1.0, False),
        ({"min_weight": 2}, None, 1.0, False),
        ({"min_weight": 2}, None, 2.0, True),
        ({"min_weight": 2}, None, None, False),
        ({"event_types": ["buy"]}, "view", 5.0, False),
        ({"event_types": ["buy"]}, "buy", None, True),
        ({"event_weights": {"hide": -1}}, "hide", 5.0, False),
        ({"event_weights": {"hide": -1}}, "buy", -5.0, True),
        ({"event_weights": {"buy": 3}, "min_weight": 2}, None, None, False),
        ({"event_weights": {"buy": 3}, "min_weight": 2}, "buy", None, True),
    ],
)
def test_a_single_event_is_a_positive_as_a_row_would_be(
    config: dict[str, Any], event_type: str | None, weight: float | None, expected: bool
) -> None:
    positive = PositiveConfig.model_validate(config)
    assert is_positive(event_type, weight, positive) is expected
