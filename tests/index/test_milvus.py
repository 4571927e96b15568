"""Vectors in Milvus, embedded in the process, keep the contract."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import grpc
import numpy as np
import pytest

from tests.contracts.index_contract import ITEMS, NUMS, IndexContract
from twotower.config import IndexConfig
from twotower.errors import VectorDatabaseAwayError
from twotower.index.database_index import URI_VARIABLE

pymilvus = pytest.importorskip("pymilvus")


@pytest.fixture(scope="module", autouse=True)
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    from twotower.index.milvus import Milvus

    file = tmp_path_factory.mktemp("milvus") / "vectors.db"
    os.environ[URI_VARIABLE] = str(file)
    yield file
    Milvus(str(file), IndexConfig(kind="milvus")).close()
    del os.environ[URI_VARIABLE]


class TestMilvus(IndexContract):
    least_recall = 0.95

    def config(self) -> IndexConfig:
        return IndexConfig(kind="milvus")


def test_the_graph_has_the_parameters_of_the_config(tmp_path: Path) -> None:
    from twotower.index.milvus import Milvus

    config = IndexConfig(kind="milvus", hnsw_m=5, ef_construction=33)
    milvus = Milvus(str(tmp_path / "vectors.db"), config)
    milvus.fill("item_vectors_small", ITEMS[:200], NUMS[:200])
    milvus.close()
    (file,) = tmp_path.rglob("*.idx")
    index: Any = faiss.read_index(str(file))
    assert index.hnsw.nb_neighbors(1) == 5
    assert index.hnsw.efConstruction == 33


def test_a_call_that_takes_long_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pings come each second instead of every ten, as often as gRPC allows."""
    from milvus_lite.engine.collection import Collection

    from twotower.index.milvus import Milvus

    connect, insert, calls = grpc.insecure_channel, Collection.insert, []

    def hurried(target: str, options: list[tuple[str, Any]]) -> grpc.Channel:
        given = dict(options)
        given["grpc.keepalive_time_ms"] //= 10
        given["grpc.http2.max_pings_without_data"] = 0
        return connect(target, options=list(given.items()))

    def slow(collection: Any, records: list[Any], **given: Any) -> Any:
        calls.append(len(records))
        time.sleep(6)
        return insert(collection, records, **given)

    monkeypatch.setattr(grpc, "insecure_channel", hurried)
    monkeypatch.setattr(Collection, "insert", slow)
    milvus = Milvus(str(tmp_path / "vectors.db"), IndexConfig(kind="milvus"))
    milvus.fill("item_vectors_slow", ITEMS[:20], NUMS[:20])
    found = milvus.search("item_vectors_slow", ITEMS[:20], 1, None).item_nums
    milvus.close()
    assert calls == [20]
    assert np.array_equal(found[:, 0], NUMS[:20])


def test_a_search_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from milvus_lite.engine.collection import Collection

    from twotower.index import milvus

    def slow(*_: Any, **__: Any) -> list[Any]:
        time.sleep(1)
        return []

    file = tmp_path / "vectors.db"
    opened = milvus.Milvus(str(file), IndexConfig(kind="milvus"))
    opened.fill("item_vectors_slow", ITEMS[:20], NUMS[:20])
    monkeypatch.setattr(milvus, "SEARCH_SECONDS", 0.2)
    monkeypatch.setattr(Collection, "search", slow)
    with pytest.raises(VectorDatabaseAwayError) as caught:
        opened.search("item_vectors_slow", ITEMS[:1], 1, None)
    opened.close()
    assert str(caught.value) == (
        f"{file}: the vector database cannot be used: deadline exceeded. "
        "Fix: check that the server runs, and the address."
    )
