"""Start the service under Uvicorn, with one or more worker processes."""

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
from twotower.serving.answer.reasons import ReasonSentences
from twotower.serving.live.versions import Pool
from twotower.serving.store.opening import open_store
from twotower.web import logs
from twotower.web.http_protocol import BoundedProtocol
from twotower.web.settings import SETTINGS, ServeSettings

GRACE_SECONDS = 20
"""Time that requests in flight have to finish when the service is stopped."""


def serve(settings: ServeSettings) -> None:
    """Run until stopped by a signal; requests in flight are answered first.

    Raises:
        BundleError: the source is not a bundle.
        ConfigError: the file of reasons is not right.
        StoreError: the event store cannot be opened.
        ConfigError: the service would be reachable from other machines without an API key.
    """
    check_settings(settings)
    logs.set_up(settings.log_level)
    # Uvicorn stops gracefully and then raises the signal again, which is not a failure.
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
            http=BoundedProtocol,
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=75,
        )
        if settings.workers > 1:
            Workers(config).run()
        elif not run_single_process(config):
            sys.exit(3)  # as `uvicorn.run` does


def run_single_process(config: uvicorn.Config) -> bool:
    """Serve in this process; returns whether the server started."""
    server = uvicorn.Server(config)
    server.run()
    return server.started


class Workers(Multiprocess):
    """Several worker processes, each with its own listening socket on Linux.

    With `SO_REUSEPORT` the kernel balances connections between the sockets. With one shared socket,
    the process that happens to be awake accepts most connections while the others idle.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        shared = config.bind_socket()  # reports a port that is in use
        self._shared = [shared]
        self._address: tuple[Any, ...] = shared.getsockname()
        if sys.platform == "linux":
            shared.close()
        super().__init__(config, self._shared)

    @property
    def sockets(self) -> list[socket.socket]:
        """The sockets of the next process to start."""
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
        """Ignored: each process gets a new socket."""


def check_settings(settings: ServeSettings) -> None:
    """Raise the errors of `serve` before any process starts."""
    Pool(settings.source)
    ReasonSentences.load(settings.reasons)
    store = open_store(settings.events)
    try:
        keys = store.keys()
        has_keys = any(key.revoked is None for key in keys)
    finally:
        store.close()
    if not settings.is_loopback and not has_keys:
        raise ConfigError(
            explain(
                "the service would be reachable from other machines without an API key",
                value=settings.host,
                fix=f"create a key with `twotower keys create {without_password(settings.events)} "
                "--name NAME --scope read`, or serve on 127.0.0.1",
            )
        )


def default_event_store(source: Path) -> str:
    """The default event store: a file in the folder of bundles, or next to the bundle."""
    versions = Pool(source)
    folder = versions.source if versions.is_folder else versions.source.parent
    return str(folder / "events.sqlite")
