"""For those who watch the service."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from twotower.web.errors import ApiError
from twotower.web.metrics import CONTENT_TYPE_LATEST
from twotower.web.routes.base import MEANING, answer, service_of
from twotower.web.wire import ErrorAnswer, Health

routes = APIRouter(tags=["health"])

UNREADY: dict[int | str, dict[str, Any]] = {
    503: {"model": ErrorAnswer, "description": MEANING[503]}
}


@routes.get("/healthz", summary="Does the process live?", response_model=Health)
async def healthz() -> Response:
    """Yes, if anything is answered at all."""
    return answer({"status": "ok"})


@routes.get(
    "/readyz", summary="Can requests be answered?", response_model=Health, responses=UNREADY
)
async def readyz(request: Request) -> Response:
    """Looks at the store, as an answer does; send no requests to a worker that is not ready."""
    service = service_of(request)
    if service.stopping:
        raise ApiError("unavailable", "the service is stopping", "ask another worker")
    version = await service.see(lambda worker: worker.ready_version())
    return answer({"status": "ready", "version": version})


@routes.get(
    "/metrics",
    summary="For Prometheus",
    response_class=Response,
    responses={200: {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Counts and times of all workers of this machine. Has no key, and no data of users."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)
