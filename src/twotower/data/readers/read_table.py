"""One table from a source: a file, a folder of files, a table of a lake or of a database."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Final

import polars as pl

from twotower.config import FormatConfig
from twotower.data.readers.claimed_sizes import check_parquet
from twotower.data.readers.csv_tables import EMPTY_FIX, read_csv
from twotower.data.readers.databases import read_database
from twotower.data.readers.file_content import FileHead, read_content, read_head
from twotower.data.readers.format_detection import recognise, text_of
from twotower.data.readers.json_tables import read_json
from twotower.data.readers.lake_tables import LakeTable, open_lake
from twotower.data.readers.source_files import is_files, list_files, partitions
from twotower.data.readers.unsupported_shapes import refuse_binary, refuse_text
from twotower.data.values.spelling import spelled
from twotower.errors import DataError, explain

Pick = Callable[[list[str]], list[str]]
"""From the names of all columns of a table to those to keep."""

Rows = range
"""Consecutive rows of a file."""

USUAL: Final = FormatConfig()
"""A table that is written as usual, or whose form is recognised."""
KINDS: Final = {"csv": "CSV", "jsonl": "JSON Lines", "parquet": "Parquet"}


def read_table(
    source: str,
    *,
    format: FormatConfig = USUAL,  # noqa: A002 - as the section of the config
    columns: Pick | None = None,
    may_be_empty: bool = False,
    notes: list[str] | None = None,
) -> pl.DataFrame:
    """Read a whole table. Every column of a CSV file is text, and an empty cell is missing.

    Args:
        source: a CSV, TSV, JSON Lines or Parquet file, which may be compressed with gzip or zstd, a
            folder of such files, or `sqlite:///FILE#TABLE`,
            `postgresql://USER:PASSWORD@HOST/DB#TABLE`; after the `#` a SELECT statement of your own
            is possible, too. A folder that is a Delta or Iceberg table, or its URI, see
            `open_lake`. Folders named `day=2024-05-01` within a folder give a column of text.
        format: how text files are written; what it does not say is recognised.
        columns: from the names of all columns to those to keep. Default: all.
        may_be_empty: whether a table without rows is accepted.
        notes: a sentence on unusual properties that were recognised is appended.

    Raises:
        DataError: the source is missing, unreadable, empty, or not a table; the files of a folder
            have different columns.
    """
    format_notes: list[str] = []
    files: list[Path] = []
    table = open_lake(source)
    if table is not None:
        frame = read_lake(table, columns)
        format_notes.append(table.note)
    elif "://" in source:
        return read_database(source, columns, may_be_empty=may_be_empty)
    else:
        folder = Path(source)
        files = list_files(folder)
        frames = [
            read_file(file, format, columns, partitions(file, folder), format_notes)
            for file in files
        ]
        frame = frames[0] if len(frames) == 1 else join(frames, source)
    if not len(frame) and not may_be_empty:
        raise DataError(explain("has no rows", file=source, fix="name a table with data"))
    if notes is not None:
        notes += notes_on_format(source, files, format_notes)
    return frame


def read_lake(
    table: LakeTable, columns: Pick | None = None, rows: Rows | None = None
) -> pl.DataFrame:
    """A table of a lake; only the requested columns, and only some rows if they are given."""
    names = table.columns()
    frame = table.read(columns(names) if columns else names, rows)
    return pl.DataFrame([decoded(column) for column in frame])


def notes_on_format(source: str, files: list[Path], format_notes: list[str]) -> list[str]:
    """A sentence on what was recognised in the files of a source, if there is anything."""
    named = dict.fromkeys(name for file in files for name in partitions(file, Path(source)))
    found = dict.fromkeys(format_notes)
    if named:
        found[f"columns from its folder names are read as text: {', '.join(named)}"] = None
    return [f"{source}: {'; '.join(found)}."] if found else []


def is_text(source: str, format: FormatConfig = USUAL) -> bool:  # noqa: A002
    """Whether all columns of a source are text, because a CSV file is among its files."""
    if not is_files(source):
        return False
    files = list_files(Path(source))
    return any(recognise(file, read_head(file), format).kind == "csv" for file in files)


def join(frames: list[pl.DataFrame], source: str) -> pl.DataFrame:
    """The rows of all files of a folder, one file after the other. A column that is text in one of
    them is text in all."""
    names = frames[0].columns
    for frame in frames[1:]:
        differing = sorted(set(names) ^ set(frame.columns))
        if differing:
            raise DataError(
                explain(
                    f"its files do not have the same columns: only some have "
                    f"{', '.join(map(repr, differing))}",
                    file=source,
                    fix="keep only the files of one table in the folder",
                )
            )
    text = [name for name in names if any(frame[name].dtype == pl.String for frame in frames)]
    parts = [
        frame.select(
            spelled(frame[name]) if name in text and is_flat(frame[name]) else frame[name]
            for name in names
        )
        for frame in frames
    ]
    try:
        return pl.concat(parts, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise DataError(
            explain(
                f"its files do not have columns of the same types: {first_line(error)}",
                file=source,
            )
        ) from None


def is_flat(column: pl.Series) -> bool:
    """Whether the values can be spelled."""
    return not column.dtype.is_nested() and column.dtype not in (pl.Object, pl.Binary)


def read_file(
    path: Path,
    given: FormatConfig,
    columns: Pick | None,
    more: dict[str, str | None],
    format_notes: list[str],
    rows: Rows | None = None,
) -> pl.DataFrame:
    """One file with the columns from its folder names; only the requested columns, and, of a
    Parquet file, only some rows if they are given."""

    def refuse(names: list[str]) -> None:
        if columns is not None:
            columns([*names, *(name for name in more if name not in names)])

    kind = given.kind or "csv"
    try:
        head = read_head(path)
        if not head.content:
            raise DataError(explain("is empty", file=path, fix=EMPTY_FIX))
        found = recognise(path, head, given)
        kind = found.kind or kind
        if head.packing is not None:
            format_notes.append(f"it is compressed with {head.packing}")
        if kind == "parquet":
            return read_parquet(path, head, columns, more, rows)
        refuse_binary(path, head, found.encoding or "utf-8")
        refuse_text(path, text_of(head, found.encoding or "utf-8"))
        if kind == "jsonl":
            frame = read_json(path, head, given, found, format_notes)
        else:
            frame = read_csv(path, head, given, found, format_notes, refuse)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise DataError(
            explain(
                f"cannot be read as {KINDS[kind]}: {first_line(error)}",
                file=path,
                fix="check that the file is complete and of the type that its name says",
            )
        ) from None
    frame = with_partitions(frame, more)
    return frame if columns is None else frame.select(columns(frame.columns))


def with_partitions(frame: pl.DataFrame, more: dict[str, str | None]) -> pl.DataFrame:
    """The table with the columns from its folder names, unless it has a column of that name."""
    added = [
        pl.lit(value, pl.String).alias(name)
        for name, value in more.items()
        if name not in frame.columns
    ]
    return frame.with_columns(added) if added else frame


def read_parquet(
    path: Path,
    head: FileHead,
    columns: Pick | None,
    more: dict[str, str | None],
    rows: Rows | None = None,
) -> pl.DataFrame:
    """A Parquet file; only the requested columns are read."""
    source = path if head.packing is None else BytesIO(bytes(read_content(path, head)))
    lazy = pl.scan_parquet(source, glob=False, hive_partitioning=False)
    names = lazy.collect_schema().names()
    wanted = columns([*names, *(n for n in more if n not in names)]) if columns else names
    if rows is None:
        check_parquet(source, path.stat().st_size, path, wanted)
    else:
        lazy = lazy.slice(rows.start, rows.stop - rows.start)
    frame = lazy.select(name for name in wanted if name in names).collect()
    frame = pl.DataFrame([decoded(column) for column in frame])
    frame = with_partitions(frame, {n: v for n, v in more.items() if n in wanted or not columns})
    return frame.select(wanted) if columns else frame


def decoded(column: pl.Series) -> pl.Series:
    """Categories as text, and bytes, where they are text: some writers do not say so in the
    file."""
    if column.dtype in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    if column.dtype != pl.Binary:
        return column
    try:
        return column.cast(pl.String)
    except pl.exceptions.ComputeError:
        return column


def first_line(error: object) -> str:
    """The first line of another library's message."""
    return str(error).strip().partition("\n")[0].rstrip(".")
