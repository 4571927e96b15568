"""Real tables of Delta Lake and Iceberg: what was deleted, replaced or added to, read in the
version that was asked for, and what is said where they cannot be read."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyiceberg.utils.config
import pytest
from deltalake import DeltaTable
from polars.testing import assert_frame_equal
from pyiceberg.catalog import Catalog, load_catalog
from pyroaring import BitMap64

from tests.data.large_logs import log, small_blocks
from twotower.config import Config, DataConfig, load_config, parse_config
from twotower.data.dataset.dataset import Dataset
from twotower.data.readers.lake_tables import kind_of_lake, open_lake
from twotower.data.readers.read_table import read_table
from twotower.data.tables.entity_rows import read_entities
from twotower.data.tables.interaction_rows import read_interactions
from twotower.data.tables.tables import read_tables
from twotower.errors import DataError
from twotower.workflow.setup.check import check
from twotower.workflow.setup.init.write_config import write_config

FIRST = pl.DataFrame(
    {"user_id": ["a", "b", "c"], "item_id": [1, 2, 3], "bought": [True, False, True]}
)
LATER = FIRST.with_columns(pl.Series("shop", ["x", None, "y"]), item_id=pl.col("item_id") + 10)
ROWS = [
    {"user_id": "a", "item_id": 1, "bought": True, "shop": None},
    {"user_id": "c", "item_id": 3, "bought": True, "shop": None},
    {"user_id": "a", "item_id": 11, "bought": True, "shop": "x"},
    {"user_id": "c", "item_id": 13, "bought": True, "shop": "y"},
]
"""After an append with a new column, and the deletion of all rows of `b`."""


@pytest.fixture
def delta(tmp_path: Path) -> Path:
    """A Delta table; version 0 is `FIRST`, 1 adds rows and a column, 2
    deletes."""
    folder = tmp_path / "events"
    FIRST.write_delta(folder)
    LATER.write_delta(folder, mode="append", delta_write_options={"schema_mode": "merge"})
    DeltaTable(folder).delete("user_id = 'b'")
    return folder


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """A catalog of Iceberg in an SQLite file, as PyIceberg's environment variables name it."""
    for key, value in {
        "TYPE": "sql",
        "URI": f"sqlite:///{tmp_path}/catalog.db",
        "WAREHOUSE": f"file://{tmp_path}/lake",
    }.items():
        monkeypatch.setenv(f"PYICEBERG_CATALOG__SHOP__{key}", value)
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", pyiceberg.utils.config.Config())
    made = load_catalog("shop")
    made.create_namespace("logs")
    return made


@pytest.fixture
def iceberg(catalog: Catalog, tmp_path: Path) -> Path:
    """A table of it with the same history."""
    first, later = FIRST.to_arrow(), LATER.to_arrow()
    table = catalog.create_table("logs.events", schema=first.schema)
    table.append(first)
    with table.update_schema() as update:
        update.union_by_name(later.schema)
    table.append(later)
    table.delete("user_id = 'b'")
    return tmp_path / "lake" / "logs" / "events"


def sorted_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return frame.sort("item_id").to_dicts()


# --- what is read -------------------------------------------------------------------------------


def test_a_delta_folder_is_read_without_the_rows_that_were_deleted(delta: Path) -> None:
    assert sorted_rows(read_table(str(delta))) == ROWS
    files = pl.concat([pl.read_parquet(file) for file in delta.glob("*.parquet")], how="diagonal")
    assert len(files) > len(ROWS)  # the files alone hold more


def test_an_iceberg_folder_is_read_without_the_rows_that_were_deleted(iceberg: Path) -> None:
    assert sorted_rows(read_table(str(iceberg))) == ROWS


def test_an_iceberg_table_is_read_by_its_catalog_or_its_metadata_file(iceberg: Path) -> None:
    assert sorted_rows(read_table("iceberg://shop/logs.events")) == ROWS
    newest = max((iceberg / "metadata").glob("*.metadata.json"))
    assert sorted_rows(read_table(str(newest))) == ROWS
    first = min((iceberg / "metadata").glob("00001*.metadata.json"))
    assert sorted_rows(read_table(f"iceberg:///{first}")) == FIRST.to_dicts()


