"""Fixtures that all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright

from tests.postgresql import running_server
from twotower.config.plugins import REGISTRIES

# How long an example takes says more of what else runs on a machine than of the code.
settings.register_profile("twotower", deadline=None)
settings.load_profile("twotower")


CHROMIUM = "/usr/bin/chromium"
SHORT = tuple(f"tests/{name}/" for name in ("config", "data", "evaluation", "features", "models"))
"""Folders of files that take seconds each."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Short files last: at the end the other processes would wait for a long one."""
    items.sort(key=lambda item: item.nodeid.startswith(SHORT))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, or the one that Playwright has fetched."""
    with sync_playwright() as playwright:
        executable = CHROMIUM if Path(CHROMIUM).exists() else None
        launched = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of public research data sets; tests that need it are skipped without it."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TWOTOWER_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no research data at {folder}; set TWOTOWER_DATA to their folder")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Test processes run side by side: each on one core."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> None:
    """A shell starts a background job with Ctrl-C ignored, and what the job starts inherits that:
    programs whose interruption is tested, too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _parts_end_with_their_test() -> Iterator[None]:
    """A part that a test registers would be listed in the messages of other tests."""
    before = [set(registry.names()) for registry in REGISTRIES]
    yield
    for registry, names in zip(REGISTRIES, before, strict=True):
        for name in set(registry.names()) - names:
            registry.forget(name)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Any]:
    """A real PostgreSQL server that the tests of a session share; `.get_uri()`, `.psql(script)`."""
    with running_server() as server:
        yield server
