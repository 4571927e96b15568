"""A service with a verify key answers by signed versions alone."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.web.conftest import Serve
from tests.web.server import free_port
from twotower.serving.bundle.bundle import sign_bundle
from twotower.serving.bundle.signing import new_key


@pytest.mark.slow
def test_only_signed_versions_are_activated(serve: Serve, trained: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    public = new_key(key)
    command = [sys.executable, "-m", "twotower", "serve", str(trained), "--port", str(free_port())]
    command += ["--events", str(tmp_path / "events.sqlite"), "--verify-key", str(public)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 3
    assert "is not signed" in ended.stderr
    wrong = [*command[:-1], str(key)]
    ended = subprocess.run(wrong, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "is a private key, which is for signing only" in ended.stderr

    server = serve("--gate-drop", "1")
    sign_bundle(server.source / "one", key)
    server.stop()
    server.options = (*server.options, "--verify-key", str(public))
    server.restart()
    assert server.get("/readyz")["version"] == "one"
    code, message = server.refused("POST", "/v1/models/two:activate", 409)
    assert code == "conflict"
    assert "two: is not signed" in message
    assert server.get("/readyz")["version"] == "one"
    (server.source / "current").write_text("two\n", encoding="utf-8")
    deadline = time.monotonic() + 30
    while not server.get("/readyz")["problems"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "is not signed" in server.get("/readyz")["problems"][0]
    assert server.get("/readyz")["version"] == "one"
    sign_bundle(server.source / "two", key)
    server.post("/v1/models/two:activate")
    assert server.get("/readyz")["version"] == "two"
