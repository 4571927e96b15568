"""Files that are small on disk and huge in memory: refused, and quickly."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import polars as pl
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twotower.data.readers import claimed_sizes
from twotower.data.readers.claimed_sizes import check_claim
from twotower.data.readers.read_table import read_table
from twotower.errors import DataError

FIX = "Fix: check where the file comes from; if it is right, split it, or use a larger machine."


def write_bomb(path: Path, groups: int = 8, rows: int = 20_000_000) -> None:
    """160 M rows of which each column has one value: some kilobytes on disk."""
    table = pa.table(
        {
            "user_id": pa.array([7]).take(pa.array([0] * 1000)).to_pylist() * (rows // 1000),
        }
    )
    with pq.ParquetWriter(  # type: ignore[no-untyped-call]
        path, table.schema, compression="zstd"
    ) as writer:
        for _ in range(groups):
            writer.write_table(table, row_group_size=rows)


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bomb") / "log.parquet"
    write_bomb(path)
    return path


def refused(source: Path) -> str:
    process = psutil.Process()
    before = process.memory_info().rss
    with pytest.raises(DataError) as error:
        read_table(str(source))
    assert process.memory_info().rss - before < 200_000_000
    return str(error.value)


def test_a_parquet_file_of_one_repeated_value(bomb: Path) -> None:
    assert bomb.stat().st_size < 1_000_000
    assert re.fullmatch(
        re.escape(f"{bomb}: takes 1.3 GB in memory and has ")
        + r"\d+ kB on disk; that is more than 1,000 times its size\. "
        + re.escape(FIX),
        refused(bomb),
    )


def test_it_is_found_within_a_packed_file_too(bomb: Path, tmp_path: Path) -> None:
    packed = tmp_path / "log.parquet.gz"
    packed.write_bytes(gzip.compress(bomb.read_bytes()))
    assert "takes 1.3 GB in memory" in refused(packed)


def test_columns_that_are_not_read_do_not_count(bomb: Path) -> None:
    claimed_sizes.check_parquet(bomb, bomb.stat().st_size, bomb, ["other", "user"])
    with pytest.raises(DataError):
        claimed_sizes.check_parquet(bomb, bomb.stat().st_size, bomb, ["user_id"])


def test_a_list_counts_by_its_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pl.DataFrame({"a.b": [[1] * 1_000_000]}).write_parquet(tmp_path / "log.parquet")
    monkeypatch.setattr(claimed_sizes, "ALWAYS_READ", 7_000_000)
    assert "takes 8 MB in memory" in refused(tmp_path / "log.parquet")


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_a_packed_text_without_end(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "log.csv"
    part = b"u1,i1\n" * 10_000_000
    member = pa.compress(part, codec=packing, asbytes=True)
    path.write_bytes(pa.compress(b"user_id,item_id\n", codec=packing, asbytes=True) + member * 40)
    assert path.stat().st_size < 6_000_000
    with pytest.raises(DataError) as error:
        read_table(str(path))
    assert re.fullmatch(
        re.escape(f"{path}: takes more than 1.")
        + r"\d GB in memory and has [\d.]+ [kM]B on disk; that is more than 200 times its size\. "
        + re.escape(FIX),
        str(error.value),
    )


def test_what_does_not_fit_into_memory_is_refused_at_any_ratio(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        check_claim(1e15, 10**14, tmp_path / "log.parquet")
    assert re.fullmatch(
        re.escape(f"{tmp_path / 'log.parquet'}: takes 1,000,000.0 GB in memory and has ")
        + r"100,000\.0 GB on disk; [\d.]+ [GM]B of memory are available\. "
        + re.escape(FIX),
        str(error.value),
    )


def test_repetitive_logs_are_read(tmp_path: Path) -> None:
    rows = 3_000_000
    frame = pl.DataFrame({"user_id": range(rows)}).with_columns(
        pl.lit("click").alias("event_type"), pl.lit(1.0).alias("weight")
    )
    frame.write_parquet(tmp_path / "log.parquet")
    assert len(read_table(str(tmp_path / "log.parquet"))) == rows
    with gzip.open(tmp_path / "log.csv.gz", "wb") as file:
        file.write(frame.head(300_000).write_csv().encode())
    assert len(read_table(str(tmp_path / "log.csv.gz"))) == 300_000
