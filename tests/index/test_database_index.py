"""What holds for vector databases beyond the contract of indexes: each is filled once and as a
whole, can be lost, and names no password."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import sqlalchemy as sa

from tests.contracts.index_contract import ITEMS, NUMS, QUERIES, oracle, recall
from tests.postgresql import running_server
from twotower.config import IndexConfig
from twotower.data.readers.databases import parse_address
from twotower.errors import (
    ConfigError,
    DataError,
    VectorDatabaseAwayError,
    VectorDatabaseError,
    without_password,
)
from twotower.index import build_index, database_index, load_index, open_database
from twotower.index.database_index import SEARCH_SECONDS, URI_VARIABLE, DatabaseIndex, address
from twotower.index.exact import ExactIndex
from twotower.index.pgvector import _engine

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


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def processes_of(server: Any) -> list[psutil.Process]:
    parent = psutil.Process(server.get_pid())
    return [parent, *parent.children(recursive=True)]


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


def test_while_a_table_is_missing_the_bundles_vectors_are_compared(
    config: IndexConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_index, "RETRY_SECONDS", 0.3)
    index = build_index(config, ITEMS[:50], NUMS[:50])
    assert isinstance(index, DatabaseIndex)
    open_database(config).drop(index.table)
    found = index.search(QUERIES, 3)
    assert np.array_equal(found.item_nums, oracle(QUERIES, 3, items=ITEMS[:50], nums=NUMS[:50])[1])
    assert "the vector database cannot be used: " in index.problem
    # It is filled again without anybody asking for it.
    until(lambda: index.problem == "")
    assert tables(config) == [index.table]


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
        for process in processes_of(server):
            process.suspend()
        # 64 queries have one deadline together.
        batch = np.tile(QUERIES, (64 // len(QUERIES) + 1, 1))[:64]
        start = time.monotonic()
        assert (index.search(batch, 3).item_nums >= 0).all()
        assert time.monotonic() - start < SEARCH_SECONDS + 1
        assert "the vector database cannot be used: " in index.problem
        start = time.monotonic()
        assert recall(index.search(QUERIES, 3), expected) == 1
        assert time.monotonic() - start < 0.5
        for process in processes_of(server):
            process.resume()
        until(lambda: index.problem == "")
        assert recall(index.search(QUERIES, 3), expected) >= 0.95
        assert index.problem == ""
    assert recall(index.search(QUERIES, 3), expected) == 1
    assert index.problem
    close(config)


def test_a_batch_of_the_service_is_one_statement() -> None:
    with running_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv(URI_VARIABLE, server.get_uri())
        config = IndexConfig(kind="pgvector")
        index = build_index(config, ITEMS[:1500], NUMS[:1500])
        index.search(QUERIES[:1], 3)
        statements: list[str] = []
        engine = _engine(parse_address(server.get_uri()))
        sa.event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
        batch = np.tile(QUERIES, (2, 1))[:64]
        found = index.search(batch, 3)
        assert len([text for text in statements if "<#>" in text]) == 1
        assert np.array_equal(found.item_nums[:5], index.search(batch[:5], 3).item_nums)
        close(config)


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_is_loaded_while_its_database_is_away(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it fills the database when that is there at last."""
    monkeypatch.setattr(database_index, "RETRY_SECONDS", 0.3)
    config = IndexConfig.model_validate({"kind": kind})
    ExactIndex(ITEMS[:1500], NUMS[:1500]).save(tmp_path)
    away = {
        "pgvector": "postgresql://postgres:geheim@127.0.0.1:1/db",
        "milvus": "http://root:geheim@127.0.0.1:1",
    }
    monkeypatch.setenv(URI_VARIABLE, away[kind])
    expected = oracle(QUERIES, 3, items=ITEMS[:1500], nums=NUMS[:1500])
    loaded = load_index(kind, tmp_path, config)
    assert isinstance(loaded, DatabaseIndex)
    assert recall(loaded.search(QUERIES, 3), expected) == 1
    assert "the vector database cannot be used: " in loaded.problem
    assert "geheim" not in loaded.problem
    with pytest.raises(VectorDatabaseAwayError):
        build_index(config, ITEMS[:1500], NUMS[:1500])


