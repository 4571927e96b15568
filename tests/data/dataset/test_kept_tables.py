"""A log that is larger than memory gives what it gives in memory, bit for bit, and is read once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.data.encoded import same
from tests.data.large_logs import log, small_blocks, write_parts
from twotower.config import Config, parse_config
from twotower.data.dataset import dataset as reading
from twotower.data.dataset import splits
from twotower.data.dataset.dataset import Dataset, read_parts, workspace_of
from twotower.data.dataset.interactions import Interactions
from twotower.errors import DataError

TEXT = pl.concat_str(pl.lit("user number "), pl.col("user_id"))
"""Longer than the 12 bytes that Polars keeps in place."""
LOGS: dict[str, dict[str, Any]] = {
    "integers": {},
    "far apart": {"user_id": pl.col("user_id") * 10**12 - 5},
    "text": {"user_id": TEXT, "item_id": "i" + pl.col("item_id").cast(pl.String)},
    "text in one part": {
        "item_id": pl.when(pl.int_range(pl.len()) > 850)
        .then("x" + pl.col("item_id").cast(pl.String))
        .otherwise(pl.col("item_id").cast(pl.String))
    },
    "milliseconds": {"timestamp": pl.col("timestamp") * 1000 + pl.col("item_id")},
    "not whole in one part": {
        "timestamp": pl.from_epoch(
            pl.col("timestamp") * 10**6 + (pl.int_range(pl.len()) > 700) * pl.col("item_id"),
            time_unit="us",
        )
    },
}
SPLITS: dict[str, dict[str, Any]] = {
    "global_time": {},
    "last_out": {"method": "last_out"},
    "last_out, no validation": {"method": "last_out", "validation_fraction": 0},
    "random": {"method": "random", "test_fraction": 0.3},
}
KEYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "ratings": {"positive": {"min_weight": 2, "dislikes": "negatives"}},
    "events": {
        "positive": {
            "event_types": ["click", "buy"],
            "event_weights": {"buy": 3},
            "negative_event_types": ["hide"],
            "dislikes": "negatives",
        }
    },
    "sum": {"duplicates": "sum"},
    "count": {"duplicates": "count"},
    "last": {"duplicates": "last"},
}
HISTORY = {"features": {"user": {"history": {"type": "history", "event_types": True}}}}


def config(source: str, *, rows: int | None = None, **data: Any) -> Config:
    limit = {} if rows is None else {"max_rows_in_memory": rows}
    return parse_config({"data": {"interactions": source, **data, **limit}, **HISTORY})


def both(
    monkeypatch: pytest.MonkeyPatch, work: Path, source: str, **data: Any
) -> tuple[Dataset, Dataset]:
    """Read at once, and as if it were larger than memory."""
    at_once = Dataset.read(config(source, **data))
    small_blocks(monkeypatch)
    in_pieces = Dataset.read(config(source, rows=0, **data), work=work)
    assert in_pieces.work is not None
    return at_once, in_pieces


def assert_same_part(one: Interactions, other: Interactions) -> None:
    for name in ("user_num", "item_num", "weight", "timestamp", "event_num", "nanosecond"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs, err_msg=name)
    assert one.context.keys() == other.context.keys()
    for name, column in one.context.items():
        assert same(column, other.context[name])


def assert_same(one: Dataset, other: Dataset) -> None:
    for mine, theirs, names in (
        (one.tables, other.tables, ("interactions", "users", "items", "test", "dislikes")),
        (one.parts, other.parts, ("train", "validation", "test")),
    ):
        for name in names:
            expected, found = getattr(mine, name), getattr(theirs, name)
            assert (expected is None) == (found is None), name
            if expected is not None:
                assert_frame_equal(expected, found)
    assert one.notes == other.notes
    assert (one.parts.method, one.parts.leak) == (other.parts.method, other.parts.leak)
    assert one.schema.users == other.schema.users
    assert one.schema.items == other.schema.items
    assert one.users.ids.equals(other.users.ids)
    assert one.items.ids.equals(other.items.ids)
    for part, its in zip(one.split(), other.split(), strict=True):
        assert_same_part(part, its)
        events, its_events = part.histories(), its.histories()
        np.testing.assert_array_equal(events.items.values, its_events.items.values)
        np.testing.assert_array_equal(events.items.offsets, its_events.items.offsets)
    if one.dislikes is not None and other.dislikes is not None:
        np.testing.assert_array_equal(one.dislikes.values, other.dislikes.values)


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("changes", LOGS.values(), ids=LOGS)
def test_ids_times_and_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: Any, split: Any
) -> None:
    source = write_parts(log(**changes), tmp_path / "log", "parquet")
    assert_same(*both(monkeypatch, tmp_path / "work", source, split=split))


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("changes", [LOGS["integers"], LOGS["text in one part"]])
def test_text_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, changes: Any
) -> None:
    source = write_parts(log(**changes), tmp_path / "log", kind)
    assert_same(*both(monkeypatch, tmp_path / "work", source))


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("split", [{}, {"method": "last_out"}], ids=["global_time", "last_out"])
def test_weights_events_and_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: Any, split: Any
) -> None:
    source = write_parts(log(), tmp_path / "log", "parquet")
    assert_same(*both(monkeypatch, tmp_path / "work", source, split=split, **keys))


def test_without_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_parts(log().drop("timestamp"), tmp_path / "log", "parquet")
    assert_same(*both(monkeypatch, tmp_path / "work", source))


def test_given_parts_excluded_users_and_missing_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaps = pl.when(pl.int_range(pl.len()) % 50 > 0).then(pl.col("item_id"))
    source = write_parts(log(item_id=gaps), tmp_path / "log", "parquet")
    test, gone = tmp_path / "test.parquet", tmp_path / "gone.csv"
    log(200, seed=1, user_id=pl.col("user_id") + 5).write_parquet(test)
    gone.write_text("user_id\n4\n9\n", encoding="utf-8")
    keys = {
        "split": {"test": str(test)},
        "exclude_users": str(gone),
        "missing_ids": "leave_out",
    }
    assert_same(*both(monkeypatch, tmp_path / "work", source, **keys))


def test_columns_of_contexts_and_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = log(
        genre="g" + (pl.col("item_id") % 5).cast(pl.String),
        device=pl.Series(np.random.default_rng(2).choice(["phone", "desk"], 900)),
    )
    source = write_parts(frame, tmp_path / "log", "csv")
    document = {
        "data": {"interactions": source, "items_from_interactions": ["genre"]},
        "features": {
            "item": {"genre": {"type": "category"}},
            "context": {"device": {"type": "category"}},
        },
    }
    at_once = Dataset.read(parse_config(document))
    small_blocks(monkeypatch)
    document["data"]["max_rows_in_memory"] = 0  # type: ignore[index]
    in_pieces = Dataset.read(parse_config(document), work=tmp_path / "work")
    assert_same(at_once, in_pieces)
    features = at_once.items.features["genre"]
    assert same(features, in_pieces.items.features["genre"])


# --- what is kept -------------------------------------------------------------------------------


def written(work: Path) -> dict[str, int]:
    """The kept files and what tells a new file from an old one of its name."""
    return {file.name: file.stat().st_ino for file in (work / "tables").iterdir()}


def test_what_is_kept_is_taken_while_the_files_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, work = write_parts(log(), tmp_path / "log", "parquet"), tmp_path / "work"
    at_once, first = both(monkeypatch, work, source)
    kept = written(work)
    again = Dataset.read(config(source, rows=0), work=work)
    assert written(work) == kept
    assert_same(first, again)
    assert_same(at_once, again)


def damage(source: Path, work: Path) -> None:
    with (work / "tables" / "interactions-00000.arrow").open("r+b") as file:
        file.truncate(100)


def leave_half(source: Path, work: Path) -> None:
    (work / "tables" / "manifest.json").write_text('{"made_of": ', encoding="utf-8")


def touch(source: Path, work: Path) -> None:
    os.utime(source / "part-0.parquet", ns=(1, 1))


def more(source: Path, work: Path) -> None:
    log(50, seed=3).write_parquet(source / "part-9.parquet")


@pytest.mark.parametrize("change", [damage, leave_half, touch, more])
def test_what_does_not_fit_any_more_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    source, work = write_parts(log(), tmp_path / "log", "parquet"), tmp_path / "work"
    small_blocks(monkeypatch)
    Dataset.read(config(source, rows=0), work=work)
    kept = written(work)
    change(Path(source), work)
    again = Dataset.read(config(source, rows=0), work=work)
    assert written(work)["manifest.json"] != kept["manifest.json"]
    assert_same(Dataset.read(config(source)), again)


def test_another_config_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, work = write_parts(log(), tmp_path / "log", "parquet"), tmp_path / "work"
    small_blocks(monkeypatch)
    Dataset.read(config(source, rows=0), work=work)
    again = Dataset.read(config(source, rows=0, duplicates="sum"), work=work)
    assert_same(Dataset.read(config(source, duplicates="sum")), again)


def test_files_that_change_while_they_are_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, work = write_parts(log(), tmp_path / "log", "parquet"), tmp_path / "work"
    small_blocks(monkeypatch)
    settings = config(source, rows=0)
    workspace = workspace_of(settings, work)
    whole = splits.split_interactions

    def split_and_write(*given: Any) -> Any:
        more(Path(source), work)
        return whole(*given)

    monkeypatch.setattr(reading, "split_interactions", split_and_write)
    with pytest.raises(DataError) as caught:
        read_parts(settings, workspace)
    assert str(caught.value) == (
        f"{source}: a file of it changed while it was read. Fix: start again when nothing writes "
        "to it any more."
    )
    assert not (work / "tables").exists()


KILLED = """
import os, signal, sys
from twotower.config import parse_config
from twotower.data.dataset import kept_tables
from twotower.data.dataset.dataset import Dataset

