"""Recognises files that are not a table with one row per interaction, and says what they are."""

from __future__ import annotations

import ast
import json
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from twotower.config import FormatConfig
from twotower.data.readers.encodings import is_wide
from twotower.data.readers.file_content import FileHead, read_head
from twotower.data.readers.format_detection import (
    NUMBER_PATTERN,
    SEPARATORS,
    lay_out,
    looks_like_data,
    recognise,
    shape_of,
    text_of,
)
from twotower.data.readers.source_files import is_files, list_files
from twotower.errors import DataError, explain

EXPECTED_SHAPE: Final = (
    "write one row per interaction: user_id, item_id and optionally timestamp, weight"
)
MIN_MATRIX_COLUMNS: Final = 8
"""Fewest columns of a user-item matrix."""

BINARY_FORMATS: Final = {
    b"PAR1": ("a Parquet file", "set data.format.TABLE.kind = 'parquet'"),
    b"SQLite format 3": ("an SQLite database", "name one of its tables: sqlite:///FILE#TABLE"),
    b"%PDF": ("a PDF document", EXPECTED_SHAPE),
    b"\x89HDF": ("an HDF5 file", "write its table as Parquet or CSV"),
    b"\x93NUMPY": ("a NumPy array", f"{EXPECTED_SHAPE}, as CSV or Parquet"),
    b"ARROW1": ("an Arrow file", "write its table as Parquet"),
    b"FEA1": ("a Feather file", "write its table as Parquet"),
    b"BZh": ("compressed with bzip2", "decompress it, or compress it with gzip or zstd"),
    b"\xfd7zXZ": ("compressed with xz", "decompress it, or compress it with gzip or zstd"),
    b"7z\xbc\xaf": ("a 7z archive", "extract it, and name the file in it"),
    b"Rar!": ("a RAR archive", "extract it, and name the file in it"),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook", "save its sheet as CSV"),
}
"""First bytes -> the format, and the fix."""
SERIALISED_START: Final = re.compile(rb"\x80[\x02-\x05][\x00-\xff]")
KEY_VALUE_START: Final = re.compile(r"([A-Za-z][\w/.-]*):\s")
"""The start of a line that holds a key and its value."""
_DOWNLOAD: Final = f"download the file itself; {EXPECTED_SHAPE}"
_LOAD: Final = "load it into a database, and name the table there, or write that as CSV"
TEXT_FORMATS: Final = {
    "<!doctype html": ("an HTML page", _DOWNLOAD),
    "<html": ("an HTML page", _DOWNLOAD),
    "<table": ("an HTML table", "save it as CSV"),
    "<?xml": ("an XML document", _DOWNLOAD),
    "create table": ("an SQL script", _LOAD),
    "drop table": ("an SQL script", _LOAD),
    "insert into": ("an SQL script", _LOAD),
    "-- mysql dump": ("an SQL script", _LOAD),
    "--\n-- postgresql": ("an SQL script", _LOAD),
}
"""First characters in lower case -> what they begin, and what to do."""


def refuse_binary(path: Path, head: FileHead, encoding: str) -> None:
    """A file that is neither text nor Parquet.

    Raises:
        DataError: names what it is.
    """
    content = head.content
    found = next(
        (words for start, words in BINARY_FORMATS.items() if content.startswith(start)), None
    )
    if content.startswith(b"PK\x03\x04"):
        found = archive(path)
    elif SERIALISED_START.match(content):
        found = ("a Python object dump", "write its table as Parquet or CSV")
    elif content[257:262] == b"ustar":
        found = ("a tar archive", "extract it, and name the file in it")
    elif found is None and b"\0" in content and not is_wide(encoding):
        found = ("a binary file", "provide CSV, JSON Lines or Parquet")
    if found is not None:
        raise DataError(explain(f"is {found[0]}, not a table", file=path, fix=found[1]))


