"""Vectors in Milvus, embedded in the process, keep the contract."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.index_contract import IndexContract
from twotower.config import IndexConfig
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
