"""What is in a file, whatever its name: its first bytes, unpacked, and the whole of it."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from twotower.data.readers.claimed_sizes import check_claim

PACKINGS: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""First bytes -> PyArrow's name of the compression."""
HEAD_BYTES: Final = 1 << 18
"""Bytes from which the form of a file is recognised."""

PART_BYTES: Final = 1 << 26
"""Bytes that are unpacked at once, 64 MB."""
MOST_TIMES_PACKED: Final = 200
"""A packed file of more than 1 GB unpacked has at most so many times its size. Logs have some 10 to
30 times."""

Content = bytes | mmap.mmap


@dataclass(frozen=True)
class FileHead:
    """The beginning of a file.

    Attributes:
        content: at most `HEAD_BYTES` bytes, unpacked.
        whole: whether that is all of it.
        packing: `gzip`, `zstd` or None.
    """

    content: bytes
    whole: bool
    packing: str | None = None


def read_head(path: Path) -> FileHead:
    """The beginning of a file; a short file is read completely."""
    with path.open("rb") as file:
        first = file.read(4)
        packing = next((name for start, name in PACKINGS.items() if first.startswith(start)), None)
        if packing is None:
            content = first + file.read(HEAD_BYTES + 1 - len(first))
            return FileHead(content[:HEAD_BYTES], len(content) <= HEAD_BYTES)
    with pa.input_stream(str(path), compression=packing) as stream:
        content = stream.read(HEAD_BYTES + 1)
    return FileHead(content[:HEAD_BYTES], len(content) <= HEAD_BYTES, packing)


def read_content(path: Path, head: FileHead) -> Content:
    """All of a file, unpacked; a file that is not packed is mapped, not copied.

    Raises:
        DataError: unpacked, it would not fit into memory, or is out of proportion to the file.
    """
    if head.whole:
        return head.content
    if head.packing is not None:
        return unpacked(path, head.packing)
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def unpacked(path: Path, packing: str) -> bytes:
    """The content of a packed file, a part at a time: how long it is shows only then."""
    packed, parts, total = path.stat().st_size, [], 0
    with pa.input_stream(str(path), compression=packing) as stream:
        while part := stream.read(PART_BYTES):
            parts.append(part)
            total += len(part)
            # The parts are joined: what was read has to fit a second time.
            check_claim(total, packed, path, "takes more than", times=MOST_TIMES_PACKED)
    return b"".join(parts)
