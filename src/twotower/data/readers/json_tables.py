"""JSON Lines, and a JSON array of objects."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import polars as pl

from twotower.config import FormatConfig
from twotower.data.readers.encodings import is_plain, note_on_encoding, to_utf8
from twotower.data.readers.file_content import FileHead, read_content
from twotower.data.readers.format_detection import is_object
from twotower.data.readers.unsupported_shapes import EXPECTED_SHAPE
from twotower.errors import DataError, explain

OBJECT_FIX: Final = 'write one object per line, such as {"user_id": "u1", "item_id": "i1"}'


def read_json(
    path: Path, head: FileHead, given: FormatConfig, found: FormatConfig, format_notes: list[str]
) -> pl.DataFrame:
    """A file with a JSON object a line, or with one array of objects; types are found from all of
    them.

    Raises:
        DataError: names the first line that is not an object, or what else the file holds.
    """
    encoding = found.encoding or "utf-8"
    if given.encoding is None and not is_plain(encoding):
        format_notes.append(note_on_encoding(read_content(path, head), encoding))
    start = head.content.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"["):
        return read_array(path, head, encoding)
    refuse_one_object(path, start, head)
    try:
        plain = is_plain(encoding) and head.packing is None and head.content[:1] == b"{"
        source = path if plain else bytes(to_utf8(read_content(path, head), encoding))
        frame = pl.read_ndjson(source, infer_schema_length=None)
    except UnicodeDecodeError:
        raise DataError(not_utf8(path)) from None
    except pl.exceptions.PolarsError as error:
        raise DataError(broken_json(path, head, encoding, str(error))) from None
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
        return pl.read_json(
            bytes(to_utf8(read_content(path, head), encoding)), infer_schema_length=None
        )
    except UnicodeDecodeError:
        raise DataError(not_utf8(path)) from None
    except pl.exceptions.PolarsError as error:
        raise DataError(cannot_read(path, str(error))) from None


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


def cannot_read(path: Path, reason: str) -> str:
    """The error text for JSON that another library refuses."""
    first = reason.strip().partition("\n")[0].rstrip(".")
    return explain(f"cannot be read as JSON Lines: {first}", file=path)


def not_utf8(path: Path) -> str:
    """The error text for JSON in another encoding."""
    fix = "set data.format.TABLE.encoding, or save the file in the encoding UTF-8"
    return explain("is not UTF-8 text", file=path, fix=fix)
