"""What `init` reads out of the files: the config that it writes loads and reads without change."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.config import load_config
from twotower.data.dataset.dataset import Dataset
from twotower.data.synthetic.shop import generate, write
from twotower.errors import ConfigError, DataError
from twotower.workflow.setup.init import write_config
from twotower.workflow.setup.init.sources import relative
from twotower.workflow.setup.init.toml import key_of, quoted

ORDERS = """Customer No;sku;ordered_at;created;Stars;action
c1;007;2024-01-01 10:00;1704103200;5;buy
c1;008;2024-01-02 10:00;1704189600;3;view
c2;007;2024-01-03 10:00;1704276000;1;buy
c3;009;2024-01-04 10:00;1704362400;4;view
c2;009;2024-01-05 10:00;1704448800;2;buy
c3;008;2024-01-06 10:00;1704535200;5;buy
"""
GOODS = """sku;id;price in "EUR";tags.all;since
007;1;1.5;red|round;2023-01-01
008;2;2.5;red|flat;2023-02-01
009;3;90.5;flat|round;2023-03-01
"""
ORDERS_CONFIG = """# Written by `twotower init`. Review and correct its guesses.

[data]
interactions = "../orders.csv"
items = "../goods.csv"

[data.format.interactions]  # detected from the file
separator = ";"

[data.format.items]  # detected from the file
separator = ";"
quotes = false

[data.columns]  # ours = theirs
user_id = "Customer No"
item_id = "sku"
timestamp = "created"
weight = "Stars"
event_type = "action"

[data.positive]
# Stars is the weight: ratings on a scale up to 5, here from 1 to 5; rows below 4 are not positive.
min_weight = 4
# action is the event type: 'buy', 'view'.
# event_types = ["buy", "view"]  # the positives
# event_weights = {buy = 5, view = 1}  # instead of a weight column

# Not used: codes, 3 different values in 3 rows: too many to be more informative than the id.
# [features.item.id_column]
# type = "category"
# min_count = 2
# column = "id"

[features.item."price in \\"EUR\\""]  # numbers with a fraction, from 1.5 to 90.5; skewed, with a \
few very large values
type = "number"
log = true

[features.item."tags.all"]  # 3 different values in 3 rows, several in a cell
type = "categories"
separator = "|"

[features.item.since]  # times
type = "timestamp"

