"""Item vectors in PostgreSQL with pgvector: a table for each version, HNSW over it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache, partial
from typing import Any, Final, TypeVar

import numpy as np
import psycopg
import sqlalchemy as sa
from numpy.typing import NDArray
from pgvector.psycopg import register_vector

from twotower.config import IndexConfig
from twotower.data.arrays.ranked import NO_ITEM
from twotower.data.readers.databases import DatabaseSource, connect_arguments, parse_address
from twotower.data.readers.deadlines import Deadlines
from twotower.errors import ConfigError, VectorDatabaseError, explain
from twotower.index.base import SearchResult
from twotower.index.database_index import PREFIX, SEARCH_SECONDS, KeptItems

T = TypeVar("T")

MIN_HNSW: Final = 1000
"""Fewer vectors are all compared."""
MAX_WIDTH: Final = 2000
"""Numbers of a vector that pgvector indexes."""
EXACT_SEARCH_SHARE: Final = 0.1
"""A filter that keeps less than this share of the items is answered by comparing all that it keeps:
a graph walked under a filter that keeps little loses its way."""
SEARCH_EFFORT: Final = 1.25
"""Candidates kept while searching, for each item that is wanted; at most MAX_EFFORT."""
MAX_EFFORT: Final = 1000
PARAMETERS: Final = {
    "statement_timeout": f"{SEARCH_SECONDS}s",
    "hnsw.iterative_scan": "strict_order",
    "hnsw.max_scan_tuples": "1000000",
}
"""Of each session; a scan goes on until the filter has let pass as many as were asked for."""
MEMORY_A_VECTOR: Final = 400
"""Bytes beside its numbers, with neighbours, while the graph is built."""
MAX_BUILD_MEGABYTES: Final = 2048
CONNECTIONS: Final = 2
"""That a process keeps open: one thread answers."""
_DEADLINES: Final = Deadlines(SEARCH_SECONDS)


class PgVector:
    """A `VectorDatabase`; any number of threads may share it."""

    kind = "pgvector"

    def __init__(self, uri: str, config: IndexConfig) -> None:
        """Nothing is connected yet.

        Args:
            uri: `postgresql://USER:PASSWORD@HOST:PORT/DB`.
            config: the parameters of HNSW.

        Raises:
            DataError: not an address.
            ConfigError: of another database.
        """
        self._source = parse_address(uri)
        self._config = config
        if self._source.url.get_backend_name() != "postgresql":
            raise ConfigError(
                explain(
                    "index.kind 'pgvector' needs a PostgreSQL database",
                    value=self._source.shown,
                    fix="write postgresql://USER@HOST/DB",
                )
            )
        self._engine = _engine(self._source)

    def fill(self, table: str, vectors: NDArray[np.float32], nums: NDArray[np.int64]) -> None:
        """See `VectorDatabase`. In one transaction: it is there as a whole, or not at all."""
        if vectors.shape[1] > MAX_WIDTH:
            raise ConfigError(
                explain(
                    f"pgvector indexes vectors of up to {MAX_WIDTH:,} numbers",
                    value=vectors.shape[1],
                    fix="lower retriever.embedding_dim",
                )
            )
        self._run(partial(self._fill, table, vectors, nums), limited=False)

    def _fill(
        self,
        table: str,
        vectors: NDArray[np.float32],
        nums: NDArray[np.int64],
        connection: sa.Connection,
    ) -> None:
        width = vectors.shape[1]
        with connection.execution_options(isolation_level="READ COMMITTED").begin():
            run = connection.exec_driver_sql
            run("SET LOCAL statement_timeout = 0")
            # Several workers that start at the same time fill it once; the others wait.
            run("SELECT pg_advisory_xact_lock(hashtext(%s))", (table,))
            if run("SELECT to_regclass(%s)", (table,)).scalar_one() is not None:
                return
            run(f"CREATE TABLE {table} (num integer PRIMARY KEY, vector vector({width}) NOT NULL)")
            driver: Any = connection.connection.driver_connection
            with (
                driver.cursor() as cursor,
                cursor.copy(f"COPY {table} FROM STDIN WITH (FORMAT BINARY)") as copy,
            ):
                copy.set_types(["int4", "vector"])
                for num, vector in zip(nums.tolist(), vectors, strict=True):
                    copy.write_row((num, vector))
            if len(nums) >= MIN_HNSW:
                needed = len(nums) * (4 * width + MEMORY_A_VECTOR) // 2**20
                memory = min(max(64, 2 * needed), MAX_BUILD_MEGABYTES)
                run(f"SET LOCAL maintenance_work_mem = '{memory}MB'")
                links = min(self._config.hnsw_m, 100)
                effort = min(max(self._config.ef_construction, 2 * links), 1000)
                run(
                    f"CREATE INDEX ON {table} USING hnsw (vector vector_ip_ops) "
                    f"WITH (m = {links}, ef_construction = {effort})"
                )
            run(f"ANALYZE {table}")

    def search(
        self,
        table: str,
        query_vectors: NDArray[np.float32],
        k: int,
        kept: KeptItems | None,
    ) -> SearchResult:
        """See `VectorDatabase`: all queries in one statement."""
        found = self._run(partial(self._search, table, query_vectors, k, kept))
        scores = np.full((len(query_vectors), k), -np.inf, dtype=np.float32)
        nums = np.full((len(query_vectors), k), NO_ITEM, dtype=np.int64)
        if found:
            rows, items, values = (np.array(column) for column in zip(*found, strict=True))
            starts = np.searchsorted(rows, np.arange(1, len(query_vectors) + 1))
            places = np.arange(len(rows)) - starts[rows - 1]
            scores[rows - 1, places], nums[rows - 1, places] = values, items
        return SearchResult(scores, nums)

    def _search(
        self,
        table: str,
        query_vectors: NDArray[np.float32],
        k: int,
        kept: KeptItems | None,
        connection: sa.Connection,
    ) -> Sequence[sa.Row[Any]]:
        given: dict[str, Any] = {"queries": [_text(query) for query in query_vectors], "k": k}
        source, before, share = table, "", 1.0
        if kept is not None and kept.share < EXACT_SEARCH_SHARE:
            given["kept"] = kept.nums.tolist()
            before = f"kept AS MATERIALIZED (SELECT * FROM {table} WHERE num = ANY(%(kept)s)), "
            source = "kept"
        elif kept is not None:
            given["kept"] = np.packbits(kept.mask, bitorder="little").tobytes()
            source, share = f"{table} WHERE get_bit(%(kept)s::bytea, num) = 1", kept.share
        effort = max(self._config.ef_search, math.ceil(SEARCH_EFFORT * k / share))
        self._set(connection, "hnsw.ef_search", min(effort, MAX_EFFORT))
        statement = (
            f"WITH {before}asked AS (SELECT * FROM unnest(%(queries)s::vector[]) "
            "WITH ORDINALITY AS given(vector, row)) "
            "SELECT asked.row, found.num, found.score FROM asked CROSS JOIN LATERAL "
            f"(SELECT num, -(vector <#> asked.vector) AS score FROM {source} "
            "ORDER BY vector <#> asked.vector LIMIT %(k)s) AS found "
            "ORDER BY asked.row, found.score DESC, found.num"
        )
        return connection.exec_driver_sql(statement, given).all()

    def _set(self, connection: sa.Connection, name: str, value: int) -> None:
        """Set a parameter of the session, unless it has this value."""
        if connection.info.get(name) != value:
            connection.exec_driver_sql("SELECT set_config(%s, %s, false)", (name, str(value)))
            connection.info[name] = value

    def tables(self) -> list[str]:
        """See `VectorDatabase`."""
        found = self._run(lambda connection: sa.inspect(connection).get_table_names())
        return sorted(name for name in found if name.startswith(PREFIX))

    def drop(self, table: str) -> None:
        """See `VectorDatabase`."""
        self._run(lambda connection: connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}"))

    def close(self) -> None:
        """Close the connections of this process, also those of other versions; they are opened
        again when they are needed."""
        self._engine.dispose()

    def _run(self, call: Callable[[sa.Connection], T], *, limited: bool = True) -> T:
        """What a call returns; a connection that was lost meanwhile is replaced once.

        Args:
            call: gets a connection.
            limited: whether it is given up after SEARCH_SECONDS.

        Raises:
            VectorDatabaseError: the database cannot be used.
        """
        start = time.monotonic()
        try:
            try:
                return self._once(call, limited)
            except sa.exc.DBAPIError as error:
                if not error.connection_invalidated or time.monotonic() - start > SEARCH_SECONDS:
                    raise
                return self._once(call, limited)
        except (sa.exc.SQLAlchemyError, psycopg.Error) as error:
            raise self._failed(error) from error

    def _once(self, call: Callable[[sa.Connection], T], limited: bool) -> T:
        with (
            self._engine.connect() as connection,
            _DEADLINES.limit(connection) if limited else nullcontext(),
        ):
            return call(connection)

    def _failed(self, error: Exception) -> VectorDatabaseError:
        reason = self._source.hide(getattr(error, "orig", None) or error)
        return VectorDatabaseError(
            explain(
                f"the vector database cannot be used: {reason}",
                file=self._source.shown,
                fix="check that the server runs, the address, and the user's rights",
            )
        )


@cache
def _engine(source: DatabaseSource) -> sa.Engine:
    """The connections of this process to a database; all versions of a model share them."""
    engine = sa.create_engine(
        source.url,
        isolation_level="AUTOCOMMIT",
        connect_args=connect_arguments(source.url),
        pool_size=CONNECTIONS,
    )

    def prepare(connection: Any, _: object) -> None:
        # Two processes that create it at the same time would both fail.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('vector'))")
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        for name, value in PARAMETERS.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        connection.commit()
        register_vector(connection)

    sa.event.listen(engine, "connect", prepare)
    return engine


def _text(vector: NDArray[np.float32]) -> str:
    """A vector as pgvector reads it; every float32 survives."""
    return f"[{','.join(map(repr, vector.tolist()))}]"
