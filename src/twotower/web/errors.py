"""One shape for all error responses: {"error": {"code", "message", "fix", "request_id"}}."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from twotower.errors import (
    BundleError,
    ConflictError,
    DataError,
    NotFoundError,
    StoreError,
    TwoTowerError,
    VectorDatabaseError,
)
from twotower.serving.live.batching import OverloadedError

log = logging.getLogger(__name__)

STATUS: Mapping[str, int] = {
    "invalid_json": 400,
    "invalid_request": 422,
    "no_key": 401,
    "wrong_scope": 403,
    "wrong_host": 403,
    "wrong_origin": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "gate_refused": 409,
    "slow_request": 408,
    "too_large": 413,
    "wrong_media_type": 415,
    "headers_too_large": 431,
    "rate_limited": 429,
    "internal": 500,
    "overloaded": 503,
    "unavailable": 503,
    "timeout": 504,
}
"""Error code -> HTTP status."""

LONGEST_MESSAGE = 2000
SHOWN_PROBLEMS = 5
"""Maximum number of problems listed in one message."""


LOOK_IN_LOG = "search the service's log for the request id"
SEND_LESS = "split it into several requests"
GIVE_ONCE = "give it once"


class ApiError(Exception):
    """An error that is sent to the client as is."""

    def __init__(
        self, code: str, message: str, fix: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix
        self.headers = dict(headers or {})


def error_body(error: ApiError, request_id: str) -> bytes:
    """The JSON body of an error response."""
    return orjson.dumps(
        {
            "error": {
                "code": error.code,
                "message": error.message[:LONGEST_MESSAGE],
                "fix": error.fix,
                "request_id": request_id,
            }
        }
    )


def respond(error: ApiError, request: Request) -> Response:
    """The error as an HTTP response."""
    request.state.code = error.code
    return Response(
        error_body(error, request.state.request_id),
        STATUS[error.code],
        headers=error.headers,
        media_type="application/json",
    )


def to_api_error(error: Exception) -> ApiError:
    """Convert any exception to the error that the client receives."""
    match error:
        case ApiError():
            converted = error
        case RequestValidationError():
            converted = from_validation_error(error)
        case HTTPException():
            converted = from_http_exception(error)
        case TwoTowerError():
            converted = from_library_error(error)
        case OverloadedError():
            converted = ApiError(
                "overloaded",
                "too many requests are waiting",
                "try again in a second; add workers if this persists",
                {"Retry-After": "1"},
            )
        case TimeoutError():
            converted = ApiError("timeout", "the request timed out", "request less, or try again")
        case _:
            converted = ApiError("internal", "internal error", LOOK_IN_LOG)
    return converted


def from_http_exception(error: HTTPException) -> ApiError:
    """Convert an error of the web framework."""
    match error.status_code:
        case 404:
            return ApiError("not_found", "no such path", "see /openapi.json for the paths")
        case 405:
            allowed = (error.headers or {}).get("Allow", "")
            fix = f"use {allowed}" if allowed else "see /openapi.json for the methods"
            message = "the path does not support this method"
            return ApiError("method_not_allowed", message, fix, error.headers)
        case 413:
            return ApiError("too_large", "the request body is too large", SEND_LESS)
        case 422:
            return ApiError("invalid_request", error.detail, GIVE_ONCE)
    return ApiError("invalid_json", "the request body cannot be read", "send a JSON object")


def from_library_error(error: TwoTowerError) -> ApiError:
    """Convert an error of the library, whose text is `PROBLEM Fix: FIX`."""
    message, _, fix = str(error).partition(" Fix: ")
    match error:
        case NotFoundError():
            return ApiError("not_found", message, fix or "check the id")
        case ConflictError():
            return ApiError("conflict", message, fix or "reload the current state, then try again")
        case DataError():
            return ApiError("invalid_request", message, fix or "correct the request")
        case StoreError() | VectorDatabaseError():
            what = "event store" if isinstance(error, StoreError) else "vector database"
            return ApiError("unavailable", f"the {what} is not available", "try again")
        case BundleError():
            return ApiError("conflict", message, fix or "use another version")
    return ApiError("invalid_request", message, fix or "correct the request")


def from_validation_error(error: RequestValidationError) -> ApiError:
    """Name the invalid fields of a request; the values that were sent are not repeated."""
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return ApiError("invalid_json", "the request body is not valid JSON", "send a JSON object")
    shown = [f"{field_path(problem)}: {problem_text(problem)}" for problem in problems]
    more = f"; and {len(shown) - SHOWN_PROBLEMS} more" if len(shown) > SHOWN_PROBLEMS else ""
    return ApiError(
        "invalid_request",
        "; ".join(dict.fromkeys(shown[:SHOWN_PROBLEMS])) + more,
        "see /openapi.json for the fields of this path",
    )


def field_path(problem: Mapping[str, Any]) -> str:
    """The path of the invalid field, e.g. `body.k`."""
    return ".".join(str(part)[:64] for part in problem["loc"])


def problem_text(problem: Mapping[str, Any]) -> str:
    """What is wrong with the field."""
    return str(problem["msg"]).removeprefix("Value error, ")


def allowed_methods(path: str, routes: Sequence[APIRoute]) -> str:
    """The methods of a path as `Allow` lists them; empty for an unknown path."""
    formats = [route.path_format for route in routes if route.path_regex.match(path)]
    methods = [route.methods for route in routes if formats and route.path_format == formats[0]]
    return ", ".join(sorted({method for some in methods for method in some or ()}))


def add_handlers(app: FastAPI, routes: Sequence[APIRoute]) -> None:
    """Send the exceptions of all routes in one shape.

    Args:
        app: gets the handlers.
        routes: those whose paths may have several methods. Starlette itself names only the methods
            of the first route of a path.
    """

    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 405:
            path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
            allowed = allowed_methods(path, routes)
            error.headers = {"Allow": allowed} if allowed else error.headers
        converted = to_api_error(error)
        if STATUS[converted.code] >= 500:
            cause = error if converted.code == "internal" else None
            request.state.failure = type(error).__name__
            log.error(
                "request_failed",
                exc_info=cause,
                extra={
                    "request_id": request.state.request_id,
                    "kind": type(error).__name__,
                    "error": str(error),
                },
            )
        return respond(converted, request)

    for kind in (
        ApiError,
        RequestValidationError,
        HTTPException,
        OverloadedError,
        TimeoutError,
        TwoTowerError,
    ):
        app.add_exception_handler(kind, handle)
