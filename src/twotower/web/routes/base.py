"""Shared by all routes: the scope check, the JSON parser, the documentation of errors."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from twotower.data.values.repeated_keys import RepeatedKeyError, parse_json
from twotower.serving.answer.recommendation import Ignored
from twotower.serving.store.protocol import Scope
from twotower.web.access.browsers import check_media_type
from twotower.web.access.rate import address_of
from twotower.web.errors import GIVE_ONCE, STATUS, ApiError, field_path
from twotower.web.service import Service
from twotower.web.wire import ErrorAnswer

DESCRIPTIONS = {
    400: "The request body is not valid JSON.",
    401: "The API key is missing or invalid.",
    403: "The API key does not have the required scope, or a page of another origin asks.",
    404: "Not found.",
    408: "The request did not arrive in time.",
    409: "The request conflicts with the current state.",
    413: "The request body is too large.",
    415: "The request body is not declared as JSON, or is compressed.",
    422: "A field of the request is invalid.",
    429: "The rate limit is exceeded.",
    431: "The headers are too large.",
    500: "An error in the service.",
    503: "The service is temporarily unavailable.",
    504: "The request timed out.",
}
"""Status -> description of the error in the OpenAPI document."""
TWICE = "is given more than once"
MAX_WARNINGS = 20
"""Warnings that an answer names."""
ANY_PATH = (408, 413, 431, 500)
"""Errors of any request, also of one that should have no body."""
WITH_SCOPE = (401, 403, 404, 415, 422, 429, 503, 504)
WITH_BODY = (400,)


class JsonRequest(Request):
    """A request whose body is parsed by orjson, which is fast and strict, and has no key twice."""

    async def json(self) -> Any:
        """The parsed body.

        Raises:
            JSONDecodeError: it is not valid JSON; NaN and lone surrogates are not allowed.
            HTTPException: an object has a key twice.
        """
        if not hasattr(self, "_json"):
            try:
                self._json = parse_json(await self.body())
            except RepeatedKeyError as error:
                # What the framework raises as it is.
                raise HTTPException(422, repeated_key(error)) from None
        return self._json


class ScopedRoute(APIRoute):
    """A route that requires an API key with the scope in `openapi_extra["x-scope"]`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, preceded by the checks of key and rate limit."""
        handle = super().get_route_handler()
        scope = cast(Scope, (self.openapi_extra or {})["x-scope"])

        async def guarded(request: Request) -> Response:
            service = service_of(request)
            try:
                caller = await service.keys.authorize(request, scope)
            except ApiError:
                # Who guesses keys has none to be limited by.
                service.rate.hit(f"address {address_of(request)}")
                raise
            service.rate.hit(caller)
            request.state.caller = caller
            check_media_type(request)
            check_query(request)
            return await handle(JsonRequest(request.scope, request.receive))

        return guarded


def repeated_key(error: RepeatedKeyError) -> str:
    """What is wrong with a body."""
    return f"{field_path({'loc': ('body', *error.path)})}: {TWICE}"


def check_query(request: Request) -> None:
    """Check that no query parameter is given twice: only the last would be read.

    Raises:
        ApiError: one is.
    """
    given = request.query_params
    if len(given) == len(given.multi_items()):
        return
    twice = next(name for name in given if len(given.getlist(name)) > 1)
    raise ApiError("invalid_request", f"query.{twice[:64]}: {TWICE}", GIVE_ONCE)


def router(topic: str) -> APIRouter:
    """A router for `/v1` routes that require a scope."""
    return APIRouter(prefix="/v1", tags=[topic], route_class=ScopedRoute)


def documented(
    scope: Scope, answer: type, *, body: bool = False, also: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Arguments of a route for the OpenAPI document: its scope, response and errors.

    Args:
        scope: required scope of the API key.
        answer: model of the response body.
        body: whether the route has a request body.
        also: further error statuses.
    """
    codes = [*WITH_SCOPE, *(WITH_BODY if body else ()), *also]
    return {
        "response_model": None,
        "responses": {200: {"model": answer}, **errors(*codes)},
        "openapi_extra": {"x-scope": scope, "security": [{"key": [scope]}]},
    }


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Errors of a path for the OpenAPI document, those of any path among them."""
    return {
        code: {"model": ErrorAnswer, "description": DESCRIPTIONS[code]}
        for code in sorted({*ANY_PATH, *codes})
    }


def service_of(request: Request) -> Service:
    """The service of the application."""
    return cast(Service, request.app.state.service)


def request_id_of(request: Request) -> str:
    """The request id."""
    return cast(str, request.state.request_id)


def caller_of(request: Request) -> str:
    """Who sends a request of a `ScopedRoute`: a key's name or an address."""
    return cast(str, request.state.caller)


def warnings_document(ignored: Sequence[Ignored]) -> list[dict[str, str]]:
    """What of a request was ignored, as JSON."""
    return [one._asdict() for one in ignored[:MAX_WARNINGS]]


def answer_id_of(request: Request) -> str:
    """The id of an answer that is logged. It is never the client's: a gateway may send the same id
    with many requests."""
    return cast(str, request.state.answer_id)


def json_response(content: Any, status: int = 200) -> Response:
    """A JSON response; NaN becomes null."""
    return Response(as_json(content), status, media_type="application/json")


def as_json(content: Any) -> bytes:
    """JSON text; NaN becomes null."""
    return orjson.dumps(content, default=str, option=orjson.OPT_SERIALIZE_NUMPY)


assert set(DESCRIPTIONS) <= set(STATUS.values())
