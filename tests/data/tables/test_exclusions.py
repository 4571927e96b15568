"""Users whom training leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.config import DataConfig
from twotower.data.tables.tables import read_tables
from twotower.errors import DataError


@pytest.fixture
def shop(tmp_path: Path) -> dict[str, Any]:
    """A `[data]` section with all its tables; users are integers in the log, text elsewhere."""
    tables: dict[str, dict[str, Any]] = {
        "log": {"user_id": [1, 2, 1, 3], "item_id": ["a", "a", "b", "c"]},
        "test": {"user_id": ["2", "3"], "item_id": ["b", "b"]},
        "valid": {"user_id": ["3"], "item_id": ["a"]},
        "users": {"user_id": ["1", "2", "3"], "age": [10, 20, 30]},
        "items": {"item_id": ["a", "2"], "price": [1, 2]},
        "gone": {"user_id": ["2", "99"], "timestamp": [5, 6]},
    }
    for name, columns in tables.items():
        pl.DataFrame(columns).write_parquet(tmp_path / f"{name}.parquet")
    paths = {name: str(tmp_path / f"{name}.parquet") for name in tables}
    return {
        "interactions": paths["log"],
        "users": paths["users"],
        "items": paths["items"],
        "exclude_users": paths["gone"],
        "split": {"test": paths["test"], "validation": paths["valid"]},
    }


def test_nothing_of_them_is_in_any_table(shop: dict[str, Any]) -> None:
    tables = read_tables(DataConfig.model_validate(shop))
    assert tables.interactions.rows() == [(1, "a"), (1, "b"), (3, "c")]
    assert tables.test is not None
    assert tables.test.rows() == [(3, "b")]
    assert tables.validation is not None
    assert tables.validation.rows() == [(3, "a")]
    assert tables.users is not None
    assert tables.users.rows() == [(1, 10), (3, 30)]
    assert tables.items is not None
    assert tables.items["item_id"].to_list() == ["a", "2"]
    assert tables.notes[:3] == (
        "interactions: 1 of 4 rows belong to users in data.exclude_users and are dropped.",
        "test: 1 of 2 rows belong to users in data.exclude_users and are dropped.",
        "users: 1 of 3 rows belong to users in data.exclude_users and are dropped.",
    )


def test_integers_and_their_own_name_of_the_column(shop: dict[str, Any], tmp_path: Path) -> None:
    log = pl.DataFrame({"who": ["1", "2"], "item_id": ["a", "b"]})
    log.write_parquet(tmp_path / "log.parquet")
    pl.DataFrame({"who": [2]}).write_parquet(tmp_path / "gone.parquet")
    section = {
        "interactions": shop["interactions"],
        "exclude_users": shop["exclude_users"],
        "columns": {"user_id": "who"},
    }
    assert read_tables(DataConfig.model_validate(section)).interactions.rows() == [(1, "a")]


def test_nobody_is_left_out(shop: dict[str, Any], tmp_path: Path) -> None:
    pl.DataFrame(schema={"user_id": pl.String}).write_parquet(tmp_path / "gone.parquet")
    tables = read_tables(DataConfig.model_validate(shop))
    assert len(tables.interactions) == 4
    assert not any("exclude_users" in note for note in tables.notes)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {"user_id": [1, 2, 3]},
            "no interactions are left: data.exclude_users contains every user. Fix: name a table "
            "that contains only the users to exclude.",
        ),
        (
            {"user": [1]},
            "no such column, did you mean 'user'? There are: user. Fix: give it a column "
            "'user_id'.",
        ),
    ],
)
def test_a_table_that_is_not_right(
    shop: dict[str, Any], tmp_path: Path, columns: dict[str, list[int]], expected: str
) -> None:
    pl.DataFrame(columns).write_parquet(tmp_path / "gone.parquet")
    with pytest.raises(DataError) as caught:
        read_tables(DataConfig.model_validate(shop))
    place = ", column 'user_id'" if "user" in columns else ""
    assert str(caught.value) == f"{tmp_path}/gone.parquet{place}: {expected}"


def test_a_missing_table(shop: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "gone.parquet").unlink()
    with pytest.raises(DataError) as caught:
        read_tables(DataConfig.model_validate(shop))
    assert str(caught.value).startswith(f"{tmp_path}/gone.parquet: no such file")
