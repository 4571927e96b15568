"""Reaching a cluster, and what is said where that cannot work."""

from __future__ import annotations

import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import twotower
from tests.workflow.conftest import add_node
from twotower.errors import ClusterError
from twotower.workflow.cluster import connection
from twotower.workflow.cluster.connection import Cluster, connect, import_ray


def test_the_nodes_of_a_cluster(address: str) -> None:
    with connect(address) as cluster:
        assert cluster.address == address
        assert cluster.cpus == (1, 1)
        assert cluster.num_gpus == 0
        assert cluster.on_each(lambda: 7) == [7, 7]
    assert not import_ray().is_initialized()


def test_shares_of_the_cpus() -> None:
    cluster = Cluster("auto", (8, 4, 4), 0, ("a", "b", "c"))
    shares = {1: 8, 2: 4, 3: 4, 4: 4, 5: 2, 8: 2, 9: 1, 16: 1}
    assert {jobs: cluster.share_of(jobs) for jobs in shares} == shares
    with pytest.raises(ClusterError) as error:
        cluster.share_of(17)
    assert str(error.value) == (
        "the cluster at auto has 16 CPUs, and each job needs one (found 17). "
        "Fix: ask for at most 16 jobs."
    )


@pytest.mark.parametrize("address", ["", "host", "host:port", "http://host:80/", "ray://host"])
def test_what_is_not_an_address(address: str) -> None:
    with pytest.raises(ClusterError, match="is not the address of a Ray cluster"), connect(address):
        pass


def test_an_address_where_nothing_listens() -> None:
    for address in ("127.0.0.1:9", "ray://127.0.0.1:9"):
        with pytest.raises(ClusterError) as error, connect(address):
            pass
        assert str(error.value) == (
            f"nothing answers at {address}: [Errno 111] Connection refused. Fix: check the "
            "address, and that `ray status` on that machine shows the cluster; ports are 6379 for "
            "HOST:PORT and 10001 for ray:// unless they were changed."
        )


@pytest.mark.slow
def test_an_address_where_something_else_listens() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for address in (f"127.0.0.1:{server.server_port}", f"ray://127.0.0.1:{server.server_port}"):
            with pytest.raises(ClusterError) as error, connect(address):
                pass
            assert str(error.value) == (
                f"what answers at {address} is not a Ray cluster. Fix: look up its port: 6379 for "
                "HOST:PORT and 10001 for ray:// unless they were changed; the dashboard's is "
                "another."
            )
        server.shutdown()


def test_nodes_with_another_version(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "__version__", "0.0.1")
    with pytest.raises(ClusterError) as error, connect(address):
        pass
    assert f"has twotower {twotower.__version__}, and this is twotower 0.0.1" in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"_version.py": '__version__ = "0.0.1"\n'}, "has twotower 0.0.1"),
        ({}, "has no twotower"),
    ],
)
def test_a_node_with_another_package(
    files: dict[str, str],
    found: str,
    cluster: Any,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = tmp_path / "twotower"
    package.mkdir()
    for name, text in ({"__init__.py": ""} | files).items():
        (package / name).write_text(text)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        node = add_node(cluster)
    try:
        with pytest.raises(ClusterError) as error, connect(address):
            pass
        assert f"{found}, and this is twotower {twotower.__version__}" in str(error.value)
    finally:
        cluster.remove_node(node)
        cluster.wait_for_nodes()


def test_without_ray() -> None:
    program = (
        "import sys; sys.modules['ray'] = None\n"
        "from twotower.errors import ClusterError\n"
        "from twotower.workflow.cluster.connection import connect\n"
        "try: connect('auto').__enter__()\n"
        "except ClusterError as error: print(error)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.stdout == (
        "running on a cluster needs the package ray, which is not installed. "
        "Fix: pip install 'twotower[ray]'.\n"
    ), ended.stderr
