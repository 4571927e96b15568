"""One table from a source: a file, a folder of files, or a table of a database."""

from __future__ import annotations

import csv
import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import polars as pl

from twotower.config import FormatConfig
from twotower.data.databases import read_database
from twotower.errors import DataError, explain, nearest, shorten

Pick = Callable[[list[str]], list[str]]
"""From the names of all columns of a table to those to keep."""

USUAL = FormatConfig()
"""A table that is written as usual, or whose form is recognised."""

KINDS = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".txt": "CSV",
    ".jsonl": "JSON Lines",
    ".ndjson": "JSON Lines",
    ".parquet": "Parquet",
    ".pq": "Parquet",
}
SEPARATORS = {
    ";": ("semicolons", '";"'),
    "\t": ("tabs", '"\\t"'),
    "|": ("vertical bars", '"|"'),
    ",": ("commas", '","'),
}
"""separator -> its name, and how a config spells it."""

FOREIGN = {
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "packed by gzip",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"SQLite format 3": "an SQLite database",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
"""First bytes of what is no CSV and no JSON Lines."""


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
        source: a CSV, TSV, JSON Lines or Parquet file, a folder of files of one of these kinds, or
            `sqlite:///FILE#TABLE`, `postgresql://USER:PASSWORD@HOST/DB#TABLE`; after the `#` a
            SELECT statement of your own is possible, too.
        format: how text files are written; what it does not say is recognised.
        columns: from the names of all columns to those to keep. Default: all.
        may_be_empty: whether a Parquet file or a database may be without rows.
        notes: gets a sentence for whatever was recognised that is unusual.

    Raises:
        DataError: the source is missing, unreadable, empty, or of another kind; the separator is
            wrong; the files of a folder have different columns.
    """
    if "://" in source:
        return read_database(source, columns, may_be_empty=may_be_empty)
    files = list_files(Path(source))
    frames = [read_file(file, format.separator, columns) for file in files]
    frame = frames[0] if len(frames) == 1 else join(frames, source)
    if not len(frame) and not may_be_empty:
        raise DataError(explain("has no rows", file=source, fix="name a table with data"))
    return frame


def is_text(source: str) -> bool:
    """Whether all columns of a source are text, because a CSV file is among its files."""
    if "://" in source:
        return False
    return any(kind_of(file) in ("CSV", "TSV") for file in list_files(Path(source)))


def join(frames: list[pl.DataFrame], source: str) -> pl.DataFrame:
    """The rows of all files of a folder, one file after the other."""
    names = frames[0].columns
    for frame in frames[1:]:
        differing = sorted(set(names) ^ set(frame.columns))
        if differing:
            raise DataError(
                explain(
                    f"its files do not have the same columns: only some have "
                    f"{', '.join(map(repr, differing))}",
                    file=source,
                    fix="keep one table's files, and no others, in the folder",
                )
            )
    try:
        return pl.concat([frame.select(names) for frame in frames], how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise DataError(
            explain(
                f"its files do not have columns of the same types: {first_line(error)}",
                file=source,
            )
        ) from None


def list_files(path: Path) -> list[Path]:
    """The file itself, or the files of a folder, all of one kind, in the order of their names."""
    if path.is_dir():
        return list_folder(path)
    if not path.exists():
        raise DataError(missing_file(path))
    if path.suffix.lower() not in KINDS:
        raise DataError(
            explain(
                "is of no kind that can be read",
                file=path,
                value=path.suffix,
                fix="give .csv, .tsv, .jsonl or .parquet, a folder of such files, or a database",
            )
        )
    return [path]


def kind_of(path: Path) -> str:
    """What the end of a file's name says that it is."""
    return KINDS[path.suffix.lower()]


def list_folder(path: Path) -> list[Path]:
    """The tables of a folder and of the folders in it; names that start with . or _ are passed."""
    files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in KINDS
        and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    )
    if not files:
        raise DataError(
            explain(
                "this folder holds no CSV, TSV, JSON Lines or Parquet file",
                file=path,
                fix="name the folder that the files are in",
            )
        )
    kinds = sorted({kind_of(file) for file in files})
    if len(kinds) > 1:
        raise DataError(
            explain(
                f"this folder holds files of several kinds: {', '.join(kinds)}",
                file=path,
                fix="keep the files of one table, all of one kind, in a folder of their own",
            )
        )
    return files


def missing_file(path: Path) -> str:
    """The words on a file that is not there, with the nearest that is."""
    if not path.parent.is_dir():
        return explain(f"no such file, and no folder {str(path.parent)!r} either", file=path)
    there = [file.name for file in path.parent.iterdir()]
    return explain(f"no such file{nearest(path.name, there)}", file=path)


def read_file(path: Path, separator: str | None, columns: Pick | None) -> pl.DataFrame:
    """One file, only the columns that are asked for; the columns of a CSV file are raw text."""
    kind = kind_of(path)
    read = {"Parquet": read_parquet, "JSON Lines": read_json_lines}.get(kind)
    try:
        if not path.stat().st_size:
            raise DataError(
                explain("is empty", file=path, fix="name a file with a header and rows")
            )
        if read is not None:
            return read(path, columns)
        return read_csv(path, separator or ("\t" if kind == "TSV" else ","), columns)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise DataError(
            explain(
                f"cannot be read as {kind}: {first_line(error)}",
                file=path,
                fix="check that the file is whole, and of the kind that its name says",
            )
        ) from None


# --- Parquet, JSON Lines ----------------------------------------------------------------------


def read_parquet(path: Path, columns: Pick | None) -> pl.DataFrame:
    """A Parquet file; columns that are not asked for are not read."""
    lazy = pl.scan_parquet(path, glob=False)
    if columns is not None:
        lazy = lazy.select(columns(lazy.collect_schema().names()))
    return pl.DataFrame([decoded(column) for column in lazy.collect()])


