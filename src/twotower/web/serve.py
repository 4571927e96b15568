"""Start the service under Uvicorn, with one or more worker processes."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

import uvicorn

from twotower.errors import ConfigError, explain, without_password
from twotower.serving.answer.reasons import ReasonSentences
from twotower.serving.bundle.signing import VerifyKey
from twotower.serving.live.versions import Pool
from twotower.serving.store.keys import ensure_key
from twotower.serving.store.opening import open_store
from twotower.web import logs
from twotower.web.access.rate import RateLimiter
from twotower.web.http_protocol import BoundedProtocol
from twotower.web.settings import SETTINGS, ServeSettings
from twotower.web.tracing import make_exporter
from twotower.web.workers import Supervisor, run_server

ADMIN_KEY = "TWOTOWER_ADMIN_KEY"
"""Environment variable with an admin key, which is added to the store at the start."""
GRACE_SECONDS = 20
"""Time that requests in flight have to finish when the service is stopped."""


def serve(settings: ServeSettings) -> None:
    """Run until stopped by a signal; requests in flight are answered first.

    Raises:
        BundleError: the source is not a bundle.
        ConfigError: the file of reasons or of the verify key is not right.
        StoreError: the event store cannot be opened.
        ConfigError: the service would be reachable from other machines without an API key.
    """
    check_settings(settings)
    logs.set_up(settings.log_level)
    # Uvicorn stops gracefully and then raises the signal again, which is not a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="twotower-serve-") as folder:
        if settings.workers > 1:
            shared = {
                "rate_file": Path(folder) / "rate.sqlite",
                "learn_lock": Path(folder) / "learn.lock",
            }
            settings = settings.model_copy(update=shared)
            # Created once, so that the workers do not all try to.
            RateLimiter(settings.rate, settings.rate_file).close()
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        os.environ[SETTINGS] = settings.model_dump_json()
        config = uvicorn.Config(
            "twotower.web.app:from_environment",
            factory=True,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=BoundedProtocol,
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,  # `NamedProxies` reads them
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=75,
        )
        if settings.workers > 1:
            status = Supervisor(config, settings.workers, settings.drain).run()
        else:
            status = run_server(config, settings.drain)
    if status:
        sys.exit(status)


def check_settings(settings: ServeSettings) -> None:
    """Raise the errors of `serve` before any process starts."""
    Pool(settings.source)
    ReasonSentences.load(settings.reasons)
    if settings.verify_key is not None:
        VerifyKey(settings.verify_key)
    if (exporter := make_exporter()) is not None:
        exporter.shutdown()
    store = open_store(settings.events)
    try:
        supplied = supplied_key(settings.key_file)
        if supplied is not None:
            ensure_key(store, supplied)
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
                f"--name NAME --scope read`, set {ADMIN_KEY}, or serve on 127.0.0.1",
            )
        )


def supplied_key(file: Path | None) -> str | None:
    """The admin key in a file or in the environment; None if there is none.

    Raises:
        ConfigError: the file cannot be read.
    """
    if file is None:
        return os.environ.get(ADMIN_KEY) or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(
            explain(f"the key cannot be read: {error}", file=file, fix="name a readable file")
        ) from None


def default_event_store(source: Path) -> str:
    """The default event store: a file in the folder of bundles, or next to the bundle."""
    versions = Pool(source)
    folder = versions.source if versions.is_folder else versions.source.parent
    return str(folder / "events.sqlite")