def archive(path: Path) -> tuple[str, str]:
    """A zip archive, or a workbook, which is one, too."""
    try:
        with zipfile.ZipFile(path) as opened:
            names = opened.namelist()
    except (zipfile.BadZipFile, OSError):
        names = []
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook", "save its sheet as CSV"
    return "a zip archive", "extract it, and name the file in it"


def refuse_text(path: Path, text: str) -> None:
    """Text that is of another kind than a table: pages, scripts, Python's dictionaries.

    Raises:
        DataError: names what it is.
    """
    start = text.lstrip()[:64].lower()
    found = next((words for mark, words in TEXT_FORMATS.items() if start.startswith(mark)), None)
    if found is not None:
        raise DataError(explain(f"is {found[0]}, not a table", file=path, fix=found[1]))
    line = next((line for line in text.split("\n") if line.strip()), "")
    if is_python(line):
        raise DataError(
            explain(
                "holds Python dictionaries, not JSON",
                file=path,
                value=line,
                fix="write JSON Lines: json.dumps(ast.literal_eval(line)) for each line, with one "
                "interaction per line: user_id, item_id and optionally timestamp, weight",
            )
        )


def is_python(line: str) -> bool:
    """Whether a line is a dictionary as Python prints it, and no JSON."""
    if not re.match(r"\{\s*u?'", line):
        return False
    try:
        return isinstance(ast.literal_eval(line), dict)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return True  # its end may be cut off


# --- rows of cells --------------------------------------------------------------------------------


def refuse_shape(path: Path, text: str, rows: Sequence[Sequence[str]], *, header: bool) -> None:
    """Lines of a user and items, and matrices without a header.

    Raises:
        DataError: names what it is.
    """
    widths = Counter(map(len, rows)).most_common(1)[0]
    uneven = widths[0] == 1 or widths[1] < 0.9 * len(rows)
    problem = blocks(text) or (user_lines(text) if uneven else None)
    if problem is None and not header and len(rows[0]) >= 2 * MIN_MATRIX_COLUMNS:
        problem = matrix(rows)
    if problem is not None:
        raise DataError(wrong_shape(path, problem, text))


def blocks(text: str) -> str | None:
    """The error text for lines of a key and its value, a block of them for each row, and on rows
    that stand under a line with their item."""
    lines = [line for line in text.split("\n", 400)[:400] if line.strip()]
    if re.fullmatch(r"\d+:", lines[0].strip()):
        return f"has a block of rows per item under a line such as {lines[0].strip()!r}"
    found = [match[1] if (match := KEY_VALUE_START.match(line)) else None for line in lines]
    keys = Counter(key for key in found if key is not None)
    if len(keys) > 1 and keys.total() > 0.8 * len(lines) and keys[found[0] or ""] > 1:
        return "has a block of lines per row, each with a key and its value (key: value)"
    return None


def user_lines(text: str) -> str | None:
    """The error text for lines of a user and any number of items, as in LightGCN's train.txt."""
    for separator in SEPARATORS:
        rows = lay_out(text, separator, FormatConfig(skip_lines=0)).rows
        widths = Counter(map(len, rows))
        if len(rows) < 3 or len(widths) < 3 or widths.most_common(1)[0][1] > 0.7 * len(rows):
            continue
        cells = [cell for row in rows for cell in row]
        shapes = Counter(map(shape_of, cells))
        alike = sum(count for shape, count in shapes.most_common(2) if "9" in shape)
        if alike >= 0.95 * len(cells):
            return "has a user and a list of its items on each line"
    return None