def decoded(column: pl.Series) -> pl.Series:
    """Bytes as text, where they are text: some writers do not say so in the file."""
    if column.dtype != pl.Binary:
        return column
    try:
        return column.cast(pl.String)
    except pl.exceptions.ComputeError:
        return column


def read_json_lines(path: Path, columns: Pick | None) -> pl.DataFrame:
    """A file with a JSON object a line; types are found from all lines."""
    head = refuse_foreign(path)
    marked = head.startswith(BOM_UTF8)
    try:
        frame = pl.read_ndjson(
            path.read_bytes().removeprefix(BOM_UTF8) if marked else path, infer_schema_length=None
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(broken_json(path, first_line(error))) from None
    return frame if columns is None else frame.select(columns(frame.columns))


def broken_json(path: Path, reason: str) -> str:
    """The words on a file that is no JSON Lines: the first line that is no object."""
    blank = True
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                blank = blank and not line.strip()
                if not is_object(line):
                    return explain(
                        f"line {number} is no JSON object",
                        file=path,
                        value=line.rstrip("\n"),
                        fix='write one object a line, such as {"user_id": "u1", "item_id": "i1"}',
                    )
    except UnicodeDecodeError:
        return not_utf8(path)
    if blank:
        return explain("has no rows", file=path, fix="name a table with data")
    return explain(f"cannot be read as JSON Lines: {reason}", file=path)


def is_object(line: str) -> bool:
    """Whether a line of text is a JSON object, or blank."""
    try:
        return not line.strip() or isinstance(json.loads(line), dict)
    except json.JSONDecodeError:
        return False


# --- CSV --------------------------------------------------------------------------------------


def read_csv(path: Path, separator: str, columns: Pick | None) -> pl.DataFrame:
    """A CSV file, every cell as text: what a column holds is told when all of it is there."""
    refuse_foreign(path)
    check_header(path, separator)
    try:
        text = pl.read_csv(path, separator=separator, infer_schema=False)
    except pl.exceptions.NoDataError:
        raise DataError(
            explain("is empty", file=path, fix="name a file with a header and rows")
        ) from None
    except pl.exceptions.PolarsError as error:
        raise DataError(broken_csv(path, separator, first_line(error))) from None
    text = text if columns is None else text.select(columns(text.columns))
    return text.with_columns(pl.all().replace("", None))


def check_header(path: Path, separator: str) -> None:
    """Whether the first line has names, each once, and was cut at the right separator."""
    try:
        rows = list(islice(csv_rows(path, separator), 20))
    except UnicodeDecodeError:
        raise DataError(not_utf8(path)) from None
    except csv.Error:
        return  # the reader will say what is wrong, or knows better
    if not rows:
        return
    if len(rows[0]) == 1:
        refuse_separator(path, [row[0] for row in rows if row])
    twice = [name for name, count in Counter(rows[0]).items() if count > 1]
    if twice:
        raise DataError(
            explain(
                f"its header names {shorten(twice[0])} {rows[0].count(twice[0])} times",
                file=path,
                fix="give each column a name of its own",
            )
        )


def refuse_separator(path: Path, cells: list[str]) -> None:
    """A single column whose header, or each of whose rows, holds another separator."""
    for other, (name, spelled) in SEPARATORS.items():
        in_header = other in cells[0]
        if in_header or (len(cells) > 1 and all(other in cell for cell in cells[1:])):
            raise DataError(
                explain(
                    f"has a single column, and its {'header' if in_header else 'rows'} "
                    f"hold{'s' if in_header else ''} {name}",
                    file=path,
                    value=cells[0] if in_header else cells[1],
                    fix=f"set data.separator = {spelled}",
                )
            )


def broken_csv(path: Path, separator: str, reason: str) -> str:
    """The words on a CSV file that cannot be read: the first row that does not fit its header."""
    try:
        rows = csv_rows(path, separator)
        width = len(next(rows, []))
        for number, row in enumerate(rows, start=1):
            if len(row) > width:
                return explain(
                    f"has {len(row)} cells where the header has {width}",
                    file=path,
                    row=number,
                    value=separator.join(row),
                    fix="put quotes around cells that hold the separator",
                )
    except UnicodeDecodeError:
        return not_utf8(path)
    except csv.Error as error:
        reason = str(error)
    return explain(
        f"cannot be read as CSV: {reason}",
        file=path,
        fix="look for a quote that is opened and not closed",
    )


def not_utf8(path: Path) -> str:
    """The words on text in another encoding."""
    return explain("is not UTF-8 text", file=path, fix="save the file in the encoding UTF-8")


def csv_rows(path: Path, separator: str) -> Iterator[list[str]]:
    """The rows of a CSV file, its header first; slow, for telling what is wrong."""
    with path.open(encoding="utf-8-sig", newline="", errors="strict") as file:
        yield from (row for row in csv.reader(file, delimiter=separator) if row)


def refuse_foreign(path: Path) -> bytes:
    """A file that is of another kind than its name says, or no text at all; else its start."""
    with path.open("rb") as file:
        head = file.read(65_536)
    found = next((kind for start, kind in FOREIGN.items() if head.startswith(start)), None)
    if found is None and b"\0" in head:
        found = "a binary file"
    if found is not None:
        raise DataError(
            explain(
                f"is {found}, not {kind_of(path)} in UTF-8",
                file=path,
                fix="name the file by what it is, or unpack or convert it",
            )
        )
    return head


def first_line(error: object) -> str:
    """The first line of another library's message."""
    return str(error).strip().partition("\n")[0].rstrip(".")
