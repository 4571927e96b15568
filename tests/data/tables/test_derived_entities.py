from __future__ import annotations

from pathlib import Path

import pytest

from twotower.config import Config, parse_config
from twotower.data.dataset.dataset import Dataset
from twotower.errors import ConfigError, DataError
from twotower.workflow.setup.check import check

HEAD = "user_id,item_id,timestamp,age,title,colour"
ROWS = [
    f"u{n % 5},i{n % 7},{1_700_000_000 + 86_400 * n},{20 + n % 5},Title {n % 7},"
    f"{'red' if n else 'x'}"
    for n in range(60)
]
LATE = "u9,i9,1800000000,29,Title 9,blue"


def shop(folder: Path, **data: object) -> Config:
    (folder / "log.csv").write_text("\n".join([HEAD, *ROWS, LATE]) + "\n", encoding="utf-8")
    return parse_config(
        {
            "data": {
                "interactions": str(folder / "log.csv"),
                "users_from_interactions": ["age"],
                "items_from_interactions": ["title", "colour"],
                **data,
            },
            "features": {
                "user": {"age": {"type": "number"}},
                "item": {"title": {"type": "category"}},
            },
        }
    )


def test_users_and_items_of_the_interactions(tmp_path: Path) -> None:
    dataset = Dataset.read(shop(tmp_path))
    assert dataset.tables.users is not None
    ages = dict(dataset.tables.users.select("user_id", "age").iter_rows())
    assert {user: str(age) for user, age in ages.items()} == {
        "u0": "20", "u1": "21", "u2": "22", "u3": "23", "u4": "24", "u9": "29",
    }  # fmt: skip
    assert dataset.tables.items is not None
    assert dataset.tables.items.columns == ["item_id", "title", "colour"]
    assert (
        "colour: 1 of 8 items have several values in the interactions; the first one is used."
        in dataset.tables.notes
    )


def test_the_catalogue_is_the_items_of_training_rows(tmp_path: Path) -> None:
    dataset = Dataset.read(shop(tmp_path))
    assert "i9" not in dataset.parts.train["item_id"].to_list()
    assert sorted(dataset.items.ids.drop_nulls()) == [f"i{n}" for n in range(7)]
    assert "u9" in dataset.users.ids.to_list()
    refitted = dataset.refit("all")
    assert sorted(refitted.items.ids.drop_nulls()) == [*(f"i{n}" for n in range(7)), "i9"]
    row = refitted.items.frame.filter(refitted.items.ids.eq("i9").fill_null(False))
    assert row["title"].to_list() == ["Title 9"]


def test_a_file_and_columns_of_the_interactions(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        shop(tmp_path, items="items.csv")
    assert str(caught.value).startswith(
        "data: 'items_from_interactions' takes the place of 'items': set one of them (found "
    )


def test_a_column_that_the_interactions_do_not_have(tmp_path: Path) -> None:
    config = shop(tmp_path, users_from_interactions=["ages"])
    with pytest.raises(DataError) as caught:
        Dataset.read(config)
    assert str(caught.value) == (
        f"{tmp_path / 'log.csv'}, column 'ages': no such column, did you mean 'age'? There are: "
        "user_id, item_id, timestamp, age, title, colour. Fix: correct the name of the "
        "column in the config."
    )


def test_check_describes_features_of_the_interactions(tmp_path: Path) -> None:
    shop(tmp_path)
    path = tmp_path / "twotower.toml"
    path.write_text(
        '[data]\ninteractions = "log.csv"\nitems_from_interactions = ["title"]\n'
        '[features.item.title]\ntype = "category"\n',
        encoding="utf-8",
    )
    report = check(path)
    assert report.problems == ()
    assert report.facts["item.title"] == "category, 100.0% of 8 rows, 8 distinct values"


def test_check_does_not_repeat_a_problem_of_the_interactions_for_its_features(
    tmp_path: Path,
) -> None:
    shop(tmp_path)
    path = tmp_path / "twotower.toml"
    path.write_text(
        '[data]\ninteractions = "log.csv"\nitems_from_interactions = ["title"]\n'
        '[data.columns]\nuser_id = "who"\n[features.item.title]\ntype = "category"\n',
        encoding="utf-8",
    )
    (tmp_path / "log.csv").write_text("who,item_id,title\n,i1,A\nu2,i2,B\n", encoding="utf-8")
    assert check(path).problems == (
        f"{tmp_path / 'log.csv'}, column 'who': 1 of 2 rows have no id: row 1. Fix: fill in their "
        'ids, or set data.missing_ids = "leave_out".',
    )


def test_keys_of_the_users_and_items_files(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("\n".join([HEAD, *ROWS]) + "\n", encoding="utf-8")
    (tmp_path / "items.csv").write_text("id,price\ni0,1.5\ni1,2.5\n", encoding="utf-8")
    data = {
        "interactions": str(tmp_path / "log.csv"),
        "items": str(tmp_path / "items.csv"),
        "columns": {"items_key": "id"},
    }
    dataset = Dataset.read(parse_config({"data": data}))
    assert dataset.tables.items is not None
    assert dataset.tables.items["item_id"].to_list() == ["i0", "i1"]
    data["columns"] = {"items_key": "ident"}
    with pytest.raises(DataError) as caught:
        Dataset.read(parse_config({"data": data}))
    assert str(caught.value) == (
        f"{tmp_path / 'items.csv'}, column 'ident': no such column, did you mean 'id'? There are: "
        "id, price. Fix: set data.columns.items_key to the name that this table uses."
    )
