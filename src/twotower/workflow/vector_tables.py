"""The tables of a vector database: which versions of a model they belong to, and which are left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from twotower.config import IndexConfig
from twotower.errors import NotFoundError, explain
from twotower.index import open_database
from twotower.index.database_index import FILE
from twotower.serving.live.versions import Pool


class VectorTables(NamedTuple):
    """The tables of item vectors.

    Attributes:
        versions: table -> the versions that it belongs to; none: it is left of a version that was
            deleted, or belongs to bundles of another folder.
        dropped: those that were removed.
    """

    versions: Mapping[str, list[str]]
    dropped: list[str]


def vector_tables(source: Path, *, drop: bool = False) -> VectorTables:
    """Look at the vector database of a folder of bundles.

    Args:
        source: a bundle, or a folder of bundles.
        drop: remove the tables that belong to no version in it.

    Raises:
        BundleError: the source is neither.
        NotFoundError: no version has its vectors in a database.
        VectorDatabaseError: the database cannot be used.
    """
    pool = Pool(source)
    named: dict[str, list[str]] = {}
    config = None
    for version in pool.names():
        file = pool.path(version) / "index" / FILE
        if file.is_file():
            table = json.loads(file.read_text(encoding="utf-8"))["table"]
            named.setdefault(table, []).append(version)
            if config is None:
                text = (pool.path(version) / "config.json").read_text(encoding="utf-8")
                config = IndexConfig.model_validate(json.loads(text)["index"])
    if config is None:
        raise NotFoundError(
            explain(
                "no version has its vectors in a database",
                file=source,
                fix="set index.kind to 'pgvector' or 'milvus', and train",
            )
        )
    database = open_database(config)
    there = database.tables()
    unused = [table for table in there if table not in named]
    if drop:
        for table in unused:
            database.drop(table)
    versions = {table: named.get(table, []) for table in sorted({*there, *named})}
    return VectorTables(versions, unused if drop else [])
