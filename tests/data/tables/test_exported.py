"""Exported interactions beside the log: the rows of both, in one order."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from twotower.config import DataConfig, FeatureConfig
from twotower.data.tables.exported import with_exported_items
from twotower.data.tables.tables import Tables, read_tables
from twotower.errors import DataError
from twotower.features.categories import CategoriesConfig
from twotower.features.number import NumberConfig


def tables(folder: Path, log: str, exported: str) -> Tables:
    (folder / "log.csv").write_text(log, encoding="utf-8")
    (folder / "exported").mkdir()
    (folder / "exported" / "interactions.csv").write_text(exported, encoding="utf-8")
    config = {"interactions": str(folder / "log.csv"), "exported": str(folder / "exported")}
    return read_tables(DataConfig.model_validate(config))


@pytest.mark.parametrize("is_swapped", [False, True])
def test_whole_seconds_continue_milliseconds(tmp_path: Path, is_swapped: bool) -> None:
    head = "user_id,item_id,timestamp\n"
    fine = f"{head}u,c,1700000000500\nu,b,1700000000250\nu,d,1700000001000\n"
    whole = f"{head}u,a,1700000000000\nu,e,1700000001000\n"
    found = tables(tmp_path, *((whole, fine) if is_swapped else (fine, whole)))
    rows = found.interactions
    assert rows["item_id"].to_list() == ["a", "b", "c", "d", "e"]
    assert rows["timestamp_ns"].to_list() == [0, 250_000_000, 500_000_000, 0, 0]
    assert found.notes == (
        "2 of 5 rows share user and time with another row: they are in the order of their items' "
        "ids.",
    )


@pytest.mark.parametrize("column", ["timestamp", "weight"])
@pytest.mark.parametrize("is_swapped", [False, True])
def test_what_only_one_of_them_has_is_refused(
    tmp_path: Path, column: str, is_swapped: bool
) -> None:
    has = f"user_id,item_id,{column}\nu,a,5\n"
    lacks = "user_id,item_id\nu,b\n"
    files = [str(tmp_path / "log.csv"), str(tmp_path / "exported" / "interactions.csv")]
    with pytest.raises(DataError) as error:
        tables(tmp_path, *((lacks, has) if is_swapped else (has, lacks)))
    first, second = files if is_swapped else files[::-1]
    assert str(error.value) == (
        f"{first}: has no {column}, and {second} has one. Fix: export again with this config, or "
        f"remove {files[1]}."
    )


def test_exported_items_replace_rows_and_exported_changes_single_values(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(
        '{"item_id": "b", "genres": "new", "price": 7}\n{"item_id": "d", "genres": "x"}\n'
    )
    (tmp_path / "item_changes.jsonl").write_text(
        '{"item_id": "a", "price": 9.5, "stock": 3}\n'
        '{"item_id": "c", "genres": "k|l", "price": null}\n'
        '{"item_id": "gone", "price": 1}\n'
    )
    items = pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "genres": ["g|h", "g", "h"],
            "price": ["1", "2", "3"],
            "year": [1999, 2000, 2001],
        }
    )
    config = DataConfig(interactions="log.csv", items="items.csv", exported=str(tmp_path))
    declared: dict[str, list[FeatureConfig]] = {
        "genres": [CategoriesConfig(type="categories", separator="|")],
        "price": [NumberConfig(type="number")],
    }
    found = with_exported_items(items, config, [], declared).sort("item_id")
    assert found.to_dict(as_series=False) == {
        "item_id": ["a", "b", "c", "d"],
        "genres": ["g|h", "new", "k|l", "x"],
        "price": [9.5, 7.0, 3.0, None],
        "year": [1999, None, 2001, None],
        "stock": [3, None, None, None],
    }
