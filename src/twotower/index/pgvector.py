"""Item vectors in PostgreSQL with pgvector: a table for each version, HNSW over it."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
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
from twotower.errors import (
    ConfigError,
    VectorDatabaseAwayError,
    VectorDatabaseError,
    explain,
)
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
MEMORY_A_VECTOR: Final = 256
MEMORY_A_LINK: Final = 32
"""Bytes beside a vector's numbers while the graph is built, and for each of `hnsw_m`: measured at
m = 16, 32 and 64. Vectors that find no room in memory take five to eight times as long each."""
MIN_BUILD_MEGABYTES: Final = 64
MAX_BUILD_MEGABYTES: Final = 2048
CONNECTIONS: Final = 2
"""That a process keeps open: one thread answers."""
ROWS_PER_COPY: Final = 10_000
"""Vectors that are sent at once."""
COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER: Final = b"\xff\xff"
"""Around the rows of a binary COPY (PostgreSQL's documentation of COPY, "Binary Format")."""
AWAY_STATES: Final = ("08", "53", "57")
"""Classes of SQLSTATE for what passes by itself: no connection, too little memory or too many
connections, a shutdown, a statement that took too long."""
AWAY_WORDS: Final = re.compile(
    "failed to resolve host|is the server running|timeout expired|timed out|closed|reset|refused|"
    "unreachable|no route to host|starting up|shutting down|not yet accepting|recovery mode|"
    "too many clients|connection slots",
    re.IGNORECASE,
)
"""Of the same while a connection is made, when there is no SQLSTATE: words of libpq and of the
server."""
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
        if not self._run(partial(self._has, table, vectors.shape[1])):
            self._run(partial(self._fill, table, vectors, nums), limited=False)

    def _has(self, table: str, width: int, connection: sa.Connection) -> bool:
        """Whether a table is there.

        Raises:
            VectorDatabaseError: its vectors have another width; somebody else has changed it.
        """
        # By the catalogue's rows: to_regclass would go by what this session has looked up before,
        # although another one has made the table meanwhile. The modifier of the type is the width.
        query = (
            "SELECT atttypmod FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
            "WHERE relname = %s AND pg_table_is_visible(attrelid) AND attname = 'vector'"
        )
        found = connection.exec_driver_sql(query, (table,)).scalar_one_or_none()
        if found not in (None, width):
            raise VectorDatabaseError(
                explain(
                    f"the table {table} has vectors of {found} numbers, and the bundle of {width}",
                    file=self._source.shown,
                    fix="drop the table: it is filled again from the bundle",
                )
            )
        return found is not None

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
            if self._has(table, width, connection):
                return
            run(f"CREATE TABLE {table} (num integer PRIMARY KEY, vector vector({width}) NOT NULL)")
            driver: Any = connection.connection.driver_connection
            with (
                driver.cursor() as cursor,
                cursor.copy(f"COPY {table} FROM STDIN WITH (FORMAT BINARY)") as copy,
            ):
                for part in copied(vectors, nums):
                    copy.write(part)
            if len(nums) >= MIN_HNSW:
                links = min(self._config.hnsw_m, 100)
                effort = min(max(self._config.ef_construction, 2 * links), 1000)
                memory = build_megabytes(len(nums), width, links)
                run(f"SET LOCAL maintenance_work_mem = '{memory}MB'")
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
        deadline = time.monotonic() + SEARCH_SECONDS if limited else None
        try:
            try:
                return self._once(call, deadline)
            except sa.exc.DBAPIError as error:
                lost = error.connection_invalidated
                if not lost or (deadline is not None and time.monotonic() > deadline):
                    raise
                return self._once(call, deadline)
        except (sa.exc.SQLAlchemyError, psycopg.Error) as error:
            raise self._failed(error) from error

    def _once(self, call: Callable[[sa.Connection], T], deadline: float | None) -> T:
        with (
            self._engine.connect() as connection,
            nullcontext() if deadline is None else _DEADLINES.until(connection, deadline),
        ):
            return call(connection)

    def _failed(self, error: Exception) -> VectorDatabaseError:
        original = getattr(error, "orig", None) or error
        kind = VectorDatabaseAwayError if is_away(original) else VectorDatabaseError
        return kind(
            explain(
                f"the vector database cannot be used: {self._source.hide(original)}",
                file=self._source.shown,
                fix="check that the server runs, the address, and the user's rights",
            )
        )


def is_away(error: BaseException) -> bool:
    """Whether an error may pass by itself: the server is not reached, starts, stops, or is too
    busy. A refused password and a missing database or right do not."""
    if isinstance(error, sa.exc.TimeoutError):
        return True
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return str(state).startswith(AWAY_STATES)
    return AWAY_WORDS.search(str(error)) is not None


def build_megabytes(count: int, width: int, links: int) -> int:
    """Memory for the graph of `count` vectors, with a fifth to spare."""
    needed = count * (4 * width + MEMORY_A_LINK * links + MEMORY_A_VECTOR) / 2**20
    return min(max(MIN_BUILD_MEGABYTES, math.ceil(1.2 * needed)), MAX_BUILD_MEGABYTES)


def copied(vectors: NDArray[np.float32], nums: NDArray[np.int64]) -> Iterator[bytes]:
    """The rows (num, vector) as a binary COPY takes them; a loop over rows would keep the other
    threads of a service waiting."""
    width = vectors.shape[1]
    row = np.dtype(
        [
            ("fields", ">i2"),
            ("num_bytes", ">i4"),
            ("num", ">i4"),
            ("vector_bytes", ">i4"),
            ("width", ">i2"),
            ("unused", ">i2"),
            ("vector", ">f4", (width,)),
        ]
    )
    yield COPY_HEADER
    for start in range(0, len(nums), ROWS_PER_COPY):
        part = slice(start, start + ROWS_PER_COPY)
        rows = np.zeros(len(nums[part]), dtype=row)
        rows["fields"], rows["num_bytes"], rows["vector_bytes"] = 2, 4, 4 + 4 * width
        rows["num"], rows["width"], rows["vector"] = nums[part], width, vectors[part]
        yield rows.tobytes()
    yield COPY_TRAILER


@cache
def _engine(source: DatabaseSource) -> sa.Engine:
    """The connections of this process to a database; all versions of a model share them."""
    engine = sa.create_engine(
        source.url,
        isolation_level="AUTOCOMMIT",
        connect_args=connect_arguments(source.url, SEARCH_SECONDS),
        pool_size=CONNECTIONS,
    )

    def prepare(connection: Any, _: object) -> None:
        # Without a lock, one of two processes that create it at the same time would fail. The lock
        # lasts as long as its transaction, so an autocommit connection needs an explicit one.
        with connection.transaction():
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
