"""Parquet files written frame by frame, of which a reader never sees half."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from twotower.errors import DataError, explain


@contextmanager
def parquet_file(file: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    """What writes a frame's rows; the frames have equal columns. They go to a file aside, which
    gets its name when all went well, and is removed otherwise. Without a frame there is no file.

    Raises:
        DataError: the file is called otherwise, has no folder, or cannot be written.
    """
    if file.suffix != ".parquet":
        raise DataError(
            explain("what is written is Parquet", file=file, fix="end the name in .parquet")
        )
    if not file.parent.is_dir():
        raise DataError(explain("there is no such folder", file=file.parent, fix="make it first"))
    aside = file.with_name(file.name + ".writing")
    writer: pq.ParquetWriter | None = None

    def write(frame: pl.DataFrame) -> None:
        nonlocal writer
        table = frame.to_arrow()
        writer = writer or pq.ParquetWriter(  # type: ignore[no-untyped-call]
            aside, table.schema, compression="zstd"
        )
        writer.write_table(table)  # type: ignore[no-untyped-call]

    try:
        yield write
        if writer:
            writer.close()  # type: ignore[no-untyped-call]
            aside.replace(file)
    except OSError as error:
        raise DataError(
            explain(f"cannot be written: {error}", file=file, fix="make room, or write elsewhere")
        ) from error
    finally:
        if writer:
            writer.close()  # type: ignore[no-untyped-call]
        aside.unlink(missing_ok=True)
