"""Schemathesis against a real server: whatever it sends, no error of the server, and no answer that
the OpenAPI document does not describe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.web.conftest import Serve

CONFIG = Path(__file__).with_name("schemathesis.toml")
KEY = "tt_" + "k" * 43
SECONDS = 60
"""Time that is divided among the phases: examples, coverage, fuzzing, stateful."""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("with_key", [False, True], ids=["open", "with a key"])
def test_all_checks_pass_in_all_phases(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_key: bool
) -> None:
    if with_key:
        monkeypatch.setenv("TWOTOWER_ADMIN_KEY", KEY)
    server = serve("--gate-drop", "1")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
    command += [f"http://127.0.0.1:{server.port}/openapi.json"]
    command += ["--seed", "1", "--max-time", str(SECONDS)]
    command += ["--header", f"Authorization: Bearer {KEY}"] if with_key else []
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in done.stdout.replace("✅  ", "✅ ")
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated is not None
    assert int(generated[1]) > 500
    assert not [line for line in server.log() if line["level"] == "error"]
