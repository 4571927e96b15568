"""Frames and arrays larger than memory: files in a folder, mapped, so that the system keeps of them
in memory what fits."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from twotower.atomic import disk_error
from twotower.errors import DataError, explain

ZEROS: Final = 1 << 20
"""Bytes that are written at once to take room."""
BLOCK: Final = 4_000_000
"""Rows that are worked on at once, where a frame is larger than memory."""


class Workspace:
    """A folder for what is larger than memory."""

    def __init__(self, folder: Path, *, max_rows: int) -> None:
        """Use a folder.

        Args:
            folder: for the files.
            max_rows: a log with more rows is kept here; others are kept in memory.
        """
        self.folder = folder
        self.max_rows = max_rows

    def is_large(self, rows: int) -> bool:
        """Whether so many rows are kept here."""
        return rows > self.max_rows

    def sink(self, name: str | None = None) -> FrameSink:
        """Where the blocks of a new frame are put: into files `NAME-00000.arrow` and so on, or into
        files without a name, which take no place once the frame is not used any more."""
        return FrameSink(self, name)

    def kept(self, blocks: Iterable[pl.DataFrame], name: str | None = None) -> pl.DataFrame:
        """A frame of blocks, which are written one after the other."""
        sink = self.sink(name)
        for block in blocks:
            sink.add(block)
        return sink.frame()

    def array(self, length: int, dtype: Any) -> NDArray[Any]:
        """An array (length,) of zeros, in a file without a name.

        Raises:
            DataError: the disk has no room for it.
        """
        size = length * np.dtype(dtype).itemsize
        if not size:
            return np.zeros(length, dtype=dtype)
        file = self.folder / f".{uuid4().hex}"
        with reported(self.folder), file.open("w+b") as stream:
            try:
                reserve(stream.fileno(), size)
                mapped = mmap.mmap(stream.fileno(), size)
            finally:
                file.unlink()
        return np.frombuffer(mapped, dtype=dtype)


def reserve(file: int, size: int) -> None:
    """Take all of the room of a file at once: a write into a mapped file cannot say that there is
    none.

    Raises:
        OSError: there is none.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    for start in range(0, size, ZEROS):  # macOS
        os.write(file, bytes(min(ZEROS, size - start)))


class FrameSink:
    """A frame that is being written, block by block."""

    def __init__(self, work: Workspace, name: str | None) -> None:
        self.work = work
        self.name = name
        self.blocks: list[pl.DataFrame] = []
        self.empty: pl.DataFrame | None = None

    def add(self, block: pl.DataFrame) -> None:
        """Write the next rows.

        Raises:
            DataError: the disk is full.
        """
        if not len(block):
            self.empty = block
            return
        folder, name = self.work.folder, self.name
        file = folder / (f".{uuid4().hex}" if name is None else block_file(name, len(self.blocks)))
        try:
            with reported(folder):
                # An earlier frame of the name may still be mapped: it keeps its file.
                file.unlink(missing_ok=True)
                block.write_ipc(file, compression="uncompressed")
            self.blocks.append(mapped_block(file))
        finally:
            if name is None:
                file.unlink(missing_ok=True)

    def frame(self) -> pl.DataFrame:
        """All rows. A column that some blocks lack is missing there."""
        if not self.blocks:
            return pl.DataFrame() if self.empty is None else self.empty
        return pl.concat(self.blocks, how="diagonal", rechunk=False)


def block_file(name: str, place: int) -> str:
    """The name of the file of a block."""
    return f"{name}-{place:05}.arrow"


def mapped_block(file: Path) -> pl.DataFrame:
    """A block of a file, mapped."""
    reader = pa.ipc.open_file(pa.memory_map(str(file)))  # type: ignore[no-untyped-call]
    frame = pl.from_arrow(reader.read_all())
    assert isinstance(frame, pl.DataFrame)
    return frame


@contextmanager
def reported(folder: Path) -> Iterator[None]:
    """Words the error of a disk that is full, or cannot be written.

    Raises:
        DataError: names the folder.
    """
    try:
        yield
    except Exception as error:
        found = disk_error(error)
        if found is None:
            raise
        raise DataError(
            explain(
                f"cannot be written: {found.strerror}",
                file=folder,
                fix="make room, or name an output on another disk; what was there is unchanged",
            )
        ) from error


def changed(
    frame: pl.DataFrame, change: Callable[[pl.DataFrame], pl.DataFrame], work: Workspace | None
) -> pl.DataFrame:
    """A frame changed row by row: by blocks, where it is larger than memory."""
    if work is None or not work.is_large(len(frame)):
        return change(frame)
    return work.kept(map(change, blocks_of(frame)))


def blocks_of(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The rows of a frame, a block at a time; an empty frame is one block."""
    for start in range(0, max(len(frame), 1), BLOCK):
        yield frame.slice(start, BLOCK)


def distinct(column: pl.Series) -> pl.Series:
    """The different values, sorted, nulls left out."""
    starts = range(0, max(len(column), 1), BLOCK)
    # Nulls go first: wherever `unique` leaves one, what is left of it differs from run to run.
    parts = [column.slice(start, BLOCK).drop_nulls().unique() for start in starts]
    both = parts[0] if len(parts) == 1 else pl.concat(parts).unique()
    values = both.sort()
    # Text of its own, in this order, so that files of equal values have equal bytes.
    return values + "" if values.dtype == pl.String else values
