"""The tables that `init` looks at: how each is written, and its first rows."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from twotower.config import FormatConfig
from twotower.data.readers import SEPARATORS, csv_rows, kind_of, list_files, read_table
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
    separator = None if "://" in source else separator_of(list_files(Path(source))[0])
    written = FormatConfig(separator=separator)
    frame = read_table(source, format=written, notes=notes)
    return Source(without_password(source), frame.head(ROWS), written, notes=notes)


def separator_of(file: Path) -> str | None:
    """The separator of a CSV file by its header, where it is not the usual one."""
    if kind_of(file) not in ("CSV", "TSV"):
        return None
    try:
        header = next(csv_rows(file, "\t" if kind_of(file) == "TSV" else ","), [])
    except (UnicodeDecodeError, csv.Error):
        return None  # the reader says what is wrong
    there = [separator for separator in SEPARATORS if separator in "".join(header)]
    return max(there, key=header[0].count, default=None) if len(header) == 1 else None


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
