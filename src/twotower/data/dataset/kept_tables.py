"""Tables that are larger than memory, read once and kept in a folder as long as their sources stay
as they are. See docs/decisions/0043-larger-than-memory.md."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa

from twotower._version import __version__
from twotower.atomic import disk_error, replace_folder
from twotower.config import DataConfig
from twotower.data.arrays.workspace import Workspace, block_file, blocks_of, mapped_block
from twotower.data.dataset.splits import TEST, TRAIN, VALIDATION, Parts
from twotower.data.readers.lake_tables import open_lake
from twotower.data.readers.pieces import pieces_of_large
from twotower.data.readers.source_files import list_files
from twotower.data.tables.tables import Tables, logs_of
from twotower.errors import DataError, explain

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
TABLES: Final = ("interactions", "users", "items", "test", "validation", "dislikes")
PARTS: Final = {"train": TRAIN, "validation": VALIDATION, "test": TEST}

Read = Callable[[Workspace], tuple[Tables, Parts]]


def has_large_logs(config: DataConfig, work: Workspace) -> bool:
    """Whether a table of interactions has more rows than are read into memory."""
    return any(
        pieces_of_large(source, config.format_of(name), work) is not None
        for name, source in logs_of(config).items()
    )


def kept_tables(
    config: DataConfig, folder: Path, read: Read, *, columns: Mapping[str, Any]
) -> tuple[Tables, Parts]:
    """The tables and parts that a folder keeps; read anew, and kept, where there are none or their
    sources have changed.

    Args:
        config: the `[data]` section.
        folder: replaced as a whole once everything is read.
        read: reads them.
        columns: what else decides which columns are read.

    Raises:
        DataError: a table is not right, or changed while it was read; the disk is full.
    """
    before = fingerprint(config, columns)
    found = None if before is None else load(folder, before)
    if found is not None:
        return found
    made: list[tuple[Tables, Parts]] = []

    def fill(aside: Path) -> None:
        work = Workspace(aside, max_rows=config.max_rows_in_memory)
        made.append(read(work))
        if fingerprint(config, columns) != before:
            raise DataError(
                explain(
                    "a file of it changed while it was read",
                    file=config.interactions,
                    fix="start again when nothing writes to it any more",
                )
            )
        save(work, *made[0], before)

    try:
        replace_folder(folder, fill)
    except DataError:
        raise
    except Exception as error:
        full = disk_error(error)
        if full is None:
            raise
        raise DataError(
            explain(
                f"cannot be written: {full.strerror}",
                file=folder,
                fix="make room, or name an output on another disk; what was there is unchanged",
            )
        ) from error
    return made[0]


def fingerprint(config: DataConfig, columns: Mapping[str, Any]) -> str | None:
    """A digest of the names, sizes and times of all source files, of the versions of tables of a
    lake, and of the config that they are read by; None where a source is a database, which tells
    nothing of it."""
    sources = [
        *logs_of(config).values(),
        *(s for s in (config.users, config.items, config.exclude_users) if s is not None),
        *(file for files in columns.get("vectors", {}).values() for file in files.values()),
    ]
    tables = {source: table for source in sources if (table := open_lake(source)) is not None}
    others = [source for source in sources if source not in tables]
    if any("://" in source for source in others):
        return None
    files = [file for source in others for file in list_files(Path(source))]
    if config.exported is not None:
        files += sorted(Path(config.exported).glob("*"))
    seen = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    document = {
        "format": FORMAT,
        "version": __version__,
        "config": config.model_dump(mode="json"),
        "columns": dict(columns),
        "files": seen,
        "tables": [(table.pinned, table.identity) for table in tables.values()],
    }
    text = json.dumps(document, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def save(work: Workspace, tables: Tables, parts: Parts, made_of: str | None) -> None:
    """Write what is not in the workspace's folder yet, and the manifest."""
    frames = {name: getattr(tables, name) for name in TABLES}
    frames |= {name: getattr(parts, part) for part, name in PARTS.items()}
    for name, frame in frames.items():
        if frame is None or (work.folder / block_file(name, 0)).exists():
            continue
        work.kept(blocks_of(frame), name)
        if not len(frame):
            frame.write_ipc(work.folder / block_file(name, 0))
    document = {
        "made_of": made_of,
        "files": {file.name: file.stat().st_size for file in sorted(work.folder.glob("*.arrow"))},
        "notes": tables.notes,
        "method": parts.method,
        "leak": parts.leak,
    }
    (work.folder / MANIFEST).write_text(json.dumps(document, indent=1), encoding="utf-8")


def load(folder: Path, made_of: str) -> tuple[Tables, Parts] | None:
    """What `save` wrote, mapped; None where there is nothing, it is of other sources, or a file of
    it is damaged."""
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if document["made_of"] != made_of:
            return None
        files: dict[str, int] = document["files"]
        if any((folder / name).stat().st_size != size for name, size in files.items()):
            return None
        blocks: dict[str, list[pl.DataFrame]] = {}
        for name in files:
            blocks.setdefault(name.rpartition("-")[0], []).append(mapped_block(folder / name))
        frames = {name: pl.concat(found, rechunk=False) for name, found in blocks.items()}
        tables = Tables(
            frames["interactions"],
            **{name: frames.get(name) for name in TABLES if name != "interactions"},
            notes=tuple(document["notes"]),
        )
        parts = Parts(
            **{part: frames[name] for part, name in PARTS.items()},
            method=document["method"],
            leak=document["leak"],
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None
    return tables, parts
