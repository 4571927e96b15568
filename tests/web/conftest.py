"""Bundles that are trained once, and a server for each module of tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.web.bundles import UNTRAINED, train_shop, write_shop
from tests.web.server import Server

Serve = Callable[..., Server]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bundles: `one` and `two` are trained alike, `bad` is not trained."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "shop").mkdir()
    config = write_shop(folder / "shop")
    train_shop(config, folder / "bundles" / "one", "training.seed=0")
    train_shop(config, folder / "bundles" / "two", "training.seed=1")
    train_shop(config, folder / "bundles" / "bad", *UNTRAINED)
    for run in (folder / "bundles").glob("*.run"):
        shutil.rmtree(run)
    return folder / "bundles"


@pytest.fixture(scope="module")
def serve(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts servers on folders of their own; they are stopped when the module is done."""
    started: list[Server] = []

    def start(*options: str, active: str = "one", only: tuple[str, ...] = ()) -> Server:
        folder = tmp_path_factory.mktemp("served")
        for bundle in trained.iterdir():
            if not only or bundle.name in only:
                shutil.copytree(bundle, folder / "bundles" / bundle.name)
        (folder / "bundles" / "current").write_text(active + "\n", encoding="utf-8")
        server = Server(folder / "bundles", folder / "events.sqlite", *options)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    """One that the tests of a module share."""
    return serve()