[features.user.history]  # the user's latest interactions, in order of time
type = "history"
encoder = "attention"  # or mean, transformer
"""


def put(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def features(path: Path, side: str) -> dict[str, str]:
    enabled: dict[str, Any] = load_config(path).features.enabled(side)  # type: ignore[arg-type]
    return {name: feature.type for name, feature in enabled.items() if name != "id"}


def test_a_shop_with_odd_names(tmp_path: Path) -> None:
    orders, goods = put(tmp_path / "orders.csv", ORDERS), put(tmp_path / "goods.csv", GOODS)
    path = write_config(tmp_path / "shop", orders, None, goods).path
    assert path == tmp_path / "shop" / "twotower.toml"
    assert path.read_text(encoding="utf-8") == ORDERS_CONFIG
    assert [file.name for file in path.parent.iterdir()] == ["twotower.toml"]
    dataset = Dataset.read(load_config(path, ["data.split.test_fraction=0.3"]))
    assert dataset.tables.interactions["item_id"].to_list() == ["007", "009", "008"]


@pytest.mark.parametrize(
    ("log", "items", "active"),
    [
        ("user_id,item_id,timestamp", None, True),
        ("user_id,item_id,kind", None, True),
        ("user_id,item_id", "item_id,kind", True),
        ("user_id,item_id", "item_id,nothing", False),
        ("user_id,item_id", None, False),
    ],
)
def test_a_history_where_it_tells_more_than_ids(
    log: str, items: str | None, active: bool, tmp_path: Path
) -> None:
    values = {"timestamp": 1.7e9, "kind": 0, "nothing": 0}
    rows = [
        {"user_id": f"u{n % 9}", "item_id": f"i{n * n % 61}", **values, "kind": n * n % 61 % 3}
        for n in range(300)
    ]
    frame = pl.DataFrame(rows).with_columns(pl.col("timestamp").cast(pl.Int64) + pl.int_range(300))
    frame.select(log.split(",")).write_csv(tmp_path / "log.csv")
    if items is not None:
        frame.unique("item_id").select(items.split(",")).write_csv(tmp_path / "items.csv")
    named = None if items is None else str(tmp_path / "items.csv")
    path = write_config(tmp_path / "shop", str(tmp_path / "log.csv"), None, named).path
    assert (load_config(path).features.history is not None) is active
    text = path.read_text(encoding="utf-8")
    assert ("\n# [features.user.history]  # the user's latest interactions, as a set" in text) != (
        active
    )


def test_what_is_commented_out_is_valid_too(tmp_path: Path) -> None:
    orders, goods = put(tmp_path / "orders.csv", ORDERS), put(tmp_path / "goods.csv", GOODS)
    path = write_config(tmp_path / "shop", orders, None, goods).path
    text = re.sub(r"(?m)^# (?=\[|\w+ = )", "", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    config = load_config(path, ["data.split.validation_fraction=0"])
    assert config.data.positive.min_weight == 4.0
    assert config.data.positive.event_types == ("buy", "view")
    assert config.features.item["id_column"].column == "id"  # type: ignore[union-attr]
    assert config.data.positive.event_weights == {"buy": 5, "view": 1}
    assert len(Dataset.read(config).tables.interactions) == 4  # those of weight 5


def test_a_synthetic_shop(tmp_path: Path) -> None:
    write(generate(num_users=300, num_items=150, num_interactions=6000), tmp_path)
    sources = [str(tmp_path / f"{name}.parquet") for name in ("interactions", "users", "items")]
    path = write_config(tmp_path, *sources).path
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    assert document["data"] == {
        "interactions": "interactions.parquet",
        "users": "users.parquet",
        "items": "items.parquet",
    }
    assert features(path, "user") == {
        "age": "number",
        "region": "category",
        "occupation": "category",
    }
    assert features(path, "item") == {
        "title": "text",
        "description": "text",
        "genres": "categories",
        "price": "number",
        "release_year": "number",
    }
    assert "# Other columns of the interactions: device.\n" in path.read_text(encoding="utf-8")
    dataset = Dataset.read(path)
    assert dataset.parts.method == "global_time"
    assert len(dataset.tables.interactions) == 6000


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("folder", "names", "columns", "user", "item", "method"),
    [
        (
            "amazon-musical-instruments",
            ("reviews",),
            {
                "user_id": "reviewerID",
                "item_id": "asin",
                "timestamp": "unixReviewTime",
                "weight": "overall",
            },
            {},
            {},
            "global_time",
        ),
        (
            "ml-100k",
            ("interactions", "users", "items"),
            {"weight": "rating"},
            {"age": "number", "gender": "category", "occupation": "category"},
            {"title": "text", "release_year": "number", "genres": "categories"},
            "global_time",
        ),
        (
            "ml-1m",
            ("interactions", "users", "items"),
            None,
            {"gender": "category", "age": "category", "occupation": "category"},
            {
                "title": "text",
                "release_year": "number",
                "genres": "categories",
                "certificate": "category",
                "directors": "categories",
                "actors": "categories",
                "plot": "text",
            },
            "random",
        ),
    ],
)
def test_research_data(
    real_data: Path,
    tmp_path: Path,
    folder: str,
    names: tuple[str, ...],
    columns: dict[str, str] | None,
    user: dict[str, str],
    item: dict[str, str],
    method: str,
) -> None:
    files = [str(real_data / folder / f"{name}.parquet") for name in names]
    users, items = files[1:] or (None, None)
    path = write_config(tmp_path, files[0], users, items).path
    text = path.read_text(encoding="utf-8")
    assert tomllib.loads(text)["data"].get("columns") == columns
    positive = tomllib.loads(text)["data"].get("positive")
    assert positive == ({"min_weight": 4} if columns is not None else None)
    assert (features(path, "user"), features(path, "item")) == (user, item)
    assert Dataset.read(path).parts.method == method


# --- errors -------------------------------------------------------------------------------------


def test_a_config_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "twotower.toml"
    put(path, "mine")
    with pytest.raises(ConfigError) as caught:
        write_config(tmp_path, put(tmp_path / "orders.csv", ORDERS), None, None)
    assert str(caught.value) == (
        f"{path}: already exists and is not overwritten. "
        "Fix: choose another folder, or move the file away."
    )
    assert path.read_text(encoding="utf-8") == "mine"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    log = put(tmp_path / "log.csv", "customer,sku\n1,2\n3,4\n")
    with pytest.raises(ConfigError, match=r"twotower\.toml: cannot be written: "):
        write_config(Path(log), log, None, None)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    put(tmp_path / "clicks.csv", ORDERS)
    with pytest.raises(DataError) as caught:
        write_config(tmp_path, str(tmp_path / "click.csv"), None, None)
    assert str(caught.value) == (
        f"{tmp_path / 'click.csv'}: no such file, did you mean 'clicks.csv'?"
    )


# --- guesses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "cells", "expected"),
    [
        ("timestamp,created_at", "1,1704103200", None),
        ("date,unix_time", "2024-01-01,1704103200", "unix_time"),
        ("date,time", "20240101,2024-01-01T10:00", "time"),
        ("date,day", "May 5,Monday", "date"),
        ("day", "Monday", None),
    ],
)
def test_times(tmp_path: Path, header: str, cells: str, expected: str | None) -> None:
    log = put(tmp_path / "log.csv", f"user,item,{header}\n1,2,{cells}\n3,4,{cells}\n")
    path = write_config(tmp_path, log, None, None).path
    assert load_config(path).data.columns.timestamp == expected


def test_tsv_and_parquet_need_no_separator(tmp_path: Path) -> None:
    log = put(tmp_path / "log.tsv", "user\titem\n1\t2\n3\t4\n1\t4\n3\t2\n")
    items = put(tmp_path / "items.csv", "item,pages\n2,100\n4,200\n")
    path = write_config(tmp_path, log, None, items).path
    assert load_config(path).data.separator is None
    assert len(
        Dataset.read(
            load_config(path, ["data.split.test_fraction=0.4", "data.split.validation_fraction=0"])
        ).test
    )


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_quoted(text: str) -> None:
    assert tomllib.loads(f"{key_of(text)} = {quoted(text)}") == {text: text}


def test_sources_are_named_from_the_folder_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shop = Path("conf/shop")
    assert relative("log.csv", shop) == "../../log.csv"
    assert relative(str(tmp_path / "conf" / "shop" / "log.csv"), shop) == "log.csv"
    assert relative("sqlite:///shop.db#a/b", shop) == "sqlite:///../../shop.db#a/b"
    assert relative("postgresql://h/db#t", shop) == "postgresql://h/db#t"
