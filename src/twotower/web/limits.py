"""What lies around every request: its id, the limit on its body, the log and the metrics."""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twotower.web.errors import STATUS, ApiError, body_of
from twotower.web.metrics import Metrics

log = logging.getLogger("twotower.access")

REQUEST_ID = b"x-request-id"
_TOKEN = re.compile(r"[\w.:\-]{1,64}", re.ASCII)


class Frame:
    """ASGI middleware around the whole application.

    A client may name its request by the header `X-Request-Id`; every answer has one.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, max_body: int) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope, receive, send, self._max_body)
        try:
            if request.declares_too_much():
                await request.refuse(too_large(self._max_body))
            else:
                await self._app(scope, request.receive, request.send)
        except Exception as error:
            log.exception(
                "request_failed",
                extra={"request_id": request.request_id, "kind": type(error).__name__},
            )
            if not request.status:
                message = "look for the request id in the service's log"
                await request.refuse(ApiError("internal", "the service failed", message))
        finally:
            self._note(request)

    def _note(self, request: _Request) -> None:
        seconds = time.perf_counter() - request.start
        route = request.scope.get("route")
        path = getattr(route, "path_format", "none")
        self._metrics.requested(path, request.method, request.status, seconds)
        if log.isEnabledFor(logging.INFO):
            log.info(
                "request",
                extra={
                    "request_id": request.request_id,
                    "method": request.method,
                    "route": path,
                    "status": request.status,
                    "code": request.scope["state"].get("code"),
                    "ms": round(1e3 * seconds, 2),
                },
            )


class _Request:
    """One request on its way through."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body: int) -> None:
        self.start = time.perf_counter()
        self.scope = scope
        self.status = 0
        self._receive = receive
        self._send = send
        self._max_body = max_body
        self._received = 0
        headers = dict(scope["headers"])
        named = headers.get(REQUEST_ID, b"").decode("latin-1")
        self.request_id = named if _TOKEN.fullmatch(named) else secrets.token_hex(12)
        self._length = headers.get(b"content-length", b"0")
        scope.setdefault("state", {})["request_id"] = self.request_id

    @property
    def method(self) -> str:
        """Of the request; one of few values, whatever is sent."""
        method = str(self.scope["method"])
        return method if method in METHODS else "other"

    def declares_too_much(self) -> bool:
        """Whether the header says that the body is too large."""
        return self._length.isdigit() and int(self._length) > self._max_body

    async def receive(self) -> Message:
        """A part of the body.

        Raises:
            HTTPException: the body is too large.
        """
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._max_body:
            raise HTTPException(413)
        return message

    async def send(self, message: Message) -> None:
        """A part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", ()),
                (REQUEST_ID, self.request_id.encode()),
            ]
        await self._send(message)

    async def refuse(self, error: ApiError) -> None:
        """Answer an error."""
        self.scope["state"]["code"] = error.code
        body = body_of(error, self.request_id)
        headers: list[Any] = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        await self.send(
            {"type": "http.response.start", "status": STATUS[error.code], "headers": headers}
        )
        await self.send({"type": "http.response.body", "body": body})


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


def too_large(max_body: int) -> ApiError:
    """For a body beyond the limit."""
    return ApiError(
        "too_large", f"the body has more than {max_body:,} bytes", "send less at a time"
    )
