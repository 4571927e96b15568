"""Whether the quotes of a text enclose its cells, and cells whose quotes are read by hand."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.file_content import Content

CONTROL: Final = "\x1f"
"""Takes the place of a separator of several characters."""
ENCLOSED: Final = r'^"((?:[^"\\]|""|\\.)*)"$'
QUOTE, LINE_FEED, RETURN, BACKSLASH = b'"\n\r\\'


def encloses(text: str | Content, separator: str) -> bool:
    """Whether every quote begins a cell, ends it, or is doubled within it (RFC 4180).

    `5'9"` and `"Odd Al" Name` are cells whose quotes do not.
    """
    content = text.encode() if isinstance(text, str) else text
    if content.find(b'"') < 0:
        return True
    last = separator[-1:].encode()
    codes = np.frombuffer(content, dtype=np.uint8)
    places = np.flatnonzero(codes == QUOTE)
    if len(places) % 2:
        return False
    opening, closing = places[::2], places[1::2]
    before = codes[np.maximum(opening - 1, 0)]
    after = codes[np.minimum(closing + 1, len(codes) - 1)]
    return bool(
        (is_edge(before, last) | (opening == 0)).all()
        and (is_edge(after, separator[:1].encode()) | (closing == len(codes) - 1)).all()
    )


def is_edge(codes: NDArray[np.uint8], separator: bytes) -> NDArray[np.bool_]:
    """Which bytes may stand beside the quotes of a cell."""
    return np.isin(codes, np.array([QUOTE, LINE_FEED, RETURN, *separator], dtype=np.uint8))


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
