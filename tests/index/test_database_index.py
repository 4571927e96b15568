"""What holds for vector databases beyond the contract of indexes: each is filled once and as a
whole, can be lost, and names no password."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.contracts.index_contract import ITEMS, NUMS, QUERIES, oracle, recall
from tests.postgresql import running_server
from twotower.config import IndexConfig
from twotower.errors import ConfigError, DataError, VectorDatabaseError
from twotower.index import build_index, database_index, load_index, open_database
from twotower.index.database_index import SEARCH_SECONDS, URI_VARIABLE, DatabaseIndex

KINDS = ["pgvector", "milvus"]


@pytest.fixture(params=KINDS)
def config(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[IndexConfig]:
    made = IndexConfig(kind=request.param)
    if request.param == "milvus":
        monkeypatch.setenv(URI_VARIABLE, str(tmp_path / "vectors.db"))
        yield made
        close(made)
        return
    with running_server() as server:
        monkeypatch.setenv(URI_VARIABLE, server.get_uri())
        yield made
        close(made)


def close(config: IndexConfig) -> None:
    open_database(config).close()


def tables(config: IndexConfig) -> list[str]:
    return open_database(config).tables()


def test_versions_lie_side_by_side_and_the_same_vectors_are_stored_once(
    config: IndexConfig, tmp_path: Path
) -> None:
    first = build_index(config, ITEMS[:2000], NUMS[:2000])
    again = build_index(config, ITEMS[:2000], NUMS[:2000])
    other = build_index(config, -ITEMS[:2000], NUMS[:2000])
    assert len(tables(config)) == 2
    found = first.search(QUERIES, 5)
    assert np.array_equal(again.search(QUERIES, 5).item_nums, found.item_nums)
    assert not np.array_equal(other.search(QUERIES, 5).item_nums, found.item_nums)
    assert isinstance(other, DatabaseIndex)
    open_database(config).drop(other.table)
    assert len(tables(config)) == 1
    assert np.array_equal(first.search(QUERIES, 5).item_nums, found.item_nums)
    # A database that has lost a version is filled again from the bundle.
    first.save(tmp_path)
    assert isinstance(first, DatabaseIndex)
    open_database(config).drop(first.table)
    loaded = load_index(config.kind, tmp_path, config)
    assert tables(config) == [first.table]
    assert np.array_equal(loaded.search(QUERIES, 5).item_nums, found.item_nums)


def test_while_a_table_is_missing_the_bundles_vectors_are_compared(config: IndexConfig) -> None:
    index = build_index(config, ITEMS[:50], NUMS[:50])
    assert isinstance(index, DatabaseIndex)
    open_database(config).drop(index.table)
    found = index.search(QUERIES, 3)
    assert np.array_equal(found.item_nums, oracle(QUERIES, 3, items=ITEMS[:50], nums=NUMS[:50])[1])
    assert "the vector database cannot be used: " in index.problem


def test_vectors_that_are_not_numbers_are_refused(config: IndexConfig) -> None:
    vectors = ITEMS[:20].copy()
    vectors[3, 1] = np.nan
    with pytest.raises(DataError, match="the item vectors contain NaN"):
        build_index(config, vectors, NUMS[:20])
    assert tables(config) == []


FILL = """
import numpy as np, sys
from twotower.config import IndexConfig
from twotower.index import build_index, open_database
from tests.contracts.index_contract import ITEMS, NUMS, QUERIES
config = IndexConfig(kind="pgvector")
index = build_index(config, ITEMS, NUMS)
print(index.search(QUERIES, 3).item_nums.tolist())
open_database(config).close()
"""


def test_processes_that_start_together_fill_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server() as server:
        monkeypatch.setenv(URI_VARIABLE, server.get_uri())
        started = [
            subprocess.Popen(
                [sys.executable, "-c", FILL], stdout=subprocess.PIPE, text=True, env=os.environ
            )
            for _ in range(2)
        ]
        printed = [process.communicate(timeout=120)[0] for process in started]
        assert [process.returncode for process in started] == [0, 0]
        assert printed[0] == printed[1] != ""
        config = IndexConfig(kind="pgvector")
        assert len(tables(config)) == 1
        close(config)


@pytest.mark.slow
def test_a_server_that_restarts_hangs_and_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    config = IndexConfig(kind="pgvector")
    monkeypatch.setattr(database_index, "RETRY_SECONDS", 0.5)
    with running_server() as server:
        monkeypatch.setenv(URI_VARIABLE, server.get_uri())
        index = build_index(config, ITEMS[:1500], NUMS[:1500])
        assert isinstance(index, DatabaseIndex)
        expected = oracle(QUERIES, 3, items=ITEMS[:1500], nums=NUMS[:1500])
        # Every connection is lost, as by a restart.
        server.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid();"
        )
        assert recall(index.search(QUERIES, 3), expected) >= 0.95
        assert index.problem == ""
        parent = psutil.Process(server.get_pid())
        for process in [parent, *parent.children(recursive=True)]:
            process.suspend()
        start = time.monotonic()
        assert recall(index.search(QUERIES, 3), expected) == 1
        assert time.monotonic() - start < 2 * SEARCH_SECONDS
        assert "the vector database cannot be used: " in index.problem
        start = time.monotonic()
        assert recall(index.search(QUERIES, 3), expected) == 1
        assert time.monotonic() - start < 0.5
        for process in [parent, *parent.children(recursive=True)]:
            process.resume()
        time.sleep(0.6)
        assert recall(index.search(QUERIES, 3), expected) >= 0.95
        assert index.problem == ""
    assert recall(index.search(QUERIES, 3), expected) == 1
    assert index.problem
    close(config)


@pytest.mark.parametrize(
    ("uri", "error", "problem"),
    [
        (None, ConfigError, "needs the address of the database"),
        ("sqlite:///x.db", ConfigError, "needs a PostgreSQL database"),
        ("mysql://host/db", DataError, "is not a database that can be used"),
        ("postgresql://u:***@host/db", ConfigError, "a password, which a bundle does not keep"),
        ("postgresql://u:geheim@127.0.0.1:1/db", VectorDatabaseError, "cannot be used"),
    ],
)
def test_wrong_addresses(
    monkeypatch: pytest.MonkeyPatch, uri: str | None, error: type[Exception], problem: str
) -> None:
    monkeypatch.delenv(URI_VARIABLE, raising=False)
    with pytest.raises(error, match=problem) as raised:
        build_index(IndexConfig(kind="pgvector", uri=uri), ITEMS[:10], NUMS[:10])
    assert "geheim" not in str(raised.value)


def test_an_address_without_a_database_is_refused() -> None:
    given: dict[str, Any] = {"kind": "hnsw", "uri": "postgresql://host/db"}
    with pytest.raises(ValueError, match=r"set index\.kind to 'pgvector' or 'milvus'"):
        IndexConfig(**given)
