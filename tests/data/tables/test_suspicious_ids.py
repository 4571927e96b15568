"""Ids that are named because they may not be those of a user or an item."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from twotower.data.tables.suspicious_ids import suspicious_ids


def notes(ids: list[Any], **others: list[Any]) -> list[str]:
    frames = {"interactions": pl.DataFrame({"user_id": ids})}
    frames |= {name: pl.DataFrame({"user_id": more}) for name, more in others.items()}
    return suspicious_ids(frames, "user_id", "log.csv")


ORDINARY = [f"u{n % 40}" for n in range(400)]


def test_ordinary_ids_are_not_named() -> None:
    assert notes(ORDINARY) == []
    assert notes([n % 40 for n in range(400)]) == []
    assert notes([-1, -2, 3] * 10) == []
    assert notes(["a", "b"]) == []


@pytest.mark.parametrize(
    "raw",
    [
        r"NA",
        r"nan",
        r"NaN",
        r"null",
        r"None",
        r"NULL",
        r"undefined",
        r"-",
        r"unknown",
        r"anonymous",
        r"<NA>",
        r"(null)",
        r"\N",
        r"N/A",
        r"-1",
        r"?",
    ],
)
def test_a_placeholder_is_named_with_its_share(raw: str) -> None:
    assert notes([*ORDINARY, *[raw] * 100]) == [
        f"log.csv, column 'user_id': user {raw!r} (100 of 500 rows, 20.0%) may stand for a "
        "missing value. If it is not a user, name it in the table data.exclude_users, or remove "
        "its rows."
    ]


def test_minus_one_among_integers() -> None:
    assert notes([*range(99), -1]) == [
        "log.csv, column 'user_id': user -1 (1 of 100 rows, 1.0%) may stand for a missing "
        "value. If it is not a user, name it in the table data.exclude_users, or remove its rows."
    ]


def test_several_placeholders_are_one_note() -> None:
    (note,) = notes([*ORDINARY, "NA", "NA", "None", "null", "nan"])
    assert note.startswith(
        "log.csv, column 'user_id': user 'NA' (2 of 405 rows, 0.5%), 'None' (1 of 405 "
        "rows, 0.2%), 'nan' (1 of 405 rows, 0.2%) and 1 more may stand for a missing value."
    )


def test_a_user_with_a_large_share_among_few() -> None:
    others = [f"u{n % 11}" for n in range(60)]
    assert notes([*others, *["bot"] * 40]) == [
        "log.csv, column 'user_id': user 'bot' (40 of 100 rows, 40.0%) has far more rows than the "
        "others. If it is not a user, name it in the table data.exclude_users, or remove its rows."
    ]
    assert notes([*others, *["u3"] * 15]) == []


def test_a_user_with_all_rows() -> None:
    """As where a spreadsheet has written long ids as 1.00000E+15."""
    assert notes(["1.00000E+15"] * 20) == [
        "log.csv, column 'user_id': user '1.00000E+15' (20 of 20 rows, 100.0%) is the only one. If "
        "it is not a user, name it in the table data.exclude_users, or remove its rows.",
        "log.csv, column 'user_id': 1 id such as '1.00000E+15' looks like long numbers that a "
        "spreadsheet has rounded: several ids may have been merged. Export the ids as text.",
    ]


def test_long_numbers_that_a_spreadsheet_has_rounded() -> None:
    assert notes([*ORDINARY, "4.00638E+12", "4.00639E+12", "1e5", "5E7"]) == [
        "log.csv, column 'user_id': 2 ids such as '4.00638E+12' look like long numbers that a "
        "spreadsheet has rounded: several ids may have been merged. Export the ids as text."
    ]


def test_an_id_with_a_large_share() -> None:
    rows = pl.DataFrame({"item_id": [*(n % 40 for n in range(400)), *[0] * 190]})
    assert suspicious_ids({"interactions": rows}, "item_id", "log.csv") == [
        "log.csv, column 'item_id': item 0 (200 of 590 rows, 33.9%) has far more rows than "
        "the others. If it is not an item, remove its rows."
    ]


def test_popular_items_of_a_small_log_are_not_named() -> None:
    """The shares of Zipf's law over 40 items: the first one has 23% of the rows."""
    rows = [item for item in range(40) for _ in range(400 // (item + 1))]
    frame = pl.DataFrame({"item_id": rows})
    assert suspicious_ids({"interactions": frame}, "item_id", "log.csv") == []


def test_ids_that_differ_by_blanks_alone() -> None:
    assert notes([*ORDINARY, " u1"], users=["u2 ", "u3"]) == [
        "log.csv, column 'user_id': 2 ids differ from another only in surrounding blanks, such as "
        "' u1' and 'u1': each counts as a separate user. Remove the blanks if they are the same "
        "user."
    ]
    assert notes([*ORDINARY, " x"]) == []
