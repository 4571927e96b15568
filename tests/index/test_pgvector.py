"""Vectors in a real PostgreSQL keep the contract; tables come and go as a whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contracts.index_contract import IndexContract
from tests.postgresql import running_server
from twotower.config import IndexConfig
from twotower.index.database_index import URI_VARIABLE
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
