"""Faults of the machine: a database that hangs, processes that are killed, bundles half copied."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.postgresql import running_server
from tests.web.conftest import Serve
from tests.web.server import Server, free_port, ids
from twotower.serving.live.versions import Pool
from twotower.serving.live.worker import Worker
from twotower.serving.store.opening import open_store

RECOMMEND = "/v1/recommendations"


def until(found: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.05)


def codes(answer: Any) -> list[str]:
    return [warning["code"] for warning in answer["warnings"]]


class Database:
    """A PostgreSQL server that can be made to hang."""

    def __init__(self, server: Any) -> None:
        self.uri = server.get_uri().replace("postgresql+psycopg://", "postgresql://")
        self._parent = psutil.Process(server.get_pid())

    def signal(self, number: int) -> None:
        for process in [self._parent, *self._parent.children(recursive=True)]:
            process.send_signal(number)

    def hang(self) -> None:
        self.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with running_server() as server:
        yield Database(server)


def test_while_the_database_hangs_answers_come_from_memory(
    trained: Path, tmp_path: Path, database: Database
) -> None:
    server = Server(trained / "one", tmp_path / "log", "--events", database.uri, "--timeout", "8")
    try:
        event = {"user_id": "u00007", "item_id": "i00003", "event_type": "view"}
        server.post("/v1/events", event)
        before = server.recommend("u00007", k=120)
        assert codes(before) == []
        database.hang()
        start = time.monotonic()
        first = server.recommend("u00007", k=120)
        assert time.monotonic() - start < 8
        assert codes(first) == ["store_away"]
        assert ids(first) == ids(before)
        slowest = 0.0
        for number in range(20):
            for path in ("/healthz", "/readyz", RECOMMEND):
                start = time.monotonic()
                if path == RECOMMEND:
                    assert codes(server.recommend(f"u0000{number % 10}")) == ["store_away"]
                else:
                    server.get(path)
                slowest = max(slowest, time.monotonic() - start)
        assert slowest < 1
        metrics = server.client.get("/metrics").text
        assert "twotower_stale_answers_total 21.0" in metrics
        assert "twotower_ignored_columns_total{" not in metrics
        assert "the event store cannot be read" in " ".join(server.get("/readyz")["problems"])
        start = time.monotonic()
        assert server.refused("POST", "/v1/events", 503, json=event)[0] == "unavailable"
        assert time.monotonic() - start < 8
        database.go_on()
        until(lambda: codes(server.recommend("u00007")) == [])
        until(lambda: server.get("/readyz")["problems"] == [])
        server.post("/v1/events", {**event, "item_id": "i00004"})
        assert "i00004" not in ids(server.recommend("u00007", k=120))
        assert any("store_away" in line["event"] for line in server.log())
    finally:
        database.go_on()
        server.stop()


@pytest.mark.slow
def test_after_a_while_without_the_database_answers_stop(
    trained: Path, tmp_path: Path, database: Database
) -> None:
    options = ["--events", database.uri, "--timeout", "8", "--stale-seconds", "1"]
    server = Server(trained / "one", tmp_path / "log", *options)
    try:
        database.hang()
        until(lambda: server.client.post(RECOMMEND, json={}).status_code == 503)
        assert server.client.get("/readyz").status_code == 503
        assert server.client.get("/healthz").status_code == 200
        database.go_on()
        until(lambda: server.client.get("/readyz").status_code == 200)
        server.recommend("u00007")
    finally:
        database.go_on()
        server.stop()


@pytest.mark.slow
def test_a_half_copied_bundle_leaves_no_trace_in_the_store(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundles"
    shutil.copytree(trained / "one", folder / "one")
    (folder / "one" / "weights.safetensors").rename(tmp_path / "later")
    command = [sys.executable, "-m", "twotower", "serve", str(folder), "--port", str(free_port())]
    command += ["--events", str(tmp_path / "events.sqlite")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 3
    assert "is missing from the bundle" in ended.stderr
    store = open_store(tmp_path / "events.sqlite")
    assert store.deployment().active is None
    store.close()
    (tmp_path / "later").rename(folder / "one" / "weights.safetensors")
    server = Server(folder, tmp_path / "events.sqlite")
    assert server.get("/readyz")["version"] == "one"
    server.stop()


@pytest.mark.slow
def test_the_pointer_is_followed_after_a_bundle_that_cannot_be_loaded(serve: Serve) -> None:
    server = serve("--gate-drop", "1")
    pointer = server.source / "current"
    shutil.copytree(server.source / "two", server.source / "odd")
    (server.source / "odd" / "config.json").write_text("[]", encoding="utf-8")
    pointer.write_text("odd\n", encoding="utf-8")
    until(lambda: server.get("/readyz")["problems"])
    assert "'odd' was not activated" in server.get("/readyz")["problems"][0]
    assert server.get("/readyz")["version"] == "one"
    pointer.write_text("two\n", encoding="utf-8")
    until(lambda: server.get("/readyz")["version"] == "two")
    assert server.get("/readyz")["problems"] == []


@pytest.mark.slow
def test_the_pointer_may_come_before_its_version(serve: Serve, trained: Path) -> None:
    server = serve("--gate-drop", "1", only=("one",))
    (server.source / "current").write_text("two\n", encoding="utf-8")
    until(lambda: "'two' was not activated: no such version" in problems(server))
    assert server.get("/readyz")["version"] == "one"
    shutil.copytree(trained / "two", server.source / "on its way")
    (server.source / "on its way").rename(server.source / "two")
    until(lambda: server.get("/readyz")["version"] == "two")
    assert server.get("/readyz")["problems"] == []


@pytest.mark.slow
def test_a_machine_whose_folder_is_behind_goes_on(serve: Serve, trained: Path) -> None:
    """Two services on one event store, each with a folder of its own."""
    first = serve("--gate-drop", "1")
    second = serve("--events", str(first.events), "--gate-drop", "1", only=("one",))
    first.post("/v1/models/two:activate")
    assert second.recommend("u00007")["model_version"] == "one"
    second.post("/v1/events", {"user_id": "u00007", "item_id": "i00003"})
    assert "no such version" in second.refused("GET", "/readyz", 503)[1]
    # What is active is chosen by either.
    second.post("/v1/models/one:activate")
    assert second.get("/readyz")["version"] == "one"
    assert first.recommend("u00007")["model_version"] == "one"
    time.sleep(3)  # the pointer of the first names the version that it has activated itself
    assert first.recommend("u00007")["model_version"] == "one"
    first.post("/v1/models/two:activate")
    assert second.recommend("u00007")["model_version"] == "one"
    shutil.copytree(trained / "two", second.source / ".two")
    (second.source / ".two").rename(second.source / "two")
    until(lambda: second.recommend("u00007")["model_version"] == "two")
    assert second.get("/readyz")["version"] == "two"


@pytest.mark.slow
def test_a_version_that_is_deleted_while_it_answers(serve: Serve) -> None:
    server = serve("--gate-drop", "1", only=("one", "two"))
    server.delete("/v1/users/u00001")
    odd = server.source / "odd"
    odd.mkdir()
    (odd / "manifest.json").write_text("[1]", encoding="utf-8")
    shutil.rmtree(server.source / "one")
    assert server.recommend("u00007")["model_version"] == "one"
    assert server.get("/v1/model")["version"] == "one"
    assert {model["version"] for model in server.get("/v1/models")["models"]} == {"two", "odd"}
    server.refused("POST", "/v1/models/odd:activate", 409)
    assert server.post("/v1/models/two:activate")["active"] == "two"
    assert server.get("/readyz")["problems"] == []


def test_every_write_to_a_locked_file_ends_in_time(serve: Serve) -> None:
    """Another process may hold the lock of an SQLite file."""
    server = serve("--timeout", "2", "--gate-drop", "1")
    experiment = {"name": "e", "variants": [{"name": "a", "version": "one", "share": 1}]}
    lock = sqlite3.connect(server.events, isolation_level=None)
    try:
        lock.execute("BEGIN IMMEDIATE")
        server.recommend("u00007")  # leaves an impression
        asked: list[tuple[str, str, Any]] = [
            ("POST", "/v1/events", {"user_id": "u00007", "item_id": "i00003"}),
            ("PATCH", "/v1/items", {"items": [{"item_id": "i00003", "hidden": True}]}),
            ("DELETE", "/v1/items/i00004", None),
            ("DELETE", "/v1/users/u00008", None),
            ("PUT", "/v1/experiment", experiment),
        ]

        def ended(method: str, path: str, body: Any) -> tuple[int, bool]:
            start = time.monotonic()
            with httpx.Client(base_url=server.client.base_url, timeout=60) as client:
                answer = client.request(method, path, json=body)
            return answer.status_code, time.monotonic() - start < 10

        with ThreadPoolExecutor(len(asked)) as clients:
            found = list(clients.map(lambda one: ended(*one), asked))
        assert found == [(504, True)] * len(asked)
        assert server.get("/healthz") == {"status": "ok"}
    finally:
        lock.close()
    # What timed out may be written now, before what is sent.
    until(lambda: server.client.get("/v1/items/i00004").status_code == 404)
    event = {"user_id": "u00007", "item_id": "i00003"}
    until(lambda: server.client.post("/v1/events", json=event).status_code == 200)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--no-impressions"]])
def test_a_full_disk_is_named_and_recommendations_go_on(
    trained: Path, tmp_path: Path, small_disk: Path, options: list[str]
) -> None:
    events = ["--events", str(small_disk / "events.sqlite")]
    server = Server(trained / "one", tmp_path / "log", *events, *options)
    try:
        filler = small_disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"0" * 4096)
        event = {"user_id": "u00007", "item_id": "i00003"}
        context = {"note": "x" * 20_000}
        assert server.refused("POST", "/v1/events", 503, json={**event, "context": context})
        for _ in range(20):
            assert codes(server.recommend("u00008")) == []
        problem = "impressions are not stored" if not options else "the last write failed"
        until(lambda: problem in problems(server))
        assert "disk is full" in problems(server)
        filler.unlink()
        server.post("/v1/events", event)
        until(lambda: server.get("/readyz")["problems"] == [])
        failed = [line for line in server.log() if line["event"] == "request_failed"]
        assert "disk is full" in failed[0]["error"]
    finally:
        server.stop()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that nobody may write into, also not the superuser."""
    if os.getuid():
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    place = str(folder)
    mount = [["mount", "--bind", place, place], ["mount", "-o", "remount,bind,ro", place]]
    if any(subprocess.run(one, capture_output=True, check=False).returncode for one in mount):
        pytest.skip("this superuser may not mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.slow
def test_an_activation_holds_where_the_pointer_cannot_be_written(serve: Serve) -> None:
    server = serve("--gate-drop", "1", "--workers", "2")
    pointer = server.source / "current"
    time.sleep(1)  # the time of an activation is kept in whole seconds
    with read_only(server.source):
        server.post("/v1/models/two:activate")
        until(lambda: versions(server) == {"two"})
        assert pointer.read_text(encoding="utf-8") == "one\n"
        until(lambda: "the pointer could not be changed to 'two'" in problems(server))
        server.stop()
        server.restart()
        until(lambda: "the pointer names 'one' and is not followed" in problems(server))
        assert versions(server) == {"two"}
    # A pointer that is put in place later is followed, also an old file.
    old = server.source / "old"
    old.write_text("one\n", encoding="utf-8")
    os.utime(old, (1, 1))
    time.sleep(1)
    old.replace(pointer)
    server.stop()
    server.restart()
    until(lambda: versions(server) == {"one"})


@pytest.mark.slow
def test_a_rollback_holds_where_the_pointer_cannot_be_written(serve: Serve) -> None:
    server = serve("--gate-drop", "1")
    pointer = server.source / "current"
    server.post("/v1/models/two:activate")
    assert pointer.read_text(encoding="utf-8") == "two\n"
    time.sleep(1)
    with read_only(server.source):
        assert server.post("/v1/models:rollback")["active"] == "one"
        # Until the watcher looks at the pointer, which then says what follows from it.
        said = problems(server)
        refused = "the pointer could not be changed to 'one'" in said
        assert refused or "the pointer names 'two' and is not followed" in said
        assert pointer.read_text(encoding="utf-8") == "two\n"
        server.stop()
        server.restart()
        until(lambda: "the pointer names 'two' and is not followed" in problems(server))
        assert versions(server) == {"one"}


def problems(server: Server) -> str:
    """What several workers report."""
    return " ".join(text for _ in range(8) for text in fresh(server, "/readyz")["problems"])


def versions(server: Server) -> set[str]:
    """The versions by which several workers answer."""
    return {fresh(server, "/readyz")["version"] for _ in range(8)}


def fresh(server: Server, path: str) -> Any:
    """An answer on a connection of its own: each may reach another worker."""
    return httpx.get(f"http://127.0.0.1:{server.port}{path}", timeout=30).json()


# --- processes ---


def children(server: Server) -> list[psutil.Process]:
    """The worker processes."""
    found = psutil.Process(server.process.pid).children()
    running = [child for child in found if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in running if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(serve: Serve) -> None:
    server = serve("--workers", "2")
    until(lambda: len(children(server)) == 2)
    workers = children(server)
    server.process.kill()
    server.process.wait(10)
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{server.port}/healthz")


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(serve: Serve) -> None:
    server = serve("--workers", "2")
    until(lambda: len(children(server)) == 2)
    first = children(server)[0]
    first.kill()
    until(lambda: len(children(server)) == 2 and first not in children(server))
    assert any(line["event"] == "worker_ended" for line in server.log())
    assert server.stop() == 0


def test_workers_that_start_at_once_do_not_conflict(trained: Path, tmp_path: Path) -> None:
    """Each wants to record the first active version."""
    store = open_store(tmp_path / "events.sqlite")
    pool = Pool(trained)
    with ThreadPoolExecutor(4) as threads:
        workers = list(threads.map(lambda _: Worker(store, pool), range(4)))
    assert len({worker.deployment for worker in workers}) == 1
    store.close()


@pytest.mark.slow
def test_where_no_worker_can_start_the_command_fails(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundles"
    shutil.copytree(trained / "one", folder / "one")
    (folder / "one" / "weights.safetensors").unlink()
    command = [sys.executable, "-m", "twotower", "serve", str(folder), "--workers", "2"]
    command += ["--port", str(free_port()), "--events", str(tmp_path / "events.sqlite")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert ended.returncode == 3
    assert "no_worker_started" in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_requests_are_answered_for_a_while_after_sigterm(serve: Serve, workers: str) -> None:
    server = serve("--drain", "2", "--workers", workers)
    server.process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    with httpx.Client(base_url=server.client.base_url) as client:
        until(lambda: client.get("/readyz").status_code == 503, seconds=2)
        assert client.post(RECOMMEND, json={}).status_code == 200
    assert server.process.wait(30) == 0
    assert time.monotonic() - start >= 2
