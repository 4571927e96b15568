"""The encoding of a text file: recognised, and turned into UTF-8."""

from __future__ import annotations

import codecs
import re
from typing import Final

from twotower.data.readers.file_content import Content, FileHead

MARKS: Final = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte-order marks -> their encoding."""
DECODING_CHUNK_BYTES: Final = 1 << 22


def encoding_of(head: FileHead) -> str:
    """The encoding of the beginning of a file: by its byte-order mark, else UTF-8 if it is valid,
    else a single-byte encoding."""
    for mark, encoding in MARKS.items():
        if head.content.startswith(mark):
            return encoding
    if is_utf8(head.content, whole=head.whole):
        return "utf-8"
    return single_byte(head.content)


def single_byte(content: Content) -> str:
    """cp1252, the most frequent encoding besides UTF-8; Latin-1 if there are bytes it lacks."""
    return "latin-1" if re.search(rb"[\x81\x8d\x8f\x90\x9d]", content) else "cp1252"


def is_utf8(content: Content, *, whole: bool = True) -> bool:
    """Whether bytes are UTF-8; the last character may be cut off where they are not the whole."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(content), DECODING_CHUNK_BYTES):
            last = start + DECODING_CHUNK_BYTES >= len(content)
            decoder.decode(content[start : start + DECODING_CHUNK_BYTES], final=whole and last)
    except UnicodeDecodeError:
        return False
    return True


def is_wide(encoding: str) -> bool:
    """Whether text in this encoding has more than one byte for each character."""
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def is_plain(encoding: str) -> bool:
    """Whether text in this encoding is UTF-8 already."""
    return codecs.lookup(encoding).name in ("utf-8", "ascii", "utf-8-sig")


def to_utf8(content: Content, encoding: str) -> Content:
    """The same text in UTF-8, without a byte-order mark.

    Raises:
        UnicodeDecodeError: it is not in this encoding.
    """
    if is_plain(encoding):
        return content[3:] if content[:3] == codecs.BOM_UTF8 else content
    return bytes(content).decode(encoding).removeprefix("\ufeff").encode()


def note_on_encoding(content: Content, encoding: str) -> str:
    """A clause on text in an encoding other than UTF-8, with a word as an example."""
    found = re.search(rb"[\x80-\xff]", content)
    if found is None or is_wide(encoding):
        return f"it is read as {encoding}"
    before = re.split(rb"[^\w\x80-\xff]", content[max(found.start() - 16, 0) : found.start()])[-1]
    after = re.split(rb"[^\w\x80-\xff]", content[found.start() : found.start() + 16])[0]
    word = (before + after).decode(encoding, errors="replace")
    return f"it is read as {encoding}, as in {word!r} (else set data.format.TABLE.encoding)"
