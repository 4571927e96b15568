"""Names for the columns of files without a header."""

from __future__ import annotations

import polars as pl
import pytest

from twotower.workflow.setup.init.unnamed_columns import examples, name_entities, name_log

ROWS = range(300)


def table(*columns: list[object]) -> pl.DataFrame:
    return pl.DataFrame({f"c{n}": [str(cell) for cell in cells] for n, cells in enumerate(columns)})


USERS: list[object] = [n % 30 + 1 for n in ROWS]
ITEMS: list[object] = [100 + n * n % 41 for n in ROWS]
TIMES: list[object] = [880_000_000 + 500 * n for n in ROWS]
ISO: list[object] = [f"2014-04-07T10:{n % 60:02}:09.{n:03}Z" for n in ROWS]
STARS: list[object] = [1 + n % 5 for n in ROWS]
CATEGORY: list[object] = [2_520_000 + n * n % 41 % 7 for n in ROWS]
EVENTS: list[object] = [("pv", "cart", "buy")[n % 3] for n in ROWS]


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ([USERS, ITEMS, STARS, TIMES], ["user_id", "item_id", "rating", "timestamp"]),
        ([USERS, ITEMS], ["user_id", "item_id"]),
        ([USERS, ITEMS, TIMES], ["user_id", "item_id", "timestamp"]),
        (
            [USERS, ITEMS, CATEGORY, EVENTS, TIMES],
            ["user_id", "item_id", "column_3", "event_type", "timestamp"],
        ),
        ([USERS, ISO, ITEMS, ["0S3"[n % 3] for n in ROWS]],
         ["user_id", "timestamp", "item_id", "column_4"]),
        (
            [USERS, ISO, [30.2 + n * n % 41 for n in ROWS], [-97.5 for _ in ROWS], ITEMS],
            ["user_id", "timestamp", "column_3", "column_4", "item_id"],
        ),
        (
            [USERS, ITEMS, TIMES, [40.7 + n / 1e4 for n in ROWS], [-74.0 - n / 1e4 for n in ROWS]],
            ["user_id", "item_id", "timestamp", "column_4", "column_5"],
        ),
        (
            [USERS, [f"Game {n * n % 41}" for n in ROWS], [("buy", "play")[n % 2] for n in ROWS],
             [n % 7 + 0.5 for n in ROWS], [0 for _ in ROWS]],
            ["user_id", "item_id", "event_type", "weight", "column_5"],
        ),
        (
            [[f"B00000000{n * n % 8}" for n in ROWS], [f"A{n % 30}" for n in ROWS], STARS, TIMES],
            ["item_id", "user_id", "rating", "timestamp"],
        ),
    ],
)  # fmt: skip
def test_logs_of_public_shapes(columns: list[list[object]], names: list[str]) -> None:
    naming = name_log(table(*columns))
    assert (naming.names, naming.certain) == (names, True)


def test_plays_a_pair_are_the_weight() -> None:
    pairs = [(user, item) for user in range(20) for item in range(15)]
    users, items = ([f"{kind}{pair[n]}" for pair in pairs] for n, kind in enumerate("ui"))
    plays = [1 + user * item % 90 for user, item in pairs]
    assert name_log(table(list(users), list(items), list(plays))).names == [
        "user_id",
        "item_id",
        "weight",
    ]


def test_items_that_are_not_certain() -> None:
    orders: list[object] = [n * n * n % 53 for n in ROWS]
    naming = name_log(table(USERS, ITEMS, orders))
    assert naming.names == ["user_id", "column_2", "column_3"]
    assert (naming.items, naming.certain) == (["column_2", "column_3"], False)


def test_the_key_of_a_users_file_holds_the_ids_of_the_log() -> None:
    users = table([20 + n % 9 for n in range(30)], [n + 1 for n in range(30)])
    assert name_entities(users, "user_id", pl.Series(USERS)) == ["column_1", "user_id"]


def test_a_key_of_the_row_is_not_the_item() -> None:
    reviews: list[object] = [1000 + n * 7919 % 9973 for n in ROWS]
    naming = name_log(table(USERS, ITEMS, CATEGORY, reviews, STARS, TIMES))
    assert naming.names == ["user_id", "item_id", "column_3", "column_4", "rating", "timestamp"]


def test_a_message_shows_the_first_columns_of_many() -> None:
    assert examples(table(USERS, ITEMS)) == "c0 = '1', c1 = '100'"
    assert examples(table(*[USERS] * 9)).endswith("c6 = '1', ... (9 columns)")
