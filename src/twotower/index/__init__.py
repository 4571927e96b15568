"""Nearest-neighbour search over item vectors, behind one protocol."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twotower.config import VECTOR_DATABASES, IndexConfig
from twotower.errors import ConfigError, explain
from twotower.index.base import (
    SearchResult,
    StoredIndex,
    VectorIndex,
    check_finite,
    share_found,
)
from twotower.index.database_index import DatabaseIndex, VectorDatabase, address
from twotower.index.exact import ExactIndex
from twotower.index.faiss_index import FaissIndex

__all__ = [
    "ExactIndex",
    "SearchResult",
    "StoredIndex",
    "VectorIndex",
    "build_index",
    "check_database",
    "extend_index",
    "load_index",
    "recall_against_exact",
]

MAX_HNSW = 2_000_000
"""`auto` builds HNSW up to so many items: it takes minutes of all cores a million, and ten times
the memory of IVF-PQ."""


def build_index(
    config: IndexConfig,
    item_vectors: NDArray[np.float32],
    item_nums: NDArray[np.int64],
    queries: NDArray[np.float32] | None = None,
) -> StoredIndex:
    """The index that `[index]` asks for.

    Args:
        config: its kind and parameters.
        item_vectors: (N, D).
        item_nums: (N,) ascending.
        queries: (B, D) a sample of what is going to be searched for, on which `ivfpq` chooses its
            number of probes; default: some of the items.

    Raises:
        ConfigError: `pq_bytes` does not divide D.
        DataError: a vector contains NaN or infinity.
        VectorDatabaseError: the vector database cannot be used.
    """
    check_finite(item_vectors, "item")
    kind = config.kind
    if kind == "auto":
        kind = "hnsw" if len(item_nums) <= MAX_HNSW else "ivfpq"
        kind = "exact" if len(item_nums) <= config.max_exact else kind
    if kind == "exact":
        return ExactIndex(item_vectors, item_nums)
    if kind in VECTOR_DATABASES:
        return DatabaseIndex(open_database(config), ExactIndex(item_vectors, item_nums))
    width = item_vectors.shape[1]
    if kind == "ivfpq" and config.pq_bytes and width % config.pq_bytes:
        raise ConfigError(
            explain(
                f"index.pq_bytes must divide retriever.embedding_dim, which is {width}",
                value=config.pq_bytes,
                fix=f"set it to one of "
                f"{', '.join(str(n) for n in range(1, width + 1) if width % n == 0)}",
            )
        )
    return FaissIndex.build(kind, item_vectors, item_nums, config, queries)


def extend_index(
    config: IndexConfig,
    index: StoredIndex,
    item_vectors: NDArray[np.float32],
    item_nums: NDArray[np.int64],
) -> StoredIndex:
    """An index with more items. An approximate one is not built again, unless there are more new
    items than old ones; one for exact search becomes what `[index]` asks for so many items.

    Args:
        config: as in `build_index`.
        index: not changed.
        item_vectors: (M, D).
        item_nums: (M,) ascending, above those of the index.

    Raises:
        DataError: a vector contains NaN or infinity.
    """
    check_finite(item_vectors, "item")
    if not len(item_nums):
        return index
    old = len(index.item_nums)
    if isinstance(index, FaissIndex) and len(item_nums) <= old:
        return index.with_more(item_vectors, item_nums)
    return build_index(
        config,
        np.concatenate([index.vectors(), item_vectors]),
        np.concatenate([index.item_nums, item_nums]),
    )


def load_index(kind: str, folder: Path, config: IndexConfig) -> StoredIndex:
    """The index that `StoredIndex.save` wrote, `kind` being its attribute. A vector database may be
    away: until it is back, the vectors in the folder are compared.

    Raises:
        ConfigError: a vector database has no address, or one of another database.
        VectorDatabaseError: it refuses the user, the password or the vectors.
    """
    if kind == "exact":
        return ExactIndex.load(folder)
    if kind in VECTOR_DATABASES:
        return DatabaseIndex(open_database(config), ExactIndex.load(folder), may_be_away=True)
    return FaissIndex.load(kind, folder, config)


def check_database(config: IndexConfig) -> None:
    """Connect to the vector database that `[index]` names, if it does: before training, not after.

    Raises:
        ConfigError: it has no address, or one of another database.
        VectorDatabaseError: it cannot be used.
    """
    if config.kind in VECTOR_DATABASES:
        open_database(config).tables()


def open_database(config: IndexConfig) -> VectorDatabase:
    """The vector database that `[index]` names.

    Raises:
        ConfigError: no address, or a package is missing.
    """
    uri = address(config)
    try:
        if config.kind == "milvus":
            from twotower.index.milvus import Milvus  # noqa: PLC0415 - an extra

            return Milvus(uri, config)
        from twotower.index.pgvector import PgVector  # noqa: PLC0415 - an extra

        return PgVector(uri, config)
    except ModuleNotFoundError as error:
        raise ConfigError(
            explain(
                f"index.kind {config.kind!r} needs {error.name}, which is not installed",
                fix=f"pip install 'twotower[{config.kind}]'",
            )
        ) from None


def recall_against_exact(index: VectorIndex, query_vectors: NDArray[np.float32], k: int) -> float:
    """The share of the exact k nearest that the index finds, mean over queries (B, D); 1 for an
    empty index.

    Raises:
        VectorDatabaseError: a vector database did not answer.
    """
    if isinstance(index, ExactIndex) or not len(index.item_nums) or not len(query_vectors):
        return 1.0
    exact = ExactIndex(index.vectors(), index.item_nums).search(query_vectors, k).item_nums
    if isinstance(index, DatabaseIndex):
        found = index.found_by_database(query_vectors, k).item_nums
    else:
        found = index.search(query_vectors, k).item_nums
    return share_found(found, exact)