def matrix(rows: Sequence[Sequence[str]]) -> str | None:
    """The error text for a matrix of users by items: a column an item, numbers and gaps in its
    cells."""
    head, body = rows[0], rows[1:]
    if len(head) < MIN_MATRIX_COLUMNS or not body:
        return None
    cells = [cell.strip() for row in body for cell in row[1:]]
    if not all(not cell or NUMBER_PATTERN.fullmatch(cell) for cell in cells):
        return None
    numbered = len({shape_of(name) for name in head[1:]}) == 1 and any(map(str.isdigit, head[1]))
    gaps = sum(not cell or float(cell) == 0 for cell in cells)
    if numbered or gaps >= 0.5 * len(cells) or looks_like_data(rows):
        return f"is a user-item matrix with {len(head)} columns"
    return None


def lists(rows: Sequence[Sequence[str]], *, header: bool) -> str | None:
    """The error text for a column whose cells hold lists of ids."""
    if len(rows[0]) > 3:
        return None
    for place in range(len(rows[0])):
        cells = [row[place].strip() for row in rows[header:] if place < len(row)]
        held = [cell for cell in cells if re.fullmatch(r"\[.*\]|\w*\d\w*([ ,;|]+\w*\d\w*)+", cell)]
        if len(held) >= 0.5 * len(cells) and any(len(re.split(r"[ ,;|]+", c)) > 2 for c in held):
            return f"has lists in the cells of column {place + 1}"
    return None


def wrong_shape(path: Path, problem: str, text: str) -> str:
    """The error text for what is not one row per interaction."""
    return explain(problem, file=path, value=text.lstrip().partition("\n")[0], fix=EXPECTED_SHAPE)


# --- JSON -----------------------------------------------------------------------------------------


def nested(record: dict[str, Any]) -> str | None:
    """The error text for a JSON object that holds more than one interaction, or one within another
    object."""
    for key, value in record.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            inner = ", ".join(list(value[0])[:4])
            return f"nests a list of objects ({inner}) under the key {key!r} of each line"
    plain = [key for key, value in record.items() if not isinstance(value, list | dict)]
    for key, value in record.items() if len(plain) < 2 else ():
        if isinstance(value, list):
            return f"holds a list under the key {key!r} of each line"
        if isinstance(value, dict):
            return f"nests an object ({', '.join(list(value)[:4])}) under the key {key!r}"
    return None


def first_record(text: str) -> dict[str, Any] | None:
    """The first object of JSON Lines, or of an array of objects."""
    text = text.lstrip()
    text = text[1:].lstrip() if text.startswith("[") else text.partition("\n")[0]
    try:
        record, _ = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def refuse_nested(source: str, format: FormatConfig, keys: Sequence[Sequence[str]]) -> None:  # noqa: A002
    """JSON whose first object holds more than one interaction.

    Args:
        source: as of `read_table`.
        format: as of `read_table`.
        keys: for users and for items, the names that their key may have; an object that has both is
            not refused.

    Raises:
        DataError: names the nested key.
    """
    if not is_files(source):
        return
    path = list_files(Path(source))[0]
    head = read_head(path)
    found = recognise(path, head, format)
    record = (
        first_record(text_of(head, found.encoding or "utf-8")) if found.kind == "jsonl" else None
    )
    if record is None or all(any(name in record for name in names) for names in keys):
        return
    problem = nested(record)
    if problem is not None:
        raise DataError(explain(problem, file=path, fix=EXPECTED_SHAPE))


def wrong_interactions(source: str, format: FormatConfig) -> str | None:  # noqa: A002
    """What a source without columns of users and items is: nested JSON, a matrix, lists in cells;
    None where it is a table like any other."""
    if not is_files(source):
        return None
    path = list_files(Path(source))[0]
    head = read_head(path)
    found = recognise(path, head, format)
    if found.kind == "parquet":
        return None
    text = text_of(head, found.encoding or "utf-8")
    if found.kind == "jsonl":
        record = first_record(text)
        problem = None if record is None else nested(record)
        return problem and explain(problem, file=path, fix=EXPECTED_SHAPE)
    rows = lay_out(text, found.separator or ",", found).rows
    problem = matrix(rows) or lists(rows, header=bool(found.header))
    return problem and wrong_shape(path, problem, text)