def die(*given):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(kept_tables, sys.argv[3], die)
data = {"interactions": sys.argv[1], "max_rows_in_memory": 0}
Dataset.read(parse_config({"data": data}), work=sys.argv[2])
"""


@pytest.mark.parametrize("at", ["save", "load"])
def test_a_process_that_is_killed_leaves_what_was_kept(tmp_path: Path, at: str) -> None:
    source, work = write_parts(log(), tmp_path / "log", "parquet"), tmp_path / "work"
    Dataset.read(config(source, rows=0), work=work)
    kept = written(work)
    touch(Path(source), work)
    command = [sys.executable, "-c", KILLED, source, str(work), at]
    assert subprocess.run(command, check=False, timeout=100).returncode == -signal.SIGKILL
    assert written(work) == kept
    again = Dataset.read(config(source, rows=0), work=work)
    assert_same(Dataset.read(config(source)), again)
    assert [entry.name for entry in work.iterdir()] == ["tables"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("rows", [3_000, 9_000])
def test_a_full_disk(tmp_path: Path, small_disk: Path, rows: int) -> None:
    source = write_parts(log(rows), tmp_path / "log", "parquet")
    with pytest.raises(DataError) as caught:
        Dataset.read(config(source, rows=0), work=small_disk)
    assert "cannot be written: No space left on device" in str(caught.value)
    assert "Fix: make room" in str(caught.value)
    assert not [file for file in small_disk.rglob("*") if file.is_file()]


# --- what is refused ----------------------------------------------------------------------------


def test_an_error_names_the_row_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gap = pl.when(pl.int_range(pl.len()) != 600).then(pl.col("item_id"))
    source = write_parts(log(item_id=gap), tmp_path / "log", "parquet")
    small_blocks(monkeypatch)
    with pytest.raises(DataError) as caught:
        Dataset.read(config(source, rows=0), work=tmp_path / "work")
    # Row 600, counted from 0, is row 201 of the last file, which starts at row 400.
    assert str(caught.value) == (
        f"{source}/part-2.parquet, column 'item_id': 1 of 210 rows have no id: row 201. Fix: fill "
        'in their ids, or set data.missing_ids = "leave_out".'
    )
    assert not (tmp_path / "work" / "tables").exists()


def test_times_that_are_written_in_two_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(write_parts(log(), tmp_path / "log", "parquet"))
    days = pl.from_epoch("timestamp")
    log(timestamp=days).write_parquet(folder / "part-9.parquet")
    small_blocks(monkeypatch)
    with pytest.raises(DataError) as caught:
        Dataset.read(config(str(folder), rows=0), work=tmp_path / "work")
    assert str(caught.value) == (
        f"{folder}/part-9.parquet, row 1, column 'timestamp': the times here are read as datetime, "
        "and those before as numbers of unit 's'; a log that is larger than memory is read in "
        "pieces, whose times have to be written alike. Fix: declare data.time_format or "
        "data.time_unit, or raise data.max_rows_in_memory."
    )


def test_last_out_without_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_parts(log().drop("timestamp"), tmp_path / "log", "parquet")
    small_blocks(monkeypatch)
    with pytest.raises(DataError, match="last_out needs the order of their file"):
        Dataset.read(config(source, rows=0, split={"method": "last_out"}), work=tmp_path / "work")


def test_exported_events_are_among_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, work = write_parts(log(), tmp_path / "log", "parquet"), tmp_path / "work"
    exported = tmp_path / "exported"
    exported.mkdir()
    keys: dict[str, Any] = {"exported": str(exported)}
    assert_same(*both(monkeypatch, work, source, **keys))
    log(40, seed=5).write_parquet(exported / "interactions.parquet")
    again = Dataset.read(config(source, rows=0, **keys), work=work)
    assert_same(Dataset.read(config(source, **keys)), again)


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    keys: dict[str, Any] = {
        "users": str(tmp_path / "users.csv"),
        "items": str(tmp_path / "items.csv"),
    }
    with pytest.raises(DataError) as caught:
        Dataset.read(config(str(tmp_path / "log.csv"), **keys), work=tmp_path / "work")
    assert str(caught.value).count("no such file") == 3


def test_a_small_log_is_read_at_once(tmp_path: Path) -> None:
    source = write_parts(log(), tmp_path / "log", "parquet")
    assert Dataset.read(config(source), work=tmp_path / "work").work is None
    assert not (tmp_path / "work").exists()
