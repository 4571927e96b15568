"""The loop closes: train from a log, serve, take events and items, export, train again; no file is
touched by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import twotower as tt
from tests.processes import twotower
from tests.web.server import Server

CONFIG = """
[data]
interactions = "{log}"
items = "items.{items}"
exported = "exported"
[data.columns]
user_id = "customer"
item_id = "sku"
timestamp = "when"
event_type = "action"
[features.item.brand]
type = "category"
[features.item.tags]
type = "categories"
separator = "|"
[features.context.device]
type = "category"
[retriever]
embedding_dim = 8
[training]
epochs = 2
refit = "all"
"""
START = 1_714_560_000


def run(*arguments: str | Path) -> str:
    done = twotower(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def log(rng: np.random.Generator) -> pl.DataFrame:
    """60 customers with 10 rows each; the ids of the items are codes such as 007."""
    users = np.repeat(np.arange(60), 10)
    seconds = START + 3600 * rng.permutation(len(users))
    return pl.DataFrame(
        {
            "customer": [f"c{user}" for user in users],
            "sku": [f"{number:03}" for number in rng.integers(0, 30, len(users))],
            "when": pl.from_epoch(pl.Series(seconds), time_unit="s"),
            "action": rng.choice(["view", "buy"], len(users)),
            "device": rng.choice(["phone", "desktop"], len(users)),
        }
    )


def items(brands: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "sku": [f"{number:03}" for number in range(30)],
            "brand": [brands[number % len(brands)] for number in range(30)],
            "tags": [f"t{number % 3}|t{number % 5}" for number in range(30)],
        }
    )


@pytest.fixture(params=["csv", "folder"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A folder with a log, one file or a folder of files of several kinds, its config, and the name
    of the file to be exported."""
    kind: str = request.param
    rows = log(np.random.default_rng(0))
    text = rows.with_columns(pl.col("when").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    table, items_ending = items(["1.10", "1.1", "2.0"]), "csv"
    if kind == "csv":
        text.write_csv(tmp_path / "log.csv")
        table.write_csv(tmp_path / "items.csv")
    else:
        (tmp_path / "log").mkdir()
        text.head(200).write_csv(tmp_path / "log" / "a.csv")
        text.slice(200, 200).write_ndjson(tmp_path / "log" / "b.jsonl")
        rows.tail(200).write_parquet(tmp_path / "log" / "c.parquet")
        table.write_parquet(tmp_path / "items.parquet")
        items_ending = "parquet"
    config = CONFIG.format(log="log.csv" if kind == "csv" else "log", items=items_ending)
    (tmp_path / "twotower.toml").write_text(config, encoding="utf-8")
    return tmp_path, "interactions.csv"


@pytest.mark.slow
def test_what_the_service_logged_is_trained_on(shop: tuple[Path, str]) -> None:
    folder, exported = shop
    config, bundle = folder / "twotower.toml", folder / "one"
    run("train", config, "--out", bundle)
    server = Server(bundle, folder / "events.sqlite")
    try:
        put: dict[str, Any] = {"item_id": "031", "columns": {"brand": "1.10", "tags": ["t1", "t9"]}}
        server.put("/v1/items", {"items": [put]})
        server.delete("/v1/items/005")
        events = [
            {
                "user_id": user,
                "item_id": item,
                "timestamp": START + 4_000_000 + place,
                "event_type": "buy",
                "context": {"device": "phone"},
            }
            for user in ("new", "c0", "gone")
            for place, item in enumerate(["031", "001", "002"])
        ]
        server.post("/v1/events", {"events": events})
        server.delete("/v1/users/gone")
        server.delete("/v1/users/c1")
    finally:
        server.stop()
    before = {file.name: file.read_bytes() for file in folder.glob("*.*") if file.is_file()}
    run("export-events", folder / "events.sqlite", "--config", config)
    assert {file.name for file in (folder / "exported").iterdir()} == {
        exported,
        "items.jsonl",
        "forgotten.parquet",
    }
    run("train", config, "--out", folder / "two")
    assert {name: (folder / name).read_bytes() for name in before} == before
    recommender = tt.Recommender.load(folder / "two")
    assert recommender.recommend(user_ids=["new"], k=3)[0].path == "known"
    assert recommender.recommend(user_ids=["gone"], k=3)[0].path == "popular"
    assert recommender.recommend(user_ids=["c1"], k=3)[0].path == "popular"
    (num,) = recommender.items.nums(pl.Series(["031"]))
    assert recommender.item_counts[num] == 2
    row = recommender.items.frame.row(int(num), named=True)
    assert row["brand"] == "1.10"
    first = tt.Recommender.load(bundle)
    forgotten = int(first.served.histories.items.lengths[first.users.nums(pl.Series(["c1"]))[0]])
    assert int(recommender.item_counts.sum()) == int(first.item_counts.sum()) + 6 - forgotten
    assert recommender.served.schema.vocabulary("user").values.dtype == pl.String
    again = run("export-events", folder / "events.sqlite", "--config", config)
    assert "Wrote 6 events" in again
