"""The FastAPI application: routes, error handlers, middleware and lifespan."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from twotower._version import __version__
from twotower.errors import TwoTowerError
from twotower.web import logs
from twotower.web.access.proxies import NamedProxies
from twotower.web.api_page import routes as api_page
from twotower.web.errors import add_handlers
from twotower.web.metrics import Metrics
from twotower.web.middleware import RequestMiddleware
from twotower.web.routes import catalogue, events, health, models, recommend, users
from twotower.web.routes.base import json_response, service_of
from twotower.web.service import Service
from twotower.web.settings import SETTINGS, ServeSettings
from twotower.web.studio.course.routes import course_routes
from twotower.web.studio.course.trainer import Trainer
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
        openapi_url=None,  # see `add_document`
        lifespan=lifespan(settings, metrics, tracing),
        root_path=settings.root_path,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    # `/items/{id}/similar` must be matched before `/items/{id}`: behind a proxy that decodes paths,
    # an id may contain a slash.
    app.state.metrics = metrics
    parts = (health, recommend, events, catalogue, users, models, api_page)
    for part in parts:
        app.include_router(part.routes)
    add_handlers(
        app, [one for part in parts for one in part.routes.routes if isinstance(one, APIRoute)]
    )
    if settings.studio:
        app.include_router(studio_router())
        app.include_router(course_routes())
        app.state.trainer = Trainer(settings.learn_lock)
    add_document(app)
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
        watcher = asyncio.create_task(service.follow_pointer())
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            if settings.studio:
                await app.state.trainer.close()
            await service.close()
            if tracing is not None:
                await asyncio.to_thread(tracing.close)

    return live


def add_document(app: FastAPI) -> None:
    """Serve the OpenAPI document at `/openapi.json`: below the path prefix of the request, and
    without the demand for a key while the service has none."""
    generate = app.openapi

    @cache
    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        found: dict[str, Any] = whole_bounds(document)
        return found

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get("/openapi.json", include_in_schema=False)
    async def document(request: Request) -> Response:
        found = app.openapi()
        if not (await service_of(request).keys.access(request)).needed:
            found = without_security(found)
        if prefix := request.scope.get("root_path"):
            found = {**found, "servers": [{"url": prefix}]}
        return json_response(found)


def whole_bounds(node: Any) -> Any:
    """A document whose bounds of integers are integers: FastAPI writes them as floating-point
    numbers, and 2**63 is not exact then to who reads it."""
    if isinstance(node, list):
        return [whole_bounds(one) for one in node]
    if not isinstance(node, dict):
        return node
    is_integer = node.get("type") == "integer"
    return {
        key: int(value) if is_integer and isinstance(value, float) else whole_bounds(value)
        for key, value in node.items()
    }


def without_security(document: dict[str, Any]) -> dict[str, Any]:
    """The document of a service that demands no key."""
    paths = {
        path: {
            method: {key: value for key, value in operation.items() if key != "security"}
            for method, operation in operations.items()
        }
        for path, operations in document["paths"].items()
    }
    schemes = {**document["components"], "securitySchemes": {}}
    return {**document, "paths": paths, "components": schemes}


def from_environment() -> FastAPI:
    """Build the application in a worker process that Uvicorn started."""
    settings = ServeSettings.model_validate_json(os.environ[SETTINGS])
    logs.set_up(settings.log_level)
    return create_app(settings)