def test_only_the_columns_that_are_asked_for_are_read(delta: Path, iceberg: Path) -> None:
    for source in (delta, iceberg):
        seen: list[list[str]] = []

        def pick(names: list[str], seen: list[list[str]] = seen) -> list[str]:
            seen.append(names)
            return ["shop", "user_id"]

        frame = read_table(str(source), columns=pick)
        assert seen == [["user_id", "item_id", "bought", "shop"]]
        assert frame.columns == ["shop", "user_id"]
        assert sorted(frame["shop"].to_list(), key=str) == [None, None, "x", "y"]


def test_an_earlier_version_is_read_where_it_is_named(delta: Path, iceberg: Path) -> None:
    assert sorted_rows(read_table(f"delta:///{delta}#0")) == FIRST.to_dicts()
    assert len(read_table(f"delta:///{delta}#1")) == 6
    snapshots = load_catalog("shop").load_table("logs.events").snapshots()
    for place in (f"iceberg:///{iceberg}", "iceberg://shop/logs.events"):
        assert sorted_rows(read_table(f"{place}#{snapshots[0].snapshot_id}")) == FIRST.to_dicts()
        assert sorted_rows(read_table(f"{place}#{snapshots[-1].snapshot_id}")) == ROWS


def test_replaced_rows_are_gone(delta: Path, iceberg: Path) -> None:
    options = {"schema_mode": "overwrite"}
    FIRST.head(1).write_delta(delta, mode="overwrite", delta_write_options=options)
    assert read_table(str(delta))["item_id"].to_list() == [1]
    load_catalog("shop").load_table("logs.events").overwrite(FIRST.head(1).to_arrow())
    assert read_table(str(iceberg))["item_id"].to_list() == [1]


def test_a_column_that_was_renamed_in_iceberg_has_its_new_name_in_old_files(iceberg: Path) -> None:
    with load_catalog("shop").load_table("logs.events").update_schema() as update:
        update.rename_column("bought", "sold")
    frame = read_table(str(iceberg))
    assert sorted_rows(frame.select("sold", "item_id"))[0] == {"sold": True, "item_id": 1}
    table = open_lake(str(iceberg))
    assert table is not None
    assert "sold" in read_table(table.pinned).columns


def test_partitions_are_columns_with_their_types(tmp_path: Path) -> None:
    FIRST.write_delta(tmp_path / "log", delta_write_options={"partition_by": ["item_id"]})
    frame = read_table(str(tmp_path / "log"))
    assert_frame_equal(frame.sort("item_id"), FIRST, check_column_order=False)


def test_folders_with_blanks_and_partitions_that_file_names_do_not_tell(tmp_path: Path) -> None:
    folder = tmp_path / "the events, 100 %"
    FIRST.write_delta(folder, delta_write_options={"partition_by": ["user_id"]})
    assert_frame_equal(read_table(str(folder)).sort("item_id"), FIRST, check_column_order=False)
    table = open_lake(str(folder))
    assert table is not None
    assert table.num_rows() == 3
    assert len(table.read(["user_id"], range(1, 3))) == 2
    plain = folder.rename(tmp_path / "events")
    first = plain / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in first.read_text().splitlines()]
    for number, action in enumerate(actions):
        if "add" in action:
            (plain / action["add"]["path"]).rename(plain / f"{number}.parquet")
            action["add"]["path"] = f"{number}.parquet"
    first.write_text("".join(json.dumps(action) + "\n" for action in actions))
    assert_frame_equal(read_table(str(plain)).sort("item_id"), FIRST, check_column_order=False)


def test_deletion_vectors_are_applied(tmp_path: Path) -> None:
    """Written as the protocol says, since the library that writes tables rewrites files instead."""
    folder = tmp_path / "log"
    options = {"configuration": {"delta.enableDeletionVectors": "true"}}
    FIRST.write_delta(folder, delta_write_options=options)
    delete_by_vector(folder, [1])
    assert DeltaTable(folder).version() == 1
    assert sorted_rows(read_table(str(folder))) == FIRST[[0, 2]].to_dicts()
    assert len(read_table(f"delta:///{folder}#0")) == 3
    assert read_table(f"delta:///{folder}#1", columns=lambda _: ["item_id"]).height == 2


