"""Start the service."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from twotower.errors import ConfigError, explain, without_password
from twotower.serving.live.versions import Pool
from twotower.serving.store.opening import open_store
from twotower.web import logs
from twotower.web.app import SETTINGS
from twotower.web.settings import ServeSettings

GRACE_SECONDS = 20
"""How long requests in flight may take when the service is stopped."""


def serve(settings: ServeSettings) -> None:
    """Run until stopped by a signal; requests in flight are answered first.

    Raises:
        BundleError: the source is no bundle.
        StoreError: the event store cannot be opened.
        ConfigError: other machines could connect, and no key was made.
    """
    check(settings)
    logs.set_up(settings.log_level)
    # Uvicorn stops gracefully and then raises the signal again: that is the end, and no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="twotower-metrics-") as folder:
        os.environ[SETTINGS] = settings.model_dump_json()
        if settings.workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        config = uvicorn.Config(
            "twotower.web.app:from_environment",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            loop="uvloop",
            http="httptools",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=75,
        )
        if settings.workers > 1:
            Workers(config).run()
        elif not run_alone(config):
            sys.exit(3)  # as `uvicorn.run` does


def run_alone(config: uvicorn.Config) -> bool:
    """Serve in this process; tells whether it ever started."""
    server = uvicorn.Server(config)
    server.run()
    return server.started


class Workers(Multiprocess):
    """Several processes, each with a listening socket of its own where the system has it share out
    the connections (Linux). With one socket for all, whichever process is awake takes most of them,
    and the others idle."""

    def __init__(self, config: uvicorn.Config) -> None:
        shared = config.bind_socket()  # says so where the port is taken
        self._shared = [shared]
        self._address: tuple[Any, ...] = shared.getsockname()
        if sys.platform == "linux":
            shared.close()
        super().__init__(config, self._shared)

    @property
    def sockets(self) -> list[socket.socket]:
        """For the next process to be started."""
        if sys.platform != "linux":
            return self._shared
        own = socket.socket(self._shared[0].family)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        own.bind(self._address)
        own.set_inheritable(True)
        return [own]

    @sockets.setter
    def sockets(self, _: list[socket.socket]) -> None:
        """Made anew each time."""


def check(settings: ServeSettings) -> None:
    """Refuse to start where it would fail or be open to others; see `serve`."""
    Pool(settings.source)
    store = open_store(settings.events)
    try:
        keys = store.keys()
        has_keys = any(key.revoked is None for key in keys)
    finally:
        store.close()
    if not settings.is_loopback and not has_keys:
        raise ConfigError(
            explain(
                "other machines could connect, and no key was made",
                value=settings.host,
                fix=f"make one with `twotower keys create {without_password(settings.events)} "
                "--name NAME --scope read`, or serve on 127.0.0.1",
            )
        )


def beside(source: Path) -> str:
    """The event store where none is named: a file in a folder of bundles, or beside a bundle."""
    folder = Pool(source)
    place = folder.source if folder.is_folder else folder.source.parent
    return str(place / "events.sqlite")
