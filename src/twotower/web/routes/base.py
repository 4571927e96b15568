"""What all routes share: the scope that they need, the body's parser, the shape of their errors."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, cast

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from twotower.serving.store.protocol import Scope
from twotower.web.errors import STATUS
from twotower.web.service import Service
from twotower.web.wire import ErrorAnswer

MEANING = {
    400: "The body is no JSON.",
    401: "No key, or none that is valid.",
    403: "The key lacks the scope.",
    404: "The id names nothing.",
    409: "The state does not allow it.",
    413: "The body is too large.",
    422: "A value is not as it should be.",
    429: "Too many requests.",
    503: "Cannot be answered now.",
    504: "Took too long.",
}
ALWAYS = (401, 403, 404, 422, 429, 503, 504)
WITH_BODY = (400, 413)


class JsonRequest(Request):
    """A request whose body is read by a fast and strict parser."""

    async def json(self) -> Any:
        """The body.

        Raises:
            JSONDecodeError: it is no JSON; NaN and lone surrogates are none.
        """
        if not hasattr(self, "_json"):
            self._json = orjson.loads(await self.body())
        return self._json


class ScopedRoute(APIRoute):
    """A route that only a key with its scope may call."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, behind the check of key and rate."""
        handle = super().get_route_handler()
        scope = cast(Scope, (self.openapi_extra or {})["x-scope"])

        async def guarded(request: Request) -> Response:
            service = service_of(request)
            service.rate.take(service.keys.allow(request, scope))
            return await handle(JsonRequest(request.scope, request.receive))

        return guarded


def router(topic: str) -> APIRouter:
    """A router of routes that need a scope."""
    return APIRouter(prefix="/v1", tags=[topic], route_class=ScopedRoute)


def documented(
    scope: Scope, answer: type, *, status: int = 200, body: bool = False, also: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Arguments of a route: its scope, its answer and its errors, for the OpenAPI document."""
    errors = [*ALWAYS, *(WITH_BODY if body else ()), *also]
    responses: dict[int | str, dict[str, Any]] = {
        code: {"model": ErrorAnswer, "description": MEANING[code]} for code in sorted(set(errors))
    }
    responses[status] = {"model": answer}
    return {
        "status_code": status,
        "response_model": None,
        "responses": responses,
        "openapi_extra": {"x-scope": scope, "security": [{"key": [scope]}]},
    }


def service_of(request: Request) -> Service:
    """The service that the application holds."""
    return cast(Service, request.app.state.service)


def id_of(request: Request) -> str:
    """The request's id."""
    return cast(str, request.state.request_id)


def answer(content: Any, status: int = 200) -> Response:
    """Content as JSON; NaN, which JSON has not, becomes null."""
    return Response(
        orjson.dumps(content, default=str, option=orjson.OPT_SERIALIZE_NUMPY),
        status,
        media_type="application/json",
    )


assert set(MEANING) <= set(STATUS.values())
