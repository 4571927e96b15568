"""The FastAPI application: routes, error handlers, middleware and lifespan."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from twotower._version import __version__
from twotower.errors import TwoTowerError
from twotower.web import logs
from twotower.web.access.proxies import NamedProxies
from twotower.web.errors import add_handlers
from twotower.web.metrics import Metrics
from twotower.web.middleware import RequestMiddleware
from twotower.web.routes import catalogue, events, health, models, recommend, users
from twotower.web.service import Service
from twotower.web.settings import SETTINGS, ServeSettings
from twotower.web.studio.routes import studio_router
from twotower.web.tracing import Tracing, make_exporter

log = logging.getLogger(__name__)

DESCRIPTION = """\
Recommendations from a two-tower model. See `docs/service.md` for a guide.

Every response has an `X-Request-Id` header; every error has the form `{"error": {"code", "message",
"fix", "request_id"}}`. Once an API key exists, `/v1` requires `Authorization: Bearer KEY`.
"""


def create_app(settings: ServeSettings) -> FastAPI:
    """Build the application of one worker process."""
    metrics = Metrics()
    exporter = make_exporter()
    tracing = None if exporter is None else Tracing(exporter)
    app = FastAPI(
        title="twotower",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan(settings, metrics, tracing),
        root_path=settings.root_path,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    add_handlers(app)
    # `/items/{id}/similar` must be matched before `/items/{id}`: behind a proxy that decodes paths,
    # an id may contain a slash.
    for part in (health, recommend, events, catalogue, users, models):
        app.include_router(part.routes)
    if settings.studio:
        app.include_router(studio_router())
    add_security_scheme(app)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Request-Id", "traceparent"],
            expose_headers=["X-Request-Id", "Retry-After", "traceparent"],
        )
    if settings.proxies:
        app.add_middleware(NamedProxies, proxies=settings.proxies)
    app.add_middleware(
        RequestMiddleware, metrics=metrics, max_body=settings.max_body, tracing=tracing
    )
    return app


def lifespan(
    settings: ServeSettings, metrics: Metrics, tracing: Tracing | None = None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Start the service before the first request and stop it after the last one."""

    @asynccontextmanager
    async def live(app: FastAPI) -> AsyncIterator[None]:
        try:
            service = await Service.start(settings, metrics)
        except TwoTowerError as error:
            log.error("start_failed", extra={"error": str(error)})
            raise
        app.state.service = service
        watcher = asyncio.create_task(service.watch())
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            await service.close()
            if tracing is not None:
                await asyncio.to_thread(tracing.close)

    return live


def add_security_scheme(app: FastAPI) -> None:
    """Declare API keys as bearer tokens in the OpenAPI document."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def from_environment() -> FastAPI:
    """Build the application in a worker process that Uvicorn started."""
    settings = ServeSettings.model_validate_json(os.environ[SETTINGS])
    logs.set_up(settings.log_level)
    return create_app(settings)
