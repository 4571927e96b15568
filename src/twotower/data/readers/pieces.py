"""A source larger than memory, piece by piece: slices of Parquet files and of tables of a
lake, whole CSV files."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from twotower.config import FormatConfig
from twotower.data.arrays.workspace import BLOCK, Workspace
from twotower.data.readers.file_content import FileHead, read_head
from twotower.data.readers.format_detection import recognise
from twotower.data.readers.lake_tables import LakeTable, open_lake
from twotower.data.readers.read_table import Rows
from twotower.data.readers.source_files import list_files
from twotower.errors import DataError

MIN_LINE: Final = 8
"""Bytes that a line of a CSV file has at least, for an estimate of their number."""


class Piece(NamedTuple):
    """Rows that are read at once.

    Attributes:
        file: that they are in, or the table of a lake.
        rows: of a Parquet file or a table of a lake; None for all.
    """

    file: Path | LakeTable
    rows: Rows | None = None

    @property
    def up_to_here(self) -> Piece:
        """These rows and those before them in the file, so that an error names the file's row."""
        return self if self.rows is None else Piece(self.file, range(self.rows.stop))


def pieces_of_large(source: str, given: FormatConfig, work: Workspace | None) -> list[Piece] | None:
    """The pieces of a source with more rows than fit into memory: slices of its Parquet files or of
    a table of a lake, and whole files of other kinds, whose rows are estimated by their lengths.
    None for a source that is read at once: a smaller one, or a database."""
    if work is None:
        return None
    pieces: list[Piece] = []
    rows = 0
    try:
        table = open_lake(source)
        if table is not None:
            rows = table.num_rows()
            return slices(table, rows) if rows > work.max_rows else None
        if "://" in source:
            return None
        for file in list_files(Path(source)):
            found, count = pieces_of_file(file, given)
            pieces += found
            rows += count
    except (DataError, OSError, ValueError, pa.ArrowException):
        return None  # reading it at once names what is wrong
    return pieces if rows > work.max_rows else None


def pieces_of_file(file: Path, given: FormatConfig) -> tuple[list[Piece], int]:
    """The pieces of a file, and its rows, estimated where it is text."""
    head = read_head(file)
    kind = recognise(file, head, given).kind
    if kind != "parquet" or head.packing is not None:
        return [Piece(file)], estimated_rows(file, head)
    count = pq.read_metadata(file).num_rows  # type: ignore[no-untyped-call]
    return slices(file, count), count


def slices(file: Path | LakeTable, count: int) -> list[Piece]:
    """Pieces of `count` rows that can be read apart."""
    starts = range(0, max(count, 1), BLOCK)
    return [Piece(file, range(start, min(start + BLOCK, count))) for start in starts]


def estimated_rows(file: Path, head: FileHead) -> int:
    """About how many lines a text file has; as many as it would without compression."""
    lines = head.content.splitlines()[:-1] or [head.content]
    mean = max(MIN_LINE, sum(len(line) + 1 for line in lines) / len(lines))
    return int(file.stat().st_size / mean)
