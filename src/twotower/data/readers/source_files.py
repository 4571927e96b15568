"""The files of a source: one file, or those of a folder and of the folders in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from twotower.data.readers.lake_tables import TITLES, kind_of_lake, kind_of_path
from twotower.errors import DataError, explain, nearest

ENDINGS: Final = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".data": "csv",
    ".dat": "csv",
    ".inter": "csv",
    ".item": "csv",
    ".user": "csv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
"""File extension -> the format it usually means. Only files with one of these are read in a
folder."""
PACKED: Final = (".gz", ".zst")
NULL_PARTITION: Final = "__HIVE_DEFAULT_PARTITION__"


def ending(path: Path) -> str:
    """The end of a name, such as `.csv` of `log.csv` and of `log.csv.gz`."""
    name = path.name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return Path(name).suffix


def is_files(source: str) -> bool:
    """Whether a source is a file or a folder of files: neither a URI nor a table of a lake."""
    return "://" not in source and kind_of_lake(source) is None


def list_files(path: Path) -> list[Path]:
    """The file itself, or the files of a folder, in the order of their names."""
    if path.is_dir():
        return list_folder(path)
    if not path.exists():
        raise DataError(missing_file(path))
    return [path]


def list_folder(path: Path) -> list[Path]:
    """The tables of a folder and of the folders in it; names that start with . or _ are passed.

    Raises:
        DataError: there are none, or a folder in it is a table of a lake: some of its files may
            hold rows that were deleted.
    """
    for inner in (folder for folder in path.rglob("*") if folder.is_dir()):
        if (kind := kind_of_path(inner)) is not None:
            raise DataError(
                explain(
                    f"the folder in it, {inner.relative_to(path)}, is {TITLES[kind]}",
                    file=path,
                    fix=f"name {inner} itself",
                )
            )
    files = sorted(
        file
        for file in path.rglob("*")
        if ending(file) in ENDINGS
        and file.is_file()
        and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    )
    if not files:
        raise DataError(
            explain(
                "this folder contains no CSV, TSV, JSON Lines or Parquet file",
                file=path,
                fix="name the folder with the files",
            )
        )
    return files


def partitions(file: Path, folder: Path) -> dict[str, str | None]:
    """The columns that the folders between `folder` and a file name, such as `day=2024-05-01`."""
    if file == folder:
        return {}
    named = [re.fullmatch("([^=]+)=(.*)", part) for part in file.relative_to(folder).parts[:-1]]
    pairs = [(found[1], unquote(found[2])) for found in named if found]
    return {name: None if value in ("", NULL_PARTITION) else value for name, value in pairs}


def missing_file(path: Path) -> str:
    """The error text for a file that is not there, with the nearest that is."""
    if not path.parent.is_dir():
        return explain(f"no such file, and no folder {str(path.parent)!r} either", file=path)
    there = [file.name for file in path.parent.iterdir()]
    return explain(f"no such file{nearest(path.name, there)}", file=path)
