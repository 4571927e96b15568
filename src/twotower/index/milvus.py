"""Item vectors in Milvus: a collection for each version, HNSW over it."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray
from pymilvus import DataType, MilvusClient, MilvusException

from twotower.config import IndexConfig
from twotower.data.arrays.ranked import NO_ITEM
from twotower.errors import (
    VectorDatabaseAwayError,
    VectorDatabaseError,
    explain,
    without_password,
)
from twotower.index.base import SearchResult
from twotower.index.database_index import PREFIX, SEARCH_SECONDS, KeptItems

T = TypeVar("T")

ROWS_PER_INSERT: Final = 10_000
"""Vectors in one message: 20 MB of 500 numbers; Milvus takes up to 64 MB."""
MAX_K: Final = 16_384
"""Most items that Milvus answers."""
MAX_EFFORT: Final = 32_768
"""Largest `ef` of a search."""
SEARCH_EFFORT: Final = 1.25
"""Candidates kept while searching, for each item that is wanted."""
FILL_SECONDS: Final = 3600
"""After which a step of filling is given up."""
CONNECT_SECONDS: Final = 10
"""After which connecting is given up; the server of a file starts first."""
CONNECT_FAILED: Final = 2
"""Code of pymilvus for a server that is not reached."""
NO_PINGS: Final = {"grpc.keepalive_time_ms": 2**31 - 1}
"""For a file. pymilvus pings every ten seconds, which the server of a file takes for abuse: it ends
the connection in the middle of a call that lasts minutes, as renaming waits for the graph, and
pymilvus calls again while the first call runs on."""
AWAY_CODES: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)


class Milvus:
    """A `VectorDatabase`. Any number of threads may share it; a file, which Milvus Lite opens, is
    for one process."""

    kind = "milvus"

    def __init__(self, uri: str, config: IndexConfig) -> None:
        """Nothing is connected yet.

        Args:
            uri: `http://USER:PASSWORD@HOST:19530`, or a file `NAME.db` of Milvus Lite.
            config: the parameters of HNSW.
        """
        self._uri = uri
        self._config = config

    def fill(self, table: str, vectors: NDArray[np.float32], nums: NDArray[np.int64]) -> None:
        """See `VectorDatabase`. It is filled under another name, then renamed."""
        self._run(lambda client: self._fill(client, table, vectors, nums))

    def _fill(
        self,
        client: MilvusClient,
        table: str,
        vectors: NDArray[np.float32],
        nums: NDArray[np.int64],
    ) -> None:
        if not client.has_collection(table, timeout=CONNECT_SECONDS):
            aside = f"{table}_filling_{secrets.token_hex(4)}"
            self._create(client, aside, vectors.shape[1])
            for start in range(0, len(nums), ROWS_PER_INSERT):
                part = slice(start, start + ROWS_PER_INSERT)
                rows = [
                    {"num": num, "vector": vector}
                    for num, vector in zip(nums[part].tolist(), vectors[part], strict=True)
                ]
                client.insert(aside, rows, timeout=FILL_SECONDS)
            client.flush(aside, timeout=FILL_SECONDS)
            try:
                client.rename_collection(aside, table, timeout=FILL_SECONDS)
            except MilvusException:
                client.drop_collection(aside, timeout=FILL_SECONDS)
                if not client.has_collection(table, timeout=FILL_SECONDS):
                    raise
        client.load_collection(table, timeout=FILL_SECONDS)

    def _create(self, client: MilvusClient, table: str, width: int) -> None:
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("num", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=width)
        parameters = client.prepare_index_params()
        graph = {"M": self._config.hnsw_m, "efConstruction": self._config.ef_construction}
        # pymilvus takes one level of `params` away; Milvus Lite ignores what is not in there.
        parameters.add_index(
            "vector", index_type="HNSW", metric_type="IP", params={"params": graph}
        )
        client.create_collection(
            table,
            schema=schema,
            index_params=parameters,
            consistency_level="Strong",
            timeout=FILL_SECONDS,
        )

    def search(
        self,
        table: str,
        query_vectors: NDArray[np.float32],
        k: int,
        kept: KeptItems | None,
    ) -> SearchResult:
        """See `VectorDatabase`. A filter is sent as the nums that it keeps, or that it does not if
        those are fewer."""
        limit = min(k, MAX_K)
        share, condition = 1.0, ""
        if kept is not None:
            share, condition = kept.share, f"num in {kept.nums.tolist()}"
            if share > 1 / 2:
                condition = f"num not in {np.flatnonzero(~kept.mask).tolist()}"
        effort = max(self._config.ef_search, math.ceil(SEARCH_EFFORT * limit / share))
        found = self._run(
            lambda client: client.search(
                table,
                data=list(query_vectors),
                limit=limit,
                filter=condition,
                output_fields=["num"],
                search_params={"params": {"ef": min(effort, MAX_EFFORT)}},
                timeout=SEARCH_SECONDS,
            )
        )
        scores = np.full((len(query_vectors), k), -np.inf, dtype=np.float32)
        nums = np.full((len(query_vectors), k), NO_ITEM, dtype=np.int64)
        for row, hits in enumerate(found):
            scores[row, : len(hits)] = [hit["distance"] for hit in hits]
            nums[row, : len(hits)] = [hit["num"] for hit in hits]
        return SearchResult(scores, nums)

    def tables(self) -> list[str]:
        """See `VectorDatabase`."""
        names = self._run(lambda client: client.list_collections(timeout=SEARCH_SECONDS))
        return sorted(name for name in names if name.startswith(PREFIX))

    def drop(self, table: str) -> None:
        """See `VectorDatabase`."""
        self._run(lambda client: client.drop_collection(table, timeout=SEARCH_SECONDS))

    def close(self) -> None:
        """Close the connection of this process; it is opened again when it is needed."""
        _client(self._uri).close()
        _client.cache_clear()

    def _run(self, call: Callable[[MilvusClient], T]) -> T:
        try:
            return call(_client(self._uri))
        except (MilvusException, grpc.RpcError) as error:
            kind = VectorDatabaseAwayError if is_away(error) else VectorDatabaseError
            message = getattr(error, "message", "") or error.__class__.__name__
            if isinstance(error, grpc.RpcError):
                message = error.code().name.lower().replace("_", " ")
            raise kind(
                explain(
                    f"the vector database cannot be used: {message}",
                    file=without_password(self._uri),
                    fix="check that the server runs, and the address",
                )
            ) from error


def is_away(error: MilvusException | grpc.RpcError) -> bool:
    """Whether an error may pass by itself: the server is not reached, or too busy. A refused
    password does not, although pymilvus calls it a failed connection, too."""
    for one in (error, error.__cause__):
        if isinstance(one, grpc.RpcError):
            return one.code() in AWAY_CODES
    return isinstance(error, MilvusException) and error.code in (CONNECT_FAILED, *AWAY_CODES)


@cache
def _client(uri: str) -> Any:
    options = NO_PINGS if uri.endswith(".db") else {}
    return MilvusClient(uri, timeout=CONNECT_SECONDS, grpc_options=options)
