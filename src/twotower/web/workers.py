"""Server processes: one in this process, or several that a supervisor starts and restarts."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import uvicorn

from twotower.web.service import DRAINING

log = logging.getLogger(__name__)

STARTUP_FAILED = 3
"""The exit status of a server that could not start, as of Uvicorn's own command."""
LONGEST_PAUSE = 30.0
"""Seconds before a worker that could not start is started again, at most."""


class DrainingServer(uvicorn.Server):
    """Answers for some seconds after SIGTERM, while `/readyz` already says 503: a load balancer
    sends requests until it has noticed."""

    def __init__(self, config: uvicorn.Config, drain: float) -> None:
        super().__init__(config)
        self._drain = drain

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to stop. A second one stops at once."""
        if sig == signal.SIGTERM and self._drain and not DRAINING.is_set():
            DRAINING.set()
            timer = threading.Timer(self._drain, super().handle_exit, (sig, None))
            timer.daemon = True
            timer.start()
            return
        super().handle_exit(sig, frame)


def run_server(
    config: uvicorn.Config, drain: float, sockets: list[socket.socket] | None = None
) -> int:
    """Serve in this process until a signal; returns the exit status."""
    server = DrainingServer(config, drain)
    server.run(sockets)
    return 0 if server.started else STARTUP_FAILED


def run_worker(
    config: uvicorn.Config, drain: float, sockets: list[socket.socket], parent: Connection
) -> None:
    """Serve in a worker process until a signal, or until the supervisor is gone."""

    def stop_without_parent() -> None:
        wait([parent])  # nothing is ever sent: it is at its end when the supervisor is gone
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_without_parent, name="parent", daemon=True).start()
    # Uvicorn stops gracefully and then raises the signal again, which is not a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    sys.exit(run_server(config, drain, sockets))


@dataclass
class WorkerSlot:
    """A place for a worker process.

    Attributes:
        process: the present one.
        pause: seconds before the next one starts, if this one cannot start.
        due: when to start the next one.
    """

    process: BaseProcess | None = None
    pause: float = 1.0
    due: float = 0.0


class Supervisor:
    """Runs several worker processes on one port until a signal.

    A worker that dies is replaced. Where none can start, the supervisor gives up. Workers end when
    the supervisor is gone, however it ended.
    """

    def __init__(self, config: uvicorn.Config, number: int, drain: float) -> None:
        self._config = config
        self._drain = drain
        self._context = multiprocessing.get_context("spawn")
        self._workers = [WorkerSlot() for _ in range(number)]
        self._stopping: int | None = None
        # Reports a port that is in use.
        shared = config.bind_socket()
        self._address: tuple[Any, ...] = shared.getsockname()
        self._family = shared.family
        self._shared = shared
        if sys.platform == "linux":
            shared.close()
        self._alive, self._own_end = self._context.Pipe(duplex=False)

    def run(self) -> int:
        """Run until a signal or until no worker can start; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)
        for worker in self._workers:
            self._start(worker)
        status = 0
        while self._stopping is None:
            self._wait()
            if not self._replace_dead():
                log.error("no_worker_started")
                status = STARTUP_FAILED
                break
        self._stop()
        return status

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._stopping = number

    def _wait(self) -> None:
        """Wait for the end of a process, for a time to start one, or for half a second."""
        sentinels = [one.process.sentinel for one in self._workers if one.process is not None]
        wait(sentinels, timeout=0.5) if sentinels else time.sleep(0.1)

    def _replace_dead(self) -> bool:
        """Start processes in place of those that ended; returns whether any worker is left."""
        now = time.monotonic()
        for worker in self._workers:
            process = worker.process
            if process is not None and process.exitcode is not None:
                log.error("worker_ended", extra={"worker": process.pid, "status": process.exitcode})
                failed = process.exitcode == STARTUP_FAILED
                worker.process = None
                worker.due = now + worker.pause if failed else now
                worker.pause = min(2 * worker.pause, LONGEST_PAUSE) if failed else 1.0
        if not any(worker.process is not None or worker.due <= now for worker in self._workers):
            return False
        for worker in self._workers:
            if worker.process is None and worker.due <= now and self._stopping is None:
                self._start(worker)
        return True

    def _start(self, worker: WorkerSlot) -> None:
        sockets = self._sockets()
        arguments = (self._config, self._drain, sockets, self._alive)
        process = self._context.Process(target=run_worker, args=arguments)
        process.start()
        worker.process = process
        for own in sockets if sys.platform == "linux" else ():
            own.close()

    def _sockets(self) -> list[socket.socket]:
        """The listening socket of the next process. With `SO_REUSEPORT` each has its own, and the
        kernel balances connections between them. With one shared socket, the process that happens
        to be awake accepts most connections while the others idle."""
        if sys.platform != "linux":
            return [self._shared]
        own = socket.socket(self._family)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        own.bind(self._address)
        own.set_inheritable(True)
        return [own]

    def _stop(self) -> None:
        """Have the workers end: by SIGTERM, and after all their time, by SIGKILL."""
        running = [one.process for one in self._workers if one.process is not None]
        for process in running:
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, self._stopping or signal.SIGTERM)
        grace = self._config.timeout_graceful_shutdown or 0
        deadline = time.monotonic() + self._drain + grace + 10
        for process in running:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                log.error("worker_killed", extra={"worker": process.pid})
                process.kill()
                process.join()