def test_a_database_that_starts_later_is_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_index, "RETRY_SECONDS", 0.3)
    config = IndexConfig(kind="pgvector")
    ExactIndex(ITEMS[:1500], NUMS[:1500]).save(tmp_path)
    expected = oracle(QUERIES, 3, items=ITEMS[:1500], nums=NUMS[:1500])
    with running_server() as server:
        uri = server.get_uri()
        monkeypatch.setenv(URI_VARIABLE, uri)
        place = Path(uri.partition("host=")[2]) / ".s.PGSQL.5432"
        hidden = place.with_name("hidden")
        place.rename(hidden)
        loaded = load_index("pgvector", tmp_path, config)
        assert isinstance(loaded, DatabaseIndex)
        assert "No such file or directory" in loaded.problem
        assert recall(loaded.search(QUERIES, 3), expected) == 1
        hidden.rename(place)
        until(lambda: loaded.problem == "")
        assert tables(config) == [loaded.table]
        assert recall(loaded.search(QUERIES, 3), expected) >= 0.95
        close(config)


def test_nobody_waits_for_the_database_of_an_index_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_index, "RETRY_SECONDS", 0.1)
    monkeypatch.setenv(URI_VARIABLE, "postgresql://postgres@127.0.0.1:1/db")
    ExactIndex(ITEMS[:50], NUMS[:50]).save(tmp_path)
    before = set(threading.enumerate())
    loaded = load_index("pgvector", tmp_path, IndexConfig(kind="pgvector"))
    (waiting,) = (one for one in threading.enumerate() if one not in before)
    time.sleep(0.3)
    assert waiting.is_alive()
    del loaded
    gc.collect()  # the error of the failed attempt holds it
    waiting.join(5)
    assert not waiting.is_alive()


def test_what_is_wrong_with_an_address_is_an_error_when_a_bundle_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = IndexConfig(kind="pgvector")
    ExactIndex(ITEMS[:50], NUMS[:50]).save(tmp_path)
    with running_server() as server:
        server.psql("CREATE ROLE ann LOGIN PASSWORD 'x'; CREATE ROLE bob LOGIN PASSWORD 'geheim';")
        uri = server.get_uri().replace("postgresql+psycopg://", "postgresql://")
        monkeypatch.setenv(URI_VARIABLE, uri)
        load_index("pgvector", tmp_path, config)
        (table,) = tables(config)
        for login, database, problem in [
            ("ann:geheim", "postgres", "password authentication failed"),
            ("ann", "postgres", "no password supplied"),
            ("postgres", "nowhere", 'database "nowhere" does not exist'),
            ("bob:geheim", "postgres", "permission denied"),
        ]:
            wrong = uri.replace("postgres:@/postgres", f"{login}@/{database}")
            monkeypatch.setenv(URI_VARIABLE, wrong)
            with pytest.raises(VectorDatabaseError, match=problem) as raised:
                load_index("pgvector", tmp_path, config)
            assert not isinstance(raised.value, VectorDatabaseAwayError)
            assert "geheim" not in str(raised.value)
        monkeypatch.setenv(URI_VARIABLE, uri)
        server.psql(f"DROP TABLE {table}; CREATE TABLE {table} (num integer, vector vector(3));")
        with pytest.raises(VectorDatabaseError, match="has vectors of 3 numbers, and the bundle"):
            load_index("pgvector", tmp_path, config)
        close(config)


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://u:geheim@host/db",
        "postgresql://u%40x:ge%3Aheim@host/db",
        "postgresql://u@host/db?password=geheim",
        "postgresql://u@host/db?sslmode=require&sslpassword=geheim&application_name=x",
        "postgresql://u@/db?host=/run/postgresql&password=geheim",
        "http://u:geheim@host:19530",
        "http://host:19530?token=geheim",
    ],
)
def test_an_address_from_a_bundle_asks_for_the_environment(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle keeps the address without the password, wherever it stood."""
    monkeypatch.delenv(URI_VARIABLE, raising=False)
    kept = without_password(uri)
    assert "heim" not in kept
    assert "***" in kept
    with pytest.raises(ConfigError) as raised:
        address(IndexConfig(kind="pgvector", uri=kept))
    assert str(raised.value) == (
        f"the vector database needs a password, which a bundle does not keep (found {kept!r}). "
        "Fix: set the environment variable TWOTOWER_INDEX_URI to the whole address."
    )
    assert address(IndexConfig(kind="pgvector", uri=uri)) == uri


def test_a_file_with_passwords_is_part_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URI_VARIABLE, raising=False)
    uri = "postgresql://u@host/db?passfile=/run/secrets/pgpass"
    assert without_password(uri) == uri
    assert address(IndexConfig(kind="pgvector", uri=uri)) == uri


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
    with pytest.raises(ValueError, match=r"set index\.kind to 'milvus' or 'pgvector'"):
        IndexConfig(**given)