def delete_by_vector(folder: Path, rows: list[int]) -> None:
    """Commit a version in which a table's one file has a deletion vector."""
    log_folder = folder / "_delta_log"
    lines = (log_folder / f"{0:020}.json").read_text().splitlines()
    added = next(entry["add"] for line in lines if "add" in (entry := json.loads(line)))
    content = struct.pack("<i", 1681511377) + BitMap64(rows).serialize()
    content += bytes(-len(content) % 4)
    vector = {
        "storageType": "i",
        "pathOrInlineDv": z85(content),
        "sizeInBytes": len(content),
        "cardinality": len(rows),
    }
    removed = {"path": added["path"], "deletionTimestamp": 1, "dataChange": True}
    actions = [
        {"commitInfo": {"timestamp": 1_700_000_000_000, "operation": "DELETE"}},
        {"remove": removed},
        {"add": added | {"deletionVector": vector}},
    ]
    text = "".join(json.dumps(action) + "\n" for action in actions)
    (log_folder / f"{1:020}.json").write_text(text)


def z85(content: bytes) -> str:
    """Bytes, a multiple of four, in the spelling of ZeroMQ."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    numbers = struct.unpack(f">{len(content) // 4}I", content)
    return "".join(digits[n // 85**place % 85] for n in numbers for place in (4, 3, 2, 1, 0))


# --- in a config --------------------------------------------------------------------------------


def lake_of(tmp_path: Path, frame: pl.DataFrame) -> Path:
    """A Delta table of three appends."""
    for part in frame.iter_slices(len(frame) // 3):
        part.write_delta(tmp_path / "log", mode="append")
    return tmp_path / "log"


def test_a_dataset_names_the_version_that_it_was_read_from(tmp_path: Path) -> None:
    folder = lake_of(tmp_path, log())
    log().write_parquet(tmp_path / "log.parquet")
    (tmp_path / "shop.toml").write_text('[data]\ninteractions = "log"\n')
    found = Dataset.read(tmp_path / "shop.toml")
    expected = Dataset.read(parse_config({"data": {"interactions": f"{tmp_path}/log.parquet"}}))
    assert found.config.data.interactions == f"delta:///{folder}#2"
    assert_frame_equal(found.parts.train, expected.parts.train)
    assert_frame_equal(found.parts.test, expected.parts.test)
    note = next(note for note in found.tables.notes if "Delta" in note)
    assert note.startswith(f"delta:///{folder}#2: it is a Delta table, version 2 of 20")
    log(50, seed=1).write_delta(folder, mode="append")
    again = Dataset.read(found.config)
    assert_frame_equal(again.tables.interactions, found.tables.interactions)
    assert Dataset.read(tmp_path / "shop.toml").config.data.interactions.endswith("#3")


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_a_large_table_gives_the_same_in_pieces_and_is_kept_until_it_changes(
    kind: str, tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_blocks(monkeypatch)
    if kind == "delta":
        source = str(lake_of(tmp_path, log()))
    else:
        table = catalog.create_table("logs.large", schema=log().to_arrow().schema)
        for part in log().iter_slices(300):
            table.append(part.to_arrow())
        source = "iceberg://shop/logs.large"
    expected = Dataset.read(large(source))
    reads: list[str] = []

    def counted(data: DataConfig, **rest: Any) -> Any:
        reads.append(data.interactions)
        return read_tables(data, **rest)

    monkeypatch.setattr("twotower.data.dataset.dataset.read_tables", counted)
    found = Dataset.read(large(source, max_rows_in_memory=200), work=tmp_path / "kept")
    assert_frame_equal(found.tables.interactions, expected.tables.interactions)
    assert_frame_equal(found.parts.train, expected.parts.train)
    Dataset.read(large(source, max_rows_in_memory=200), work=tmp_path / "kept")
    assert reads == [expected.config.data.interactions]
    if kind == "delta":
        DeltaTable(source).delete("user_id = 1")
    else:
        catalog.load_table("logs.large").delete("user_id = 1")
    later = Dataset.read(large(source, max_rows_in_memory=200), work=tmp_path / "kept")
    assert len(reads) == 2
    assert 1 in found.tables.interactions["user_id"]
    assert 1 not in later.tables.interactions["user_id"]


def large(source: str, **data: Any) -> Config:
    return parse_config({"data": {"interactions": source, **data}})


def test_check_and_init_work_on_tables_of_a_lake(
    delta: Path, iceberg: Path, tmp_path: Path
) -> None:
    log().write_delta(tmp_path / "log")
    items = pl.DataFrame({"item_id": range(40), "colour": ["red", "blue"] * 20}).to_arrow()
    load_catalog("shop").create_table("logs.items", schema=items.schema).append(items)
    write_config(tmp_path / "shop", str(tmp_path / "log"), None, "iceberg://shop/logs.items")
    file = tmp_path / "shop" / "twotower.toml"
    assert 'interactions = "../log"' in file.read_text()
    assert 'items = "iceberg://shop/logs.items"' in file.read_text()
    report = check(file)
    assert report.problems == ()
    assert any("it is a Delta table, version 0 of" in note for note in report.notes)
    assert any("it is an Iceberg table, snapshot" in note for note in report.notes)
    assert report.facts["item.colour"] == "category, 100.0% of 40 rows, 2 distinct values"
    config = load_config(file, ["data.interactions=delta:///../log#0"])
    assert config.data.interactions == f"delta:///{tmp_path}/shop/../log#0"
    assert len(Dataset.read(config).train)


def test_a_table_of_items_keeps_its_types(tmp_path: Path) -> None:
    table = pl.DataFrame({"item_id": ["i1", "i2"], "price": [0.5, 2.0], "code": ["01", "02"]})
    table.write_delta(tmp_path / "items")
    notes: list[str] = []
    data = DataConfig(interactions="x")
    frame = read_entities(str(tmp_path / "items"), "item_id", data, notes)
    assert frame.sort("item_id").to_dicts() == table.to_dicts()  # codes stay text


def test_vectors_by_row_need_rows_in_an_order(tmp_path: Path) -> None:
    pl.DataFrame({"item_id": ["i1", "i2"]}).write_delta(tmp_path / "items")
    data = DataConfig(interactions="x")
    with pytest.raises(DataError) as error:
        read_entities(str(tmp_path / "items"), "item_id", data, [], {"cover": "covers.npy"})
    assert str(error.value) == (
        f"{tmp_path}/items, column 'cover': its rows have no order, and covers.npy has a vector "
        "for each row. Fix: keep the vectors in a column of the table, or name a file."
    )


# --- what cannot be read ------------------------------------------------------------------------


def message(source: str | Path) -> str:
    with pytest.raises(DataError) as error:
        read_table(str(source))
    return str(error.value)


@pytest.mark.parametrize("package", ["deltalake", "pyiceberg"])
def test_without_its_package_a_table_is_not_read_as_its_parquet_files(
    package: str, delta: Path, iceberg: Path
) -> None:
    source = delta if package == "deltalake" else iceberg
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from twotower.data.readers.read_table import read_table\n"
        "from twotower.errors import DataError\n"
        f"try: read_table({str(source)!r})\n"
        "except DataError as error: print(error)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    extra, title = (
        ("delta", "a Delta table") if source == delta else ("iceberg", "an Iceberg table")
    )
    assert ended.stdout == (
        f"{source}: is {title}, and reading one needs the package {package}, which is not "
        "installed; its data files alone also hold rows that were deleted or replaced. "
        f"Fix: pip install 'twotower[{extra}]'.\n"
    ), ended.stderr


def test_a_folder_with_a_table_of_a_lake_in_it_is_refused(delta: Path) -> None:
    FIRST.write_parquet(delta.parent / "more.parquet")
    assert message(delta.parent) == (
        f"{delta.parent}: the folder in it, events, is a Delta table. Fix: name {delta} itself."
    )


def test_versions_that_are_not_there(delta: Path, iceberg: Path) -> None:
    assert message(f"delta:///{delta}#7") == (
        f"delta:///{delta}: the table has no such version (found 7). Fix: the newest are 0, 1, 2."
    )
    assert message(f"delta:///{delta}#new") == (
        f"delta:///{delta}#new: what follows the # is not the number of a version (found 'new'). "
        f"Fix: write delta:///{delta}#NUMBER, or leave out the # for the newest."
    )
    assert message("iceberg://shop/logs.events#7").startswith(
        "iceberg://shop/logs.events: the table has no such snapshot (found 7). Fix: the newest are "
    )


def test_a_version_whose_files_were_removed_is_an_error(delta: Path) -> None:
    table = DeltaTable(delta)
    table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    assert sorted_rows(read_table(str(delta))) == ROWS
    assert message(f"delta:///{delta}#0").startswith(
        f"delta:///{delta}#0: cannot be read as a Delta table: "
    )


def test_features_of_the_protocol_that_are_not_supported_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    FIRST.write_delta(folder)
    first = folder / "_delta_log" / f"{0:020}.json"
    lines = [json.loads(line) for line in first.read_text().splitlines()]
    for line in lines:
        if "protocol" in line:
            line["protocol"] = {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": ["columnMapping"],
                "writerFeatures": ["columnMapping"],
            }
    first.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert message(folder) == (
        f"{folder}: the table needs features of Delta Lake that are not supported: columnMapping. "
        "Fix: write a copy without them, such as a folder of Parquet files."
    )


def test_addresses_that_name_no_table(delta: Path, catalog: Catalog, tmp_path: Path) -> None:
    assert message("delta://bucket/log") == (
        "delta://bucket/log: does not name a folder. Fix: write delta:///FOLDER; tables in an "
        "object store are read through a catalog of Iceberg, or from a copy."
    )
    assert message(f"delta:///{tmp_path}") == (
        f"delta:///{tmp_path}: there is no Delta table here. Fix: it has a folder _delta_log."
    )
    assert message("iceberg://shop") == (
        "iceberg://shop: names no table. Fix: write iceberg://CATALOG/NAMESPACE.TABLE."
    )
    assert message("iceberg://shop/logs.none") == (
        "iceberg://shop/logs.none: the catalog has no such table (found 'logs.none')."
    )
    text = message("iceberg://stall/logs.none")
    assert text.startswith("iceberg://stall/logs.none: the catalog cannot be opened: ")
    assert "PYICEBERG_CATALOG__STALL__URI" in text


def test_of_two_metadata_files_with_one_number_only_the_catalog_knows(iceberg: Path) -> None:
    newest = max((iceberg / "metadata").glob("*.metadata.json"))
    number = newest.name[:5]
    newest.with_name(f"{number}-lost.metadata.json").write_bytes(newest.read_bytes())
    assert "2 metadata files have the highest number" in message(iceberg)
    assert sorted_rows(read_table("iceberg://shop/logs.events")) == ROWS


def test_an_iceberg_table_that_was_moved_is_refused(iceberg: Path, tmp_path: Path) -> None:
    """Its metadata name the files by their whole paths: those of the place that it was copied
    from."""
    moved = iceberg.rename(tmp_path / "moved")
    assert message(moved) == (
        f"{moved}: the table was written at {iceberg}, and its metadata name all files there. "
        "Fix: name it where it was written, or write a new table from it here."
    )


def test_a_table_without_rows(tmp_path: Path, catalog: Catalog) -> None:
    FIRST.clear().write_delta(tmp_path / "log")
    assert message(tmp_path / "log") == (
        f"{tmp_path}/log: has no rows. Fix: name a table with data."
    )
    catalog.create_table("logs.none", schema=FIRST.to_arrow().schema)
    assert message("iceberg://shop/logs.none") == (
        "iceberg://shop/logs.none: has no rows. Fix: name a table with data."
    )


def test_other_sources_are_not_tables_of_a_lake(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "readme.json").write_text("{}")
    FIRST.write_parquet(tmp_path / "log.parquet")
    assert kind_of_lake(str(tmp_path)) is None
    assert kind_of_lake("sqlite:///log.db#log") is None
    assert kind_of_lake(str(tmp_path / "log.parquet")) is None


def test_errors_in_rows_name_the_table(tmp_path: Path) -> None:
    FIRST.with_columns(user_id=pl.Series(["a", None, "c"])).write_delta(tmp_path / "log")
    with pytest.raises(DataError, match=f"^{tmp_path}/log, column 'user_id': .*: row 2"):
        read_interactions(str(tmp_path / "log"), DataConfig(interactions=str(tmp_path / "log")))
