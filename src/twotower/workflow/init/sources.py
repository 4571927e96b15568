"""The tables that `init` looks at: how each is written, and its first rows."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from twotower.config import FormatConfig
from twotower.data.readers import read_table
from twotower.errors import without_password

ROWS: Final = 1_000_000
"""Rows that are looked at, at most."""


@dataclass
class Source:
    """A table that the user named.

    Attributes:
        source: file, folder or URI as it was named.
        frame: its first rows.
        format: what the config has to say of the file.
        nameless: whether the file has no header.
        notes: what is unusual about the file, one sentence each.
    """

    source: str
    frame: pl.DataFrame
    format: FormatConfig = field(default_factory=FormatConfig)
    nameless: bool = False
    notes: list[str] = field(default_factory=list)

    def rename(self, names: list[str]) -> None:
        """Name the columns of a file without a header."""
        self.frame = self.frame.rename(dict(zip(self.frame.columns, names, strict=True)))
        self.format = self.format.model_copy(update={"header": False, "column_names": tuple(names)})


def look(source: str) -> Source:
    """Recognise how a table is written, and read its first rows.

    Raises:
        DataError: it cannot be read; the message says as what it was recognised.
    """
    notes: list[str] = []
    frame = read_table(source)
    return Source(without_password(source), frame.head(ROWS), notes=notes)


def relative(source: str, folder: Path) -> str:
    """A source as a config in `folder` has to name it."""
    prefix, is_sqlite, rest = source.partition("sqlite:///")
    if is_sqlite and not prefix:
        file, mark, table = rest.partition("#")
        return f"sqlite:///{relative(file, folder)}{mark}{table}"
    if "://" in source:
        return source
    path = Path(source).resolve()
    try:
        return Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path.as_posix()
