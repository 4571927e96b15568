"""Routes for monitoring: liveness, readiness, metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from twotower.errors import BundleError
from twotower.web.errors import ApiError
from twotower.web.metrics import CONTENT_TYPE_LATEST
from twotower.web.routes.base import errors, json_response, service_of
from twotower.web.service import DRAINING
from twotower.web.wire import Alive, Ready

routes = APIRouter(tags=["health"])


@routes.head("/healthz", include_in_schema=False)
@routes.get("/healthz", summary="Liveness probe", responses={200: {"model": Alive}, **errors()})
async def check_health() -> Response:
    """Succeeds if the process responds at all."""
    return json_response({"status": "ok"})


@routes.head("/readyz", include_in_schema=False)
@routes.get(
    "/readyz", summary="Readiness probe", responses={200: {"model": Ready}, **errors(503, 504)}
)
async def check_readiness(request: Request) -> Response:
    """Succeeds if the model is loaded and the event store is available; route no requests to a
    worker that is not ready."""
    service = service_of(request)
    if service.stopping or DRAINING.is_set():
        raise ApiError("unavailable", "the service is shutting down", "use another worker")
    try:
        version = await service.run_on_worker(lambda worker: worker.ready_version())
    except BundleError as error:
        raise ApiError("unavailable", str(error), "activate another version") from None
    return json_response({"status": "ready", "version": version, "problems": service.problems()})


@routes.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={
        200: {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}},
        **errors(),
    },
)
async def get_metrics(request: Request) -> Response:
    """Metrics of all workers on this machine. Requires no API key and contains no user data."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)
