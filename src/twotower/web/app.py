"""The application: routes, errors, what lies around them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from twotower._version import __version__
from twotower.errors import TwoTowerError
from twotower.web import logs
from twotower.web.errors import add_handlers
from twotower.web.limits import Frame
from twotower.web.metrics import Metrics
from twotower.web.routes import catalogue, events, health, models, recommend, users
from twotower.web.service import Service
from twotower.web.settings import ServeSettings
from twotower.web.studio.routes import studio_router

log = logging.getLogger(__name__)

SETTINGS = "TWOTOWER_SERVE"
"""The environment variable by which worker processes are told their settings, as JSON."""

DESCRIPTION = """\
Recommendations from a two-tower model. `docs/service.md` tells how to use it.

Every answer has a header `X-Request-Id`; every error is `{"error": {"code", "message", "fix",
"request_id"}}`. Where keys were made, `/v1` needs `Authorization: Bearer KEY`.
"""


def create_app(settings: ServeSettings) -> FastAPI:
    """The application of one worker process."""
    metrics = Metrics()
    app = FastAPI(
        title="twotower",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan(settings, metrics),
    )
    add_handlers(app)
    # `similar` stands before the path of an item, whose id may hold a slash.
    for part in (health, recommend, events, catalogue, users, models):
        app.include_router(part.routes)
    if settings.studio:
        app.include_router(studio_router())
    document(app)
    app.add_middleware(Frame, metrics=metrics, max_body=settings.max_body)
    return app


def lifespan(
    settings: ServeSettings, metrics: Metrics
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """What happens before the first request and after the last one."""

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

    return live


def document(app: FastAPI) -> None:
    """Complete the OpenAPI document: bearer keys."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        made = make()
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        return made

    app.openapi = openapi  # type: ignore[method-assign]


def from_environment() -> FastAPI:
    """The application of a worker process that Uvicorn starts."""
    settings = ServeSettings.model_validate_json(os.environ[SETTINGS])
    logs.set_up(settings.log_level)
    return create_app(settings)
