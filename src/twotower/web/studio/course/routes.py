"""Routes of the learning path: its texts, compiling a step, running a snippet.

Compiling answers with server-sent events. A client cancels by closing the connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final, cast

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field, StrictInt
from starlette.types import Receive, Scope, Send

from twotower.course.contents import step, steps
from twotower.web.errors import ApiError
from twotower.web.routes.base import ScopedRoute, caller_of, json_response, service_of
from twotower.web.studio.course.trainer import Trainer
from twotower.web.wire.base import Name, Number, Wire

READ: Final = {"x-scope": "read"}
STREAM_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Proxies must not hold events back until there are many."""
Value = StrictInt | Number | Annotated[str, Field(max_length=64)]
Values = Annotated[dict[Name, Value], Field(max_length=8)]


class CompileRequest(Wire):
    """A step with the learner's choices."""

    step: Name
    values: Values = Field(default_factory=dict)


class RunRequest(Wire):
    """A program of a step with the learner's numbers."""

    step: Name
    number: Annotated[int, Field(ge=0, le=99)]
    values: Values = Field(default_factory=dict)


def course_routes() -> APIRouter:
    """Routes below `/studio/api/course`."""
    router = APIRouter(
        prefix="/studio/api/course", route_class=ScopedRoute, include_in_schema=False
    )

    @router.get("", openapi_extra=READ)
    async def contents(request: Request) -> Response:
        enabled = await is_enabled(request)
        if enabled:
            trainer_of(request).prepare()
        return json_response({"enabled": enabled, "steps": [one.model_dump() for one in steps()]})

    @router.post("/compile", openapi_extra=READ)
    async def compile_step(asked: CompileRequest, request: Request) -> Response:
        values = step(asked.step).read(asked.values)
        return await stream(request, {"do": "compile", "step": asked.step, "values": values})

    @router.post("/run", openapi_extra=READ)
    async def run_snippet(asked: RunRequest, request: Request) -> Response:
        step(asked.step).snippet(asked.number).filled(asked.values)
        job = {"do": "run", "step": asked.step, "number": asked.number, "values": asked.values}
        return await stream(request, job)

    return router


async def is_enabled(request: Request) -> bool:
    """Whether the service trains for learners: by default only if it has no keys."""
    service = service_of(request)
    if service.settings.learn is not None:
        return service.settings.learn
    return not (await service.keys.access(request)).needed


async def stream(request: Request, job: Mapping[str, Any]) -> Response:
    """Answer with the events of a job.

    Raises:
        ApiError: the service does not train for learners, the caller has a job already, or too many
            jobs wait.
    """
    if not await is_enabled(request):
        raise ApiError(
            "not_found",
            "this service does not train for learners",
            "start it with `twotower serve --learn`",
        )
    return EventStream(trainer_of(request), caller_of(request), job)


def trainer_of(request: Request) -> Trainer:
    """The trainer of the application."""
    return cast(Trainer, request.app.state.trainer)


class EventStream(StreamingResponse):
    """A job's events as server-sent events; it is cancelled when the client closes the
    connection and nobody else follows it."""

    def __init__(self, trainer: Trainer, caller: str, job: Mapping[str, Any]) -> None:
        """Begin the job.

        Raises:
            ApiError: the caller has a job already, or too many jobs wait.
        """
        self._trainer, self._caller = trainer, caller
        self._run = trainer.begin(caller, job)
        super().__init__(
            self._lines(), media_type="text/event-stream", headers=dict(STREAM_HEADERS)
        )

    async def _lines(self) -> AsyncIterator[bytes]:
        async for event in self._run.follow():
            yield b": waiting\n\n" if event is None else b"data: " + orjson.dumps(event) + b"\n\n"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._trainer.leave(self._caller, self._run)
