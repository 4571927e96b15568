"""Vectors in a real PostgreSQL keep the contract; tables come and go as a whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from tests.contracts.index_contract import IndexContract, clustered
from tests.postgresql import running_server
from twotower.config import IndexConfig
from twotower.data.readers.databases import parse_address
from twotower.index import build_index, pgvector
from twotower.index.database_index import URI_VARIABLE, DatabaseIndex
from twotower.index.pgvector import PgVector


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with running_server() as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def uri(server: Any) -> Iterator[str]:
    os.environ[URI_VARIABLE] = server.get_uri()
    yield server.get_uri()
    PgVector(server.get_uri(), IndexConfig(kind="pgvector")).close()
    del os.environ[URI_VARIABLE]


class TestPgVector(IndexContract):
    least_recall = 0.95

    def config(self) -> IndexConfig:
        return IndexConfig(kind="pgvector")


@pytest.mark.parametrize("links", [16, pytest.param(64, marks=pytest.mark.slow)])
def test_the_graph_fits_into_the_memory_it_is_built_in(
    uri: str, links: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit takes several times as long, and the server only mentions it."""
    monkeypatch.setattr(pgvector, "MIN_BUILD_MEGABYTES", 1)
    notices: list[str] = []
    engine = pgvector._engine(parse_address(uri))
    engine.dispose()

    def listen(connection: Any, _: object) -> None:
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))

    sa.event.listen(engine, "connect", listen)
    try:
        vectors = clustered(3000, seed=links)
        config = IndexConfig(kind="pgvector", hnsw_m=links, ef_construction=16)
        build_index(config, vectors, np.arange(3000))
        assert not [text for text in notices if "no longer fits" in text]
        # Without that memory it does mention it.
        monkeypatch.setattr(pgvector, "MAX_BUILD_MEGABYTES", 1)
        build_index(config, -vectors[:2000], np.arange(2000))
        assert [text for text in notices if "no longer fits" in text]
    finally:
        sa.event.remove(engine, "connect", listen)
        engine.dispose()


def test_what_is_copied_comes_back_as_it_was(uri: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 7)).astype(np.float32)
    nums = np.arange(300, dtype=np.int64) * 7_000_000
    index = build_index(IndexConfig(kind="pgvector"), vectors, nums)
    assert isinstance(index, DatabaseIndex)
    with pgvector._engine(parse_address(uri)).connect() as connection:
        rows = connection.exec_driver_sql(f"SELECT num, vector FROM {index.table} ORDER BY num")
        found = rows.all()
    assert [num for num, _ in found] == nums.tolist()
    assert np.array_equal(np.array([vector.to_list() for _, vector in found], np.float32), vectors)


def test_connections_that_are_made_together_create_the_extension_once(uri: str) -> None:
    address = parse_address(uri)
    own = sa.create_engine(address.url, isolation_level="AUTOCOMMIT")
    try:
        for attempt in range(5):
            with own.connect() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE together_{attempt}")
            source = replace(address, url=address.url.set(database=f"together_{attempt}"))
            engines = [pgvector._engine.__wrapped__(source) for _ in range(8)]
            with ThreadPoolExecutor(len(engines)) as threads:
                for connection in threads.map(lambda engine: engine.connect(), engines):
                    connection.close()
            for engine in engines:
                engine.dispose()
    finally:
        own.dispose()
