"""Reaching a cluster, and what is said where that cannot work."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import grpc
import psutil
import pytest

import twotower
from tests.processes import ending_with_tests
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


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("UNIMPLEMENTED", "what answers at {} is not a Ray cluster. Fix: look up its port"),
        ("UNAUTHENTICATED", "the cluster at {} asks for a token. Fix: copy ~/.ray/auth_token of"),
        ("DEADLINE_EXCEEDED", "the cluster at {} does not answer: no time. Fix: look at `ray"),
        ("UNAVAILABLE", "the cluster at {} does not answer: no time. Fix: look at `ray"),
    ],
)
def test_a_service_that_refuses_the_first_call(code: str, expected: str) -> None:
    def refuse(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode[code], "no time")
        raise AssertionError("abort raises")

    class All(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(refuse)

    server = grpc.server(ThreadPoolExecutor(1), handlers=[All()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
            with pytest.raises(ClusterError) as error, connect(address):
                pass
            assert str(error.value).startswith(expected.format(address))
    finally:
        server.stop(None)


@pytest.mark.slow
def test_a_cluster_that_asks_for_a_token(tmp_path: Path, short_path: Path) -> None:
    """Ray itself would repeat a line without an end."""
    port, token = free_port(), "1" * 32
    here = {**os.environ, "HOME": str(tmp_path)}
    there = here | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    ray = str(Path(sys.executable).with_name("ray"))
    options = ["--port", str(port), "--num-cpus", "1", "--temp-dir", str(short_path)]
    start = [ray, "start", "--head", "--block", "--include-dashboard=false", *options]
    head = subprocess.Popen(
        ending_with_tests(start), env=there, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    program = (
        "import sys\n"
        "from twotower.errors import ClusterError\n"
        "from twotower.workflow.cluster.connection import check_address\n"
        "try: check_address(sys.argv[1]); print('fine')\n"
        "except ClusterError as error: print(error)\n"
    )

    def said(environment: dict[str, str]) -> str:
        command = [sys.executable, "-c", program, f"127.0.0.1:{port}"]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=90
        ).stdout

    try:
        wait_until_it_listens(port)
        fix = (
            ". Fix: copy ~/.ray/auth_token of its machines to this one, or set RAY_AUTH_TOKEN, and "
            "set RAY_AUTH_MODE=token.\n"
        )
        name = f"the cluster at 127.0.0.1:{port}"
        assert said(here) == f"{name} asks for a token{fix}"
        another = there | {"RAY_AUTH_TOKEN": "2" * 32}
        assert said(another) == f"{name} asks for another token than the one found here{fix}"
        assert said(there) == "fine\n"
    finally:
        started = psutil.Process(head.pid)
        for process in [*started.children(recursive=True), started]:
            process.kill()
        head.wait()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for sockets, whose paths have at most 107 bytes."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def wait_until_it_listens(port: int, seconds: float = 90) -> None:
    limit = time.monotonic() + seconds
    while True:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        assert time.monotonic() < limit, "it took too long to begin"
        time.sleep(0.2)


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
