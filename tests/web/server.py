"""A real server: `twotower serve` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests.processes import ONE_THREAD, Program, ending_with_tests

STARTS_WITHIN = 120
STOPS_WITHIN = 30


class Server:
    """Serves a source on a free port until it is stopped."""

    def __init__(self, source: Path, events: Path, *options: str, key: str | None = None) -> None:
        self.source = source
        self.events = events
        self.options = options
        self.key = key
        self.log_file = events.with_suffix(f".{time.monotonic_ns()}.log")
        self.port = free_port()
        self.process: Program | subprocess.Popen[bytes]
        self._start()

    def _start(self) -> None:
        command = ["serve", str(self.source), "--events", str(self.events)]
        command += ["--port", str(self.port), *self.options]
        environment = {**os.environ, **ONE_THREAD}
        if "--workers" in self.options:
            self.process = self._with_workers(command, environment)
        else:
            log = self.log_file
            self.process = Program(command, environment=environment, out=log, err=log)
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=30
        )
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def _with_workers(
        self, command: list[str], environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        """Started as an operator's is, imports and all."""
        with self.log_file.open("wb") as log:
            return subprocess.Popen(
                ending_with_tests([sys.executable, "-m", "twotower", *command]),
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def _wait(self) -> None:
        deadline = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended:\n{self.log_text()}")
            try:
                if self.client.get("/readyz").status_code == 200 and self._all_started():
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"the server did not start:\n{self.log_text()}")

    def _all_started(self) -> bool:
        """Whether each worker has started, so that the kernel gives connections to all."""
        places = [n + 1 for n, option in enumerate(self.options) if option == "--workers"]
        number = int(self.options[places[-1]]) if places else 1
        return self.log_text().count("Application startup complete") >= number

    # --- asking ---

    def get(self, path: str, status: int = 200, **parameters: Any) -> Any:
        """The JSON of an answer, whose status must be this one."""
        return self.ask("GET", path, status, params=parameters or None)

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        return self.ask("POST", path, status, json=body)

    def put(self, path: str, body: Any, status: int = 200) -> Any:
        return self.ask("PUT", path, status, json=body)

    def delete(self, path: str, status: int = 200) -> Any:
        return self.ask("DELETE", path, status)

    def ask(self, method: str, path: str, status: int, **arguments: Any) -> Any:
        answer = self.client.request(method, path, **arguments)
        assert answer.status_code == status, f"{method} {path}: {answer.text}"
        return answer.json()

    def recommend(self, user_id: str | None = None, **fields: Any) -> Any:
        asker = {} if user_id is None else {"user_id": user_id}
        return self.post("/v1/recommendations", {**asker, **fields})

    def refused(self, method: str, path: str, status: int, **arguments: Any) -> tuple[str, str]:
        """Code and message of an error, whose shape is checked."""
        answer = self.client.request(method, path, **arguments)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        assert answer.headers["content-type"] == "application/json"
        error = answer.json()["error"]
        assert answer.json().keys() == {"error"}
        assert error.keys() == {"code", "message", "fix", "request_id"}
        assert error["request_id"] == answer.headers["x-request-id"]
        assert error["fix"]
        return error["code"], error["message"]

    # --- the log ---

    def log_text(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    def log(self) -> list[dict[str, Any]]:
        """All lines of the log; each is a JSON object."""
        return [json.loads(line) for line in self.log_text().splitlines()]

    # --- the end ---

    def stop(self) -> int:
        """End it as an operator does."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOPS_WITHIN)

    def kill(self) -> None:
        """End it as a power cut does, workers and all."""
        self.client.close()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOPS_WITHIN)

    def restart(self) -> None:
        """Start again after `stop` or `kill`."""
        self.log_file = self.events.with_suffix(f".{time.monotonic_ns()}.log")
        self._start()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def ids(answer: Any) -> list[str]:
    return [item["item_id"] for item in answer["items"]]
