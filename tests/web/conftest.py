"""Bundles that are trained once, a server for each module of tests, and windows of a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.web.browsing import DESKTOP, Windows
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


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the browser's console says of every page of a test; nothing may be said."""
    said: list[str] = []
    yield said
    assert said == []


@pytest.fixture
def windows(browser: Browser, complaints: list[str]) -> Iterator[Windows]:
    """Opens windows, each with a memory of its own; what their pages say is a complaint."""
    contexts: list[BrowserContext] = []

    def listen(page: Page) -> None:
        page.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))

    def opened(
        server: Server,
        view: str,
        *,
        scheme: str = "light",
        viewport: dict[str, int] = DESKTOP,
        **more: Any,
    ) -> Page:
        more.setdefault("reduced_motion", "reduce")
        context = browser.new_context(
            color_scheme=cast(Any, scheme), viewport=cast(Any, viewport), **more
        )
        contexts.append(context)
        context.on("page", listen)
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/#/{view}")
        return page

    yield opened
    for context in contexts:
        context.close()
