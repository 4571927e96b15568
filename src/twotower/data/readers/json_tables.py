"""JSON Lines, and a JSON array of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from itertools import count, islice
from pathlib import Path
from typing import Final

import polars as pl

from twotower.config import FormatConfig
from twotower.data.readers.encodings import is_plain, note_on_encoding, to_utf8
from twotower.data.readers.file_content import Content, FileHead, read_content
from twotower.data.readers.format_detection import is_object
from twotower.data.readers.unsupported_shapes import EXPECTED_SHAPE
from twotower.data.values.repeated_keys import KeyPath, RepeatedKeyError, num_colons, parse_json
from twotower.errors import DataError, explain

OBJECT_FIX: Final = 'write one object per line, such as {"user_id": "u1", "item_id": "i1"}'
BYTES_AT_ONCE: Final = 1 << 20
LINES_AT_ONCE: Final = 10_000
"""Lines that are searched for repeated keys as one document."""


def read_json(
    path: Path, head: FileHead, given: FormatConfig, found: FormatConfig, format_notes: list[str]
) -> pl.DataFrame:
    """A file with a JSON object a line, or with one array of objects; types are found from all of
    them.

    Raises:
        DataError: names the first line that is not an object or has a key twice, or what else the
            file holds.
    """
    encoding = found.encoding or "utf-8"
    if given.encoding is None and not is_plain(encoding):
        format_notes.append(note_on_encoding(read_content(path, head), encoding))
    start = head.content.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"["):
        return read_array(path, head, encoding)
    refuse_one_object(path, start, head)
    try:
        content = read_content(path, head)
        plain = is_plain(encoding) and head.packing is None and head.content[:1] == b"{"
        source: Path | bytes = path
        if not plain:
            source = content = bytes(to_utf8(content, encoding))
        frame = pl.read_ndjson(source, infer_schema_length=None)
    except UnicodeDecodeError:
        raise DataError(not_utf8(path)) from None
    except pl.exceptions.PolarsError as error:
        refuse_repeated_keys(path, content)
        raise DataError(broken_json(path, head, encoding, str(error))) from None
    if may_repeat_keys(content, frame):
        refuse_repeated_keys(path, content)
    if len(frame) == 1 and frame.width and all(dtype.is_nested() for dtype in frame.dtypes):
        raise DataError(one_object(path, start))
    return frame


def read_array(path: Path, head: FileHead, encoding: str) -> pl.DataFrame:
    """A JSON array of objects."""
    inner = head.content.lstrip(b"\xef\xbb\xbf \t\r\n")[1:].lstrip()[:1]
    if inner not in (b"{", b"]"):
        what = "arrays" if inner == b"[" else "plain values"
        fix = f"{OBJECT_FIX}, and one interaction in each"
        raise DataError(explain(f"is a JSON array of {what}, not of objects", file=path, fix=fix))
    try:
        content = bytes(to_utf8(read_content(path, head), encoding))
        frame = pl.read_json(content, infer_schema_length=None)
    except UnicodeDecodeError:
        raise DataError(not_utf8(path)) from None
    except pl.exceptions.PolarsError as error:
        raise DataError(cannot_read(path, str(error))) from None
    if may_repeat_keys(content, frame):
        try:
            parse_json(content)
        except RepeatedKeyError as error:
            raise DataError(repeated_key(path, "object", 0, error.path)) from None
    return frame


def may_repeat_keys(content: Content, frame: pl.DataFrame) -> bool:
    """Whether JSON that was read as a table may have a key twice in an object, of which one value
    was kept. It has none where each of its colons is in a cell or stands before one; to see that
    costs a fraction of reading."""
    if content.find(b"\\u003") >= 0:
        return True
    colons = sum(
        num_colons(content[start : start + BYTES_AT_ONCE])
        for start in range(0, len(content), BYTES_AT_ONCE)
    )
    for cells in frame:
        colons -= len(cells) - cells.null_count()
        if cells.dtype == pl.String:
            colons -= int(cells.str.count_matches(":", literal=True).sum())
    return colons > 0


def refuse_repeated_keys(path: Path, content: Content) -> None:
    """Refuse JSON Lines with a key twice in an object.

    Raises:
        DataError: names the first such line, and the key.
    """
    readline = BytesIO(content).readline if isinstance(content, bytes) else content.readline
    rest = iter(readline, b"")
    for before in count(step=LINES_AT_ONCE):
        lines = list(islice(rest, LINES_AT_ONCE))
        if not lines:
            return
        if found := repeated_in(lines):
            raise DataError(repeated_key(path, "line", before, found))


def repeated_in(lines: Sequence[bytes]) -> KeyPath:
    """The path of the first key that an object of some lines names twice, behind the place of its
    line; empty if none does. Lines that are not JSON are passed over."""
    with suppress(json.JSONDecodeError):
        try:
            parse_json(b"[" + b",".join(line if line.strip() else b"0" for line in lines) + b"]")
        except RepeatedKeyError as error:
            return error.path
        return ()
    for place, line in enumerate(lines):
        with suppress(json.JSONDecodeError):
            try:
                parse_json(line)
            except RepeatedKeyError as error:
                return (place, *error.path)
    return ()


def refuse_one_object(path: Path, start: bytes, head: FileHead) -> None:
    """A single object over many lines, or one that is longer than what is looked at.

    Raises:
        DataError: names its first key.
    """
    line, ended, _ = start.partition(b"\n")
    if is_object(line.decode(errors="replace").strip()) or not start.startswith(b"{"):
        return
    key = rb'\{\s*"([^"\\]|\\.)*"\s*:\s*[\[{]'
    opened = re.fullmatch(rb"\{\s*|" + key + rb".*[\[{,]\s*|" + key + rb"\s*", line)
    if not opened and (ended or head.whole):
        return  # one broken line among others
    raise DataError(one_object(path, start))


def one_object(path: Path, start: bytes) -> str:
    """The error text for a file that is one JSON object: its first list of objects, or its first
    key."""
    key = rb'"((?:[^"\\]|\\.)*)"\s*:'
    listed, first = re.search(key + rb"\s*\[\s*\{", start), re.search(key, start)
    what = "with a list of objects nested under the key" if listed else "whose first key is"
    found = listed or first
    name = found[1].decode(errors="replace") if found else ""
    return explain(
        f"is one JSON object {what} {name!r}, not a table",
        file=path,
        fix=f"{EXPECTED_SHAPE}; in JSON, one object per line",
    )


def broken_json(path: Path, head: FileHead, encoding: str, reason: str) -> str:
    """The error text for a file that is not JSON Lines: the first line that is not an object."""
    text = bytes(to_utf8(read_content(path, head), encoding)).decode(errors="surrogateescape")
    if re.search("[\udc80-\udcff]", text):
        return not_utf8(path)
    for number, line in enumerate(re.split("\r\n|\n|\r", text), start=1):
        if line.strip() and not is_object(line.strip()):
            return explain(
                f"line {number} is not a JSON object", file=path, value=line, fix=OBJECT_FIX
            )
    if not text.strip():
        return explain("has no rows", file=path, fix="name a table with data")
    return cannot_read(path, reason)


def repeated_key(path: Path, unit: str, before: int, found: KeyPath) -> str:
    """The error text for an object with a key twice, that number `found[0] + before` of all."""
    number, key = int(found[0]) + before + 1, ".".join(map(str, found[1:]))
    return explain(
        f"{unit} {number} has the key {key!r} more than once",
        file=path,
        fix="keep one of the values",
    )


def cannot_read(path: Path, reason: str) -> str:
    """The error text for JSON that another library refuses."""
    first = reason.strip().partition("\n")[0].rstrip(".")
    return explain(f"cannot be read as JSON Lines: {first}", file=path)


def not_utf8(path: Path) -> str:
    """The error text for JSON in another encoding."""
    fix = "set data.format.TABLE.encoding, or save the file in the encoding UTF-8"
    return explain("is not UTF-8 text", file=path, fix=fix)
