"""Two service machines over one PostgreSQL, which has the events, the versions and the vectors."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.postgresql import running_server
from tests.processes import twotower
from tests.web.bundles import train_shop, write_shop
from tests.web.server import Server, ids
from tests.web.test_faults import until
from twotower.config import IndexConfig
from twotower.index import open_database
from twotower.index.database_index import URI_VARIABLE
from twotower.serving.answer.recommender import Recommender
from twotower.workflow.vector_tables import vector_tables

pytestmark = pytest.mark.slow

USERS = ["u00003", "u00007", "u00011"]


@pytest.fixture(scope="module")
def database() -> Iterator[Any]:
    with running_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv(URI_VARIABLE, server.get_uri())
        yield server
        open_database(IndexConfig(kind="pgvector")).close()


@pytest.fixture(scope="module")
def bundles(database: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`one` and `two`, whose vectors are in the database, and `exact`, which is `one` without."""
    folder = tmp_path_factory.mktemp("vectors")
    (folder / "shop").mkdir()
    config = write_shop(folder / "shop")
    address = database.get_uri().replace("postgres:@", "postgres:geheim@")
    stored = ("index.kind=pgvector", f"index.uri={address}")
    train_shop(config, folder / "bundles" / "one", "training.epochs=3", *stored)
    train_shop(config, folder / "bundles" / "two", "training.epochs=3", "training.seed=1", *stored)
    train_shop(config, folder / "exact", "training.epochs=3")
    for run in folder.glob("**/*.run"):
        shutil.rmtree(run)
    (folder / "bundles" / "current").write_text("one\n", encoding="utf-8")
    return folder / "bundles"


def test_a_bundle_answers_as_one_with_exact_search_and_names_no_password(bundles: Path) -> None:
    stored, exact = Recommender.load(bundles / "one"), Recommender.load(bundles.parent / "exact")
    for user in USERS:
        (one,), (other,) = stored.recommend([user], 10), exact.recommend([user], 10)
        assert [item.item_id for item in one.items] == [item.item_id for item in other.items]
        np.testing.assert_allclose(
            [item.score for item in one.items], [item.score for item in other.items], atol=1e-5
        )
    for file in bundles.glob("one/**/*"):
        assert not file.is_file() or b"geheim" not in file.read_bytes()
    config = json.loads((bundles / "one" / "config.json").read_text(encoding="utf-8"))
    assert ":***@" in config["index"]["uri"]


def test_two_machines_agree_and_one_is_killed(bundles: Path, database: Any, tmp_path: Path) -> None:
    folders = [tmp_path / name / "bundles" for name in ("a", "b")]
    for folder in folders:
        shutil.copytree(bundles, folder)
    uri = database.get_uri().replace("postgresql+psycopg://", "postgresql://")
    one, other = (Server(folder, folder.parent / "log", "--events", uri) for folder in folders)
    try:

        def agree() -> list[list[str]]:
            found = [[ids(s.recommend(user, k=20)) for user in USERS] for s in (one, other)]
            assert found[0] == found[1]
            return found[0]

        first = agree()
        one.post("/v1/events", {"user_id": USERS[0], "item_id": first[0][0], "event_type": "buy"})
        after_event = agree()
        assert first[0][0] not in after_event[0]
        new = {"item_id": "new", "columns": {"title": "a new one", "genres": "drama"}}
        other.put("/v1/items", {"items": [new]})
        assert one.get("/v1/items/new/similar")["items"]
        one.delete(f"/v1/items/{after_event[1][0]}")
        after_item = agree()
        assert after_event[1][0] not in after_item[1]
        other.post("/v1/models/two:activate", {"force": True})
        assert one.recommend(USERS[0])["model_version"] == "two"
        swapped = agree()
        assert swapped != after_item
        other.kill()
        one.post("/v1/events", {"user_id": USERS[2], "item_id": swapped[2][0], "event_type": "buy"})
        other.restart()
        assert swapped[2][0] not in agree()[2]
        one.post("/v1/models:rollback")
        assert other.recommend(USERS[0])["model_version"] == "one"
        agree()
    finally:
        one.kill()
        other.kill()


def test_while_the_vectors_are_away_the_bundle_answers_and_readyz_says_so(
    bundles: Path, tmp_path: Path
) -> None:
    server = Server(bundles / "one", tmp_path / "events.sqlite")
    try:
        before = [ids(server.recommend(user)) for user in USERS]
        assert server.get("/readyz")["problems"] == []
        found = vector_tables(bundles)
        assert sorted(found.versions.values()) == [["one"], ["two"]]
        table = next(name for name, versions in found.versions.items() if versions == ["one"])
        open_database(IndexConfig(kind="pgvector")).drop(table)
        assert [ids(server.recommend(user)) for user in USERS] == before
        assert "the vector database cannot be used" in " ".join(server.get("/readyz")["problems"])
        # The service fills the database again by itself.
        until(lambda: not server.get("/readyz")["problems"])
        assert table in open_database(IndexConfig(kind="pgvector")).tables()
        assert [ids(server.recommend(user)) for user in USERS] == before
    finally:
        server.stop()


def test_a_service_starts_while_its_vectors_are_away_and_uses_them_when_they_are_back(
    bundles: Path, database: Any, tmp_path: Path
) -> None:
    place = Path(database.get_uri().partition("host=")[2]) / ".s.PGSQL.5432"
    away = place.with_name("away")
    exact = Server(bundles.parent / "exact", tmp_path / "exact.sqlite")
    expected = [ids(exact.recommend(user)) for user in USERS]
    exact.stop()
    place.rename(away)
    try:
        server = Server(bundles / "one", tmp_path / "events.sqlite")
        try:
            assert [ids(server.recommend(user)) for user in USERS] == expected
            (problem,) = server.get("/readyz")["problems"]
            assert "the vector database cannot be used: " in problem
            away.rename(place)
            until(lambda: not server.get("/readyz")["problems"])
            assert [ids(server.recommend(user)) for user in USERS] == expected
            assert "vector_database_back" in server.log_text()
        finally:
            server.stop()
    finally:
        if away.exists():
            away.rename(place)


def test_a_service_with_a_wrong_password_does_not_start(
    bundles: Path, database: Any, tmp_path: Path
) -> None:
    database.psql("CREATE ROLE ann LOGIN PASSWORD 'x';")
    wrong = database.get_uri().replace("postgres:@", "ann:geheim@")
    environment = {**os.environ, URI_VARIABLE: wrong}
    ended = twotower("serve", bundles / "one", "--port", "0", environment=environment)
    assert ended.returncode == 3
    assert "password authentication failed for user" in ended.stderr
    assert "geheim" not in ended.stderr


def test_tables_of_deleted_versions_are_dropped(bundles: Path, tmp_path: Path) -> None:
    shutil.copytree(bundles / "one", tmp_path / "one")
    shutil.copytree(bundles / "two", tmp_path / "two")
    Recommender.load(tmp_path / "one")
    assert vector_tables(tmp_path, drop=True).dropped == []
    shutil.rmtree(tmp_path / "two")
    assert [v for v in vector_tables(tmp_path).versions.values() if not v] == [[]]
    assert len(vector_tables(tmp_path, drop=True).dropped) == 1
    assert list(vector_tables(tmp_path).versions.values()) == [["one"]]
