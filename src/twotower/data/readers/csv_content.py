"""A text file with cells between separators, as Polars reads it: UTF-8, line feeds, one character
between cells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from twotower.config import FormatConfig
from twotower.data.readers.encodings import is_utf8, single_byte, to_utf8
from twotower.data.readers.file_content import Content, FileHead, read_content
from twotower.data.readers.format_detection import BLANKS
from twotower.data.readers.quotes import CONTROL, SCAN_CHUNK_BYTES, encloses, unclosed
from twotower.errors import DataError, explain


@dataclass(frozen=True)
class Prepared:
    """A text as Polars reads it.

    Attributes:
        content: UTF-8 from the table's first line on, or the file where that is so already.
        separator: one character.
        quotes: whether quotes enclose cells.
        mixed: whether only Python's reader takes the rows apart.
        some_enclosed: whether quotes that do enclose a cell are to be removed, though others stay.
        strays: whether Python's reader does so because some quotes enclose cells and others do not.
    """

    content: Content | Path
    separator: str
    quotes: bool = True
    mixed: bool = False
    strays: bool = False
    some_enclosed: bool = False


def checked_encoding(
    path: Path, head: FileHead, given: FormatConfig, found: FormatConfig
) -> FormatConfig:
    """The format with the encoding of all of the file: its beginning may be plain ASCII."""
    content = read_content(path, head)
    if given.encoding is not None or found.encoding != "utf-8" or is_utf8(content):
        return found
    return found.model_copy(update={"encoding": single_byte(content)})


def prepare(path: Path, head: FileHead, given: FormatConfig, found: FormatConfig) -> Prepared:
    """A file as Polars reads it; one that is written as usual stays where it is.

    Raises:
        UnicodeDecodeError: it is not in the encoding that is given.
        DataError: a quote is opened and not closed.
    """
    separator, encoding = found.separator or ",", found.encoding or "utf-8"
    content = raw = read_content(path, head)
    content = to_utf8(content, encoding)
    content, mixed = with_line_feeds(content)
    if found.skip_lines:
        content = without_lines(content, found.skip_lines)
    if separator == BLANKS:
        content, separator = cut_at_blanks(bytes(content)), CONTROL
    elif len(separator.encode()) > 1:
        content = bytes(content).replace(separator.encode(), CONTROL.encode())
        separator = CONTROL
    plain = content is raw and head.packing is None
    if given.quotes is not None or encloses(content, separator):
        return Prepared(path if plain else content, separator, given.quotes is not False, mixed)
    if is_even(path, content, separator):
        return Prepared(path if plain else content, separator, quotes=False, some_enclosed=True)
    return Prepared(content, separator, mixed=True, strays=True)


def with_line_feeds(content: Content) -> tuple[Content, bool]:
    """Text whose lines end with a line feed, and whether it has single carriage returns together
    with quoted cells, in which they may be text."""
    if content.find(b"\r") < 0:
        return content, False
    if content.find(b"\n") < 0:
        return bytes(content).replace(b"\r", b"\n"), False
    if not has_lone_returns(content):
        return content, False
    if content.find(b'"') >= 0:
        return content, True
    return re.sub(rb"\r(?!\n)", b"\n", content), False


def has_lone_returns(content: Content) -> bool:
    """Whether a carriage return stands without a line feed after it."""
    start = 0
    while start < len(content):
        chunk = content[start : start + SCAN_CHUNK_BYTES]
        if chunk.endswith(b"\r"):
            chunk = content[start : start + len(chunk) + 1]
        if chunk.count(b"\r") != chunk.count(b"\r\n"):
            return True
        start += len(chunk)
    return False


def without_lines(content: Content, number: int) -> bytes:
    """The text after its first lines."""
    start = 0
    for _ in range(number):
        start = content.find(b"\n", start) + 1 or len(content)
    return bytes(content[start:])


def cut_at_blanks(content: bytes) -> bytes:
    """A separator in place of each run of blanks and tabs, none at the ends of lines."""
    content = content.replace(b"\t", b" ")
    while b"  " in content:
        content = content.replace(b"  ", b" ")
    for end in (b"\n", b"\r\n"):
        content = content.replace(b" " + end, end)
    return content.replace(b"\n ", b"\n").strip(b" ").replace(b" ", CONTROL.encode())


def is_even(path: Path, content: Content, separator: str) -> bool:
    """Whether all lines have as many separators, so that quotes need not enclose any.

    Raises:
        DataError: they have, and a cell between commas or semicolons begins with a quote that is
            not closed.
    """
    text = bytes(content).decode(errors="replace")
    if len({line.count(separator) for line in text.split("\n") if line.strip()}) > 1:
        return False
    cell = unclosed(text, separator) if separator in ",;" else None
    if cell is not None:
        raise DataError(open_quote(path, cell))
    return True


def open_quote(path: Path, cell: str) -> str:
    """The error text for a cell that begins with a quote and may hold the rest of the file."""
    return explain(
        "cannot be read as CSV: a cell begins with a quote that is never closed",
        file=path,
        value=cell,
        fix="look for a quote that is opened and not closed, or set data.format.TABLE.quotes = "
        "false",
    )
