"""A real Ray cluster of two nodes on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import chdir, suppress
from threading import Thread
from typing import Any

import psutil
import pytest

STORE = 100 << 20
"""Bytes of the object store of a node."""
ATTEMPTS = 3
"""To start a node."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Each node has a working directory of its own: a relative path leads elsewhere on each."""
    from ray.cluster_utils import Cluster

    made = Cluster()
    try:
        for _ in range(2):
            with chdir(tmp_path_factory.mktemp("node")):
                add_node(made)
        yield made
    finally:
        made.shutdown()  # type: ignore[no-untyped-call]


def add_node(cluster: Any) -> Any:
    """A node with one CPU, asked for again where the machine is so busy that Ray gives up: it waits
    30 seconds for a node and 60 for the head's server, whatever it is told."""
    asked = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return cluster.add_node(**asked)
        except Exception as error:
            if "timed out" not in str(error).lower() or attempt == ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")


@pytest.fixture(scope="module")
def address(cluster: Any) -> str:
    return str(cluster.address)


class Killer(Thread):
    """Kills one process of a cluster of this process while it works on a call."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.killed = 0
        self.is_done = False
        self.start()

    def run(self) -> None:
        own = psutil.Process()
        while not self.killed and not self.is_done:
            for process in own.children(recursive=True):
                with suppress(psutil.Error):
                    if "".join(process.cmdline()).startswith("ray::Host.call"):
                        process.kill()
                        self.killed = process.pid
                        break
            time.sleep(0.01)


@pytest.fixture
def killer() -> Iterator[Killer]:
    made = Killer()
    yield made
    made.is_done = True
    made.join()
