"""One shape for every error: {"error": {"code", "message", "fix", "request_id"}}."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from twotower.errors import (
    BundleError,
    ConflictError,
    DataError,
    NotFoundError,
    StoreError,
    TwoTowerError,
)
from twotower.serving.live.batching import OverloadedError

log = logging.getLogger(__name__)

STATUS: Mapping[str, int] = {
    "invalid_json": 400,
    "invalid_request": 422,
    "no_key": 401,
    "wrong_scope": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "gate_refused": 409,
    "too_large": 413,
    "rate_limited": 429,
    "internal": 500,
    "overloaded": 503,
    "unavailable": 503,
    "timeout": 504,
}
"""Every code of an error, and the HTTP status that it comes with."""

LONGEST_MESSAGE = 2000
SHOWN_PROBLEMS = 5
"""Problems of one request that a message names."""


class ApiError(Exception):
    """An error that is answered as it is."""

    def __init__(
        self, code: str, message: str, fix: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix
        self.headers = dict(headers or {})


def body_of(error: ApiError, request_id: str) -> bytes:
    """The error's JSON."""
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
    """An error as an answer."""
    request.state.code = error.code
    return Response(
        body_of(error, request.state.request_id),
        STATUS[error.code],
        headers=error.headers,
        media_type="application/json",
    )


def api_error(error: Exception) -> ApiError:
    """Any exception as the error that a client is told."""
    match error:
        case ApiError():
            found = error
        case RequestValidationError():
            found = invalid(error)
        case HTTPException():
            found = of_framework(error)
        case TwoTowerError():
            found = told(error)
        case OverloadedError():
            found = ApiError(
                "overloaded",
                "more requests wait than can be answered soon",
                "try again in a second; add workers if it lasts",
                {"Retry-After": "1"},
            )
        case TimeoutError():
            found = ApiError("timeout", "the answer took too long", "ask for less, or try again")
        case _:
            found = ApiError(
                "internal", "the service failed", "look for the request id in the service's log"
            )
    return found


def of_framework(error: HTTPException) -> ApiError:
    """What the framework refuses."""
    match error.status_code:
        case 404:
            return ApiError("not_found", "there is no such path", "see /openapi.json for the paths")
        case 405:
            allowed = (error.headers or {}).get("Allow", "")
            fix = f"use {allowed}" if allowed else "see /openapi.json for the methods"
            message = "the path does not take this method"
            return ApiError("method_not_allowed", message, fix, error.headers)
        case 413:
            return ApiError("too_large", "the body is too large", "send less at a time")
    return ApiError("invalid_json", "the body cannot be read", "send a JSON object")


def told(error: TwoTowerError) -> ApiError:
    """An error of the library: its text holds problem and fix."""
    message, _, fix = str(error).partition(" Fix: ")
    match error:
        case NotFoundError():
            return ApiError("not_found", message, fix or "check the id")
        case ConflictError():
            return ApiError("conflict", message, fix or "look at the state again, then try again")
        case DataError():
            return ApiError("invalid_request", message, fix or "correct the request")
        case StoreError():
            return ApiError("unavailable", "the event store cannot be used now", "try again")
        case BundleError():
            return ApiError("conflict", message, fix or "name another version")
    return ApiError("invalid_request", message, fix or "correct the request")


def invalid(error: RequestValidationError) -> ApiError:
    """Which fields of a request are wrong. What was sent is not repeated."""
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return ApiError("invalid_json", "the body is no JSON", "send a JSON object")
    shown = [f"{place_of(problem)}: {reason_of(problem)}" for problem in problems]
    more = f"; and {len(shown) - SHOWN_PROBLEMS} more" if len(shown) > SHOWN_PROBLEMS else ""
    return ApiError(
        "invalid_request",
        "; ".join(dict.fromkeys(shown[:SHOWN_PROBLEMS])) + more,
        "see /openapi.json for what the path takes",
    )


def place_of(problem: Mapping[str, Any]) -> str:
    """Where in the request."""
    return ".".join(str(part)[:64] for part in problem["loc"])


def reason_of(problem: Mapping[str, Any]) -> str:
    """What is wrong there."""
    return str(problem["msg"]).removeprefix("Value error, ")


def add_handlers(app: FastAPI) -> None:
    """Have every exception of a route answered in one shape."""

    async def handle(request: Request, error: Exception) -> Response:
        told_error = api_error(error)
        if STATUS[told_error.code] >= 500:
            cause = error if told_error.code == "internal" else None
            request.state.failure = type(error).__name__
            log.error(
                "request_failed",
                exc_info=cause,
                extra={"request_id": request.state.request_id, "kind": type(error).__name__},
            )
        return respond(told_error, request)

    for kind in (
        ApiError,
        RequestValidationError,
        HTTPException,
        OverloadedError,
        TimeoutError,
        TwoTowerError,
    ):
        app.add_exception_handler(kind, handle)
