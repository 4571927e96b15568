"""Tables written frame by frame, as Parquet, CSV or JSON Lines; a reader never sees half of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import polars as pl
import pyarrow.parquet as pq

from twotower.atomic import replace_file
from twotower.errors import DataError, explain

Write = Callable[[pl.DataFrame], None]
KINDS: Final = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
"""Ending of a file's name -> how it is written."""


@contextmanager
def table_file(file: Path) -> Iterator[Write]:
    """A function that appends the rows of a frame; all frames have the same columns.

    The file is replaced at the end of the block (see `replace_file`), and stays as it is where the
    block raises or appends no frame. Missing parent folders are created.

    Raises:
        DataError: the name has another ending, or the file cannot be written.
    """
    kind = KINDS.get(file.suffix)
    if kind is None:
        raise DataError(
            explain(
                "cannot be written as a table of this kind",
                file=file,
                value=file.suffix,
                fix=f"end the name in one of: {', '.join(KINDS)}",
            )
        )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(file) as aside:
            with aside.open("wb") as stream:
                table = _Table(kind, stream)
                try:
                    yield table.write
                finally:
                    table.close()
            if not table.has_rows:
                aside.unlink()
    except OSError as error:
        raise DataError(
            explain(f"cannot be written: {error}", file=file, fix="make room, or write elsewhere")
        ) from error


class _Table:
    """A table that is being written."""

    def __init__(self, kind: str, stream: BinaryIO) -> None:
        self._kind = kind
        self._stream = stream
        self._parquet: pq.ParquetWriter | None = None
        self.has_rows = False

    def write(self, frame: pl.DataFrame) -> None:
        """Append a frame."""
        match self._kind:
            case "parquet":
                table = frame.to_arrow()
                if self._parquet is None:
                    self._parquet = pq.ParquetWriter(  # type: ignore[no-untyped-call]
                        self._stream, table.schema, compression="zstd"
                    )
                self._parquet.write_table(table)  # type: ignore[no-untyped-call]
            case "jsonl":
                frame.write_ndjson(self._stream)
            case _:
                separator = "\t" if self._kind == "tsv" else ","
                frame.write_csv(self._stream, include_header=not self.has_rows, separator=separator)
        self.has_rows = True

    def close(self) -> None:
        """End the table."""
        if self._parquet is not None:
            self._parquet.close()  # type: ignore[no-untyped-call]
