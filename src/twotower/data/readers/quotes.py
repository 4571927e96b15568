"""Whether the quotes of a text enclose its cells, and cells whose quotes are read by hand."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.readers.file_content import Content

CONTROL: Final = "\x1f"
"""Takes the place of a separator of several characters."""
ENCLOSED: Final = r'^"((?:[^"\\]|""|\\.)*)"$'
QUOTE, LINE_FEED, RETURN = b'"\n\r'
SCAN_CHUNK_BYTES: Final = 1 << 18


def encloses(text: str | Content, separator: str) -> bool:
    """Whether every quote begins a cell, ends it, or is doubled within it (RFC 4180).

    `5'9"` and `"Odd Al" Name` are cells whose quotes do not.
    """
    content = text.encode() if isinstance(text, str) else text
    if content.find(b'"') < 0:
        return True
    codes = np.frombuffer(content, dtype=np.uint8)
    end = len(codes) - 1
    before, after = edges(separator[-1:]), edges(separator[:1])
    number = 0
    # One chunk at a time, as a chunk fits into the processor's cache.
    for start in range(0, len(codes), SCAN_CHUNK_BYTES):
        places = start + np.flatnonzero(codes[start : start + SCAN_CHUNK_BYTES] == QUOTE)
        opening, closing = places[number % 2 :: 2], places[1 - number % 2 :: 2]
        opens = before[codes[np.maximum(opening - 1, 0)]] | (opening == 0)
        closes = after[codes[np.minimum(closing + 1, end)]] | (closing == end)
        if not (opens.all() and closes.all()):
            return False
        number += len(places)
    return number % 2 == 0


def edges(separator: str) -> NDArray[np.bool_]:
    """Which bytes (256,) may precede or follow the quotes of a cell."""
    found = np.zeros(256, dtype=np.bool_)
    found[[QUOTE, LINE_FEED, RETURN, *separator.encode()]] = True
    return found


def unclosed(text: str, separator: str) -> str | None:
    """The first cell that begins with a quote and has no other, or None."""
    edge = re.escape(separator)
    found = re.search(rf'(?:^|{edge})("(?:(?!{edge})[^"\n])*)(?={edge}|$)', text, re.MULTILINE)
    return found[1] if found else None


def without_quotes(column: pl.Series) -> pl.Series:
    """Cells that are enclosed as a whole without their quotes; all others as they are."""
    if not column.str.starts_with('"').any():
        return column
    text = pl.col("text")
    inner = text.str.extract(ENCLOSED, 1).str.replace_all(r'""|\\"', '"')
    found = column.alias("text").to_frame().select(pl.coalesce(inner, text))
    return found.to_series().alias(column.name)
