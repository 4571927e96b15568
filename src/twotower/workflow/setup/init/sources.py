"""The tables that `init` inspects: their formats and first rows."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from twotower.config import WITH_PATHS, FormatConfig
from twotower.data.readers.encodings import is_plain
from twotower.data.readers.format_detection import sniff, usual_separator
from twotower.data.readers.read_table import read_table
from twotower.data.readers.source_files import ENDINGS, ending, is_files, list_files
from twotower.errors import DataError, explain, without_password

ROWS: Final = 1_000_000
"""Maximum number of rows inspected."""


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
    written = unusual(Path(source)) if is_files(source) else FormatConfig()
    frame = read_table(source, format=FormatConfig(header=written.header), notes=notes)
    return Source(
        without_password(source),
        frame.head(ROWS),
        written,
        nameless=written.header is False,
        notes=notes,
    )


def unusual(path: Path) -> FormatConfig:
    """What a config says of a text file that is not written as the end of its name promises; of a
    folder only what holds for all of its files, by the first of them.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    file = list_files(path)[0]
    try:
        found = sniff(file)
    except OSError as error:
        raise DataError(explain(f"cannot be read: {error}", file=file)) from None
    kind = found.kind if found.kind != ENDINGS.get(ending(file), "csv") else None
    if found.kind != "csv":
        return FormatConfig(kind=None if path.is_dir() else kind)
    plain = found.encoding is None or is_plain(found.encoding)
    return FormatConfig(
        kind=None if path.is_dir() else kind,
        separator=None if found.separator == usual_separator(file) else found.separator,
        encoding=None if plain or path.is_dir() else found.encoding,
        # Names above the rows are found again, file by file.
        header=False if not found.header and found.column_names is None else None,
        skip_lines=found.skip_lines or None if found.column_names is None else None,
        quotes=False if found.quotes is False else None,
    )


def relative(source: str, folder: Path) -> str:
    """A source as a config in `folder` has to name it."""
    scheme, names_path, rest = source.partition(":///")
    if names_path and scheme in WITH_PATHS:
        file, mark, table = rest.partition("#")
        return f"{scheme}:///{relative(file, folder)}{mark}{table}"
    if "://" in source:
        return source
    path = Path(source).resolve()
    try:
        return Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path.as_posix()
