"""The catalogue's types, from whichever files its rows are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.config import parse_config
from twotower.data.dataset.dataset import Dataset

LOG = "user_id,item_id,timestamp\nu1,a,1\nu1,b,2\nu2,a,3\nu2,b,4\n"


def dataset(folder: Path, items: str, features: dict[str, Any], **data: Any) -> Dataset:
    (folder / "log.csv").write_text(LOG, encoding="utf-8")
    (folder / "items.csv").write_text(items, encoding="utf-8")
    sources = {"interactions": str(folder / "log.csv"), "items": str(folder / "items.csv")}
    config = parse_config({"data": {**sources, **data}, "features": {"item": features}})
    return Dataset.read(config)


def column(found: Dataset, name: str) -> dict[str, Any]:
    """Item id -> value."""
    rows = found.items.frame[found.items.first_known :]
    return dict(zip(rows["item_id"], rows[name], strict=True))


def test_exported_numbers_do_not_follow_the_decimal_sign_of_the_text(tmp_path: Path) -> None:
    put = [
        {"item_id": "n", "price": 1.234, "stock": 2.5, "code": 7},
        {"item_id": "b", "price": 2.0, "stock": 1.0, "code": 8},
    ]
    (tmp_path / "exported").mkdir()
    lines = "\n".join(map(json.dumps, put))
    (tmp_path / "exported" / "items.jsonl").write_text(lines, encoding="utf-8")
    found = dataset(
        tmp_path,
        'item_id,price,stock,code\na,"1.234,50",3,07\nb,2,4,A8\n',
        {"price": {"type": "number", "decimal": ","}, "code": {"type": "category"}},
        exported=str(tmp_path / "exported"),
    )
    assert column(found, "price") == {"a": 1234.5, "b": 2.0, "n": 1.234}
    assert column(found, "stock") == {"a": 3.0, "b": 1.0, "n": 2.5}
    assert column(found, "code") == {"a": "07", "b": "8", "n": "7"}


def test_columns_of_the_log_that_describe_items(tmp_path: Path) -> None:
    rows = "".join(f"u{n},a,10,1\nu{n},b,20,2\n" for n in range(9))
    (tmp_path / "log.csv").write_text("user_id,item_id,pages,isbn\n" + rows, encoding="utf-8")
    data = {
        "interactions": str(tmp_path / "log.csv"),
        "items_from_interactions": ["pages", "isbn"],
        "split": {"method": "random", "test_fraction": 0.5, "validation_fraction": 0},
    }
    features = {"item": {"isbn": {"type": "category"}}}
    found = Dataset.read(parse_config({"data": data, "features": features}))
    kept = found.items.frame[found.items.first_known :].sort("item_id")
    assert kept.select("pages", "isbn").rows() == [(10, "1"), (20, "2")]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("values", "encoded"),
    [
        ([True, False, None, True], [3, 2, 0, 3]),
        ([10, 9, None, 10], [2, 3, 0, 2]),
        ([1.5, 10.0, None, 1.5], [2, 3, 0, 2]),
        (["9.10", "9.1", None, "9.10"], [3, 2, 0, 3]),
    ],
)
def test_categories_are_the_same_from_every_file(
    ending: str, values: list[Any], encoded: list[int], tmp_path: Path
) -> None:
    """A CSV file keeps its spelling: 10.0 of another file is its 10."""
    items = pl.DataFrame({"item_id": list("abcd"), "kind": values})
    if ending in ("csv", "tsv") and values[1] == 10.0:
        items = items.with_columns(kind=pl.Series(["1.5", "10", None, "1.5"]))
    path = tmp_path / f"items.{ending}"
    match ending:
        case "csv" | "tsv":
            items.write_csv(path, separator="," if ending == "csv" else "\t")
        case "jsonl":
            items.write_ndjson(path)
        case _:
            items.write_parquet(path)
    log = "user_id,item_id\n" + "".join(f"u{n},{item}\n" for n in range(9) for item in "abcd")
    (tmp_path / "log.csv").write_text(log, encoding="utf-8")
    data = {
        "interactions": str(tmp_path / "log.csv"),
        "items": str(path),
        "split": {"method": "random", "test_fraction": 0.05, "validation_fraction": 0},
    }
    features = {"item": {"kind": {"type": "category"}}}
    found = Dataset.read(parse_config({"data": data, "features": features}))
    kinds = found.items.features["kind"][found.items.first_known :].tolist()
    assert dict(zip(found.items.ids.drop_nulls(), kinds, strict=True)) == dict(
        zip("abcd", encoded, strict=True)
    )
