"""What `check` tells of a shop: all its problems at once, or what its tables hold."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from twotower.workflow.setup.check import CheckReport, check, render_check

CONFIG = """
[data]
interactions = "log.csv"
users = "users.csv"
items = "items.csv"
[data.split]
test_fraction = 0.3
[features.user.age]
type = "number"
[features.item.genres]
type = "categories"
separator = "|"
[features.item.price]
type = "number"
[features.context.device]
type = "category"
"""
DAY = 86_400


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Ten rows on ten days; u4 is not in the users file, i9 is in no row."""
    pl.DataFrame(
        {
            "user_id": ["u1", "u2", "u3", "u4", "u1", "u2", "u3", "u1", "u2", "u4"],
            "item_id": ["i1", "i1", "i2", "i2", "i2", "i3", "i3", "i3", "i2", "i1"],
            "timestamp": [day * DAY for day in range(10)],
            "device": ["phone", "desk"] * 5,
        }
    ).write_csv(tmp_path / "log.csv")
    pl.DataFrame({"user_id": ["u1", "u2", "u3"], "age": [20, None, 41]}).write_csv(
        tmp_path / "users.csv"
    )
    pl.DataFrame(
        {
            "item_id": ["i1", "i2", "i3", "i9"],
            "genres": ["drama|opera", "drama", None, "crime|drama"],
            "price": ["1.5", "2.5", "3.5", "4.5"],
        }
    ).write_csv(tmp_path / "items.csv")
    (tmp_path / "twotower.toml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_a_clean_shop(shop: Path) -> None:
    assert check(shop / "twotower.toml") == CheckReport(
        problems=(),
        notes=(
            f"{shop}/log.csv, column 'timestamp': whole numbers from 0 to 777,600 are read as an "
            "order; dates and ages cannot be derived from them.",
            "1 of 4 users of the interactions are not in the users file: their features are "
            "missing values.",
            "No leak by time: every test row is later than every training row.",
        ),
        facts={
            "interactions": "10 positive rows",
            "users": "4, of which 3 are in the file with 3 rows",
            "items": "3, of which 3 are in the file with 4 rows",
            "density": "83.3% of all user-item pairs",
            "user.age": "number, 66.7% of 3 rows, 2 distinct values",
            "item.genres": "categories, 75.0% of 4 rows, 3 distinct values",
            "item.price": "number, 100.0% of 4 rows, 4 distinct values",
            "context.device": "category, 100.0% of 10 rows, 2 distinct values",
            "split": "global_time: 6 training, 1 validation, 3 test rows",
            "recipe": "1 step an epoch; softmax over all 3 items; ids smoothed over 6 interactions "
            "in each step; exact search",
        },
    )


def test_a_log_larger_than_memory_has_the_same_report(shop: Path) -> None:
    config = shop / "twotower.toml"
    assert check(config, ["data.max_rows_in_memory=1"]) == check(config)


def test_several_problems_at_once(shop: Path) -> None:
    edit(shop / "items.csv", "genres", "genre")
    edit(shop / "items.csv", "3.5", "cheap")
    edit(shop / "users.csv", "41", "old")
    report = check(shop / "twotower.toml")
    assert report.problems == (
        f"{shop / 'users.csv'}, row 3, column 'age': is declared as a number, but this value is "
        "not a number (found 'old'). Fix: correct the value, leave the cell empty, or declare "
        "'age' a category.",
        "column 'genres': the items table has no such column, did you mean 'genre'? Fix: set "
        "features.item.genres.column to one of: item_id, genre, price.",
        f"{shop / 'items.csv'}, row 3, column 'price': is declared as a number, but this value is "
        "not a number (found 'cheap'). Fix: correct the value, leave the cell empty, or declare "
        "'price' a category.",
    )
    assert report.facts["split"] == "global_time: 6 training, 1 validation, 3 test rows"
    assert "context.device" in report.facts


def test_each_problem_of_the_config(shop: Path) -> None:
    path = shop / "twotower.toml"
    report = check(path, ["data.interaction='x'", "training.epochs=0"])
    assert report == CheckReport(
        problems=(
            f"{path}: unknown key 'data.interaction', did you mean 'interactions'?",
            f"{path}: training.epochs: Input should be greater than or equal to 1 (found 0).",
        ),
        notes=(),
        facts={},
    )


def test_a_broken_table_does_not_hide_the_others(shop: Path) -> None:
    (shop / "items.csv").unlink()
    edit(shop / "users.csv", "u3", "u1")
    edit(shop / "log.csv", "device", "devise")
    report = check(shop / "twotower.toml")
    assert report.problems == (
        f"{shop / 'log.csv'}, column 'device': no such column, did you mean 'devise'? There are: "
        "user_id, item_id, timestamp, devise. Fix: correct the name of the column in the config.",
        f"{shop / 'users.csv'}, column 'user_id': 1 id has rows that differ; the first, 'u1', "
        "stands in rows 1 and 3. Fix: keep one row per id.",
        f"{shop / 'items.csv'}: no such file, did you mean 'users.csv'?",
    )
    assert report.facts["users"] == "4"


def test_every_problem_of_a_file_is_listed(shop: Path) -> None:
    """Wrong cells in several columns, a column that is missing, features of each table, ids that
    stand twice: none hides another."""
    edit(shop / "log.csv", "item_id,timestamp", "item,timestamp")
    edit(shop / "log.csv", "device", "weight")
    edit(shop / "log.csv", "u1,i1,0,phone", "u1,i1,soon,much")
    edit(shop / "log.csv", "u2,i1,86400,desk", ",i1,then,1")
    for old in ("phone", "desk"):
        text = (shop / "log.csv").read_text(encoding="utf-8")
        (shop / "log.csv").write_text(text.replace(old, "1"), encoding="utf-8")
    edit(shop / "items.csv", "i3,", "i1,")
    edit(shop / "items.csv", "4.5", "dear")
    edit(shop / "users.csv", "u3,41", ",old")
    log, users, items = (str(shop / f"{name}.csv") for name in ("log", "users", "items"))
    assert check(shop / "twotower.toml").problems == (
        f"{log}, column 'item_id': no such column, did you mean 'item'? There are: user_id, item, "
        "timestamp, weight. Fix: set data.columns.item_id to the name that this table uses.",
        f"{log}, column 'device': no such column. There are: user_id, item, timestamp, weight. "
        "Fix: correct the name of the column in the config.",
        f"{log}, column 'user_id': 1 of 10 rows have no id: row 2. Fix: fill in their ids, "
        'or set data.missing_ids = "leave_out".',
        f"{log}, row 1, column 'weight': 1 of 10 weights are not finite numbers (found 'much'). "
        "Fix: correct the value, or remove the row.",
        f"{log}, column 'timestamp': 2 of 10 timestamps cannot be read; row 1: 'soon', row 2: "
        "'then'. Fix: write times as ISO 8601 (2024-05-01T12:30:00) or as unix seconds.",
        f"{users}, column 'user_id': 1 of 3 rows have no id: row 3. Fix: remove these rows, or "
        "fill in their ids.",
        f"{items}, column 'item_id': 1 id has rows that differ; the first, 'i1', stands in rows 1 "
        "and 3. Fix: keep one row per id.",
        f"{users}, row 3, column 'age': is declared as a number, but this value is not a number "
        "(found 'old'). Fix: correct the value, leave the cell empty, or declare 'age' a category.",
        f"{items}, row 4, column 'price': is declared as a number, but this value is not a number "
        "(found 'dear'). Fix: correct the value, leave the cell empty, or declare 'price' a "
        "category.",
    )


def test_keys_that_need_a_column_which_is_missing(shop: Path) -> None:
    overrides = ["data.positive.min_weight=3", "data.positive.event_types=['buy']"]
    edit(shop / "log.csv", "u1,i1,0,phone", "u1,i1,soon,phone")
    problems = check(shop / "twotower.toml", overrides).problems
    assert [problem.partition(", and there")[0] for problem in problems[:2]] == [
        f"{shop / 'log.csv'}: data.positive.event_types needs event types",
        f"{shop / 'log.csv'}: data.positive.min_weight needs a weight",
    ]
    assert len(problems) == 3
    assert "'soon'" in problems[2]


def test_the_split_is_looked_at_beside_a_broken_items_file(shop: Path) -> None:
    edit(shop / "items.csv", "i3,", "i1,")
    log = pl.read_csv(shop / "log.csv").with_columns(timestamp=pl.lit(DAY))
    log.write_csv(shop / "log.csv")
    problems = check(shop / "twotower.toml").problems
    assert len(problems) == 2
    assert problems[0].startswith(f"{shop / 'items.csv'}, column 'item_id': 1 id has rows")
    assert problems[1].startswith("the split by global_time leaves the test part empty")


def test_rows_that_were_set_aside_are_counted(shop: Path) -> None:
    log = pl.read_csv(shop / "log.csv").with_columns(
        weight=pl.Series([1, -1, 1, 0, 1, 1, 1, 1, 1, 1])
    )
    pl.concat([log, log[:1]]).write_csv(shop / "log.csv")
    report = check(shop / "twotower.toml")
    assert report.problems == ()
    assert report.notes[1:3] == (
        f"{shop / 'log.csv'}: 1 of 11 rows repeat user_id, item_id, timestamp of another: each set "
        'became one row, with the largest weight (data.duplicates = "max").',
        f"{shop / 'log.csv'}: 2 of 10 rows have a weight of 0 or below: they are dislikes, not "
        "positives, and were dropped (data.positive.dislikes).",
    )
    assert report.facts["interactions"] == "8 positive rows"


def test_a_split_that_leaves_nothing_to_test_on(shop: Path) -> None:
    log = pl.read_csv(shop / "log.csv").with_columns(timestamp=pl.lit(DAY))
    log.write_csv(shop / "log.csv")
    report = check(shop / "twotower.toml")
    assert report.problems == (
        "the split by global_time leaves the test part empty: all 10 rows have the same time, so "
        "no point in time separates them. Fix: set [data.split] method = 'random'.",
    )
    assert "split" not in report.facts


def test_a_feature_without_its_file(shop: Path) -> None:
    edit(shop / "twotower.toml", 'users = "users.csv"', "")
    assert check(shop / "twotower.toml").problems == (
        "features.user.age needs a users table, and none is given. "
        "Fix: set data.users, or remove the feature.",
    )


def test_the_test_file_is_looked_at_too(shop: Path) -> None:
    (shop / "test.csv").write_text("user_id,item_id,timestamp,device\nu1,i1,,phone\n")
    report = check(shop / "twotower.toml", ["data.split.test='test.csv'"])
    assert report.problems == (
        f"{shop / 'test.csv'}, row 1, column 'timestamp': 1 of 1 rows have no time. Fix: fill in "
        "or remove these rows, or rename the column so that no times are used.",
    )


def test_each_context_column_is_tried(shop: Path) -> None:
    edit(
        shop / "twotower.toml",
        "[features.context.device]",
        "[features.context.device]\n"
        "type = 'category'\n[features.context.shop]\ntype = 'category'\n"
        "[features.context.page]",
    )
    report = check(shop / "twotower.toml")
    assert [problem.partition(": no such column")[0] for problem in report.problems] == [
        f"{shop / 'log.csv'}, column '{name}'" for name in ("shop", "page")
    ]
    assert "context.device" in report.facts


def shown(report: CheckReport) -> str:
    console = Console(file=StringIO(), width=80, color_system=None)
    console.print(render_check(report))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


def test_what_is_shown() -> None:
    report = CheckReport(("a [red] b", "c"), ("[data] note",), {"x[y]": "[bold]1"})
    assert shown(report) == (
        " x[y]  [bold]1\nnote: [data] note\nproblem: a [red] b\nproblem: c\n2 problems."
    )
    assert shown(CheckReport((), (), {})) == "No problems found."
    assert shown(CheckReport(("a",), (), {})) == "problem: a\n1 problem."


@pytest.mark.real_data
def test_movielens(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "ml-100k"
    (tmp_path / "twotower.toml").write_text(
        f"[data]\ninteractions = '{folder / 'interactions.parquet'}'\n"
        f"users = '{folder / 'users.parquet'}'\n[features.user.occupation]\ntype = 'category'\n"
    )
    assert check(tmp_path / "twotower.toml").facts == {
        "interactions": "100,000 positive rows",
        "users": "943, of which 943 are in the file with 943 rows",
        "items": "1,682",
        "density": "6.3% of all user-item pairs",
        "dates": "1997-09-20 to 1998-04-22",
        "user.occupation": "category, 100.0% of 943 rows, 21 distinct values",
        "split": "global_time: 81,000 training, 9,000 validation, 10,000 test rows",
        "recipe": "26 steps an epoch; softmax over all 1,625 items; ids smoothed over 81,000 "
        "interactions in each step; exact search",
    }


def test_cells_that_hold_no_number_are_not_counted(shop: Path) -> None:
    edit(shop / "items.csv", "2.5", "NA")
    edit(shop / "items.csv", "3.5", "NaN")
    facts = check(shop / "twotower.toml").facts
    assert facts["item.price"] == "number, 50.0% of 4 rows, 2 distinct values"
