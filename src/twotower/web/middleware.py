"""Middleware around every request: request id, body size limit, access log and metrics."""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twotower.web.errors import LOOK_IN_LOG, SEND_LESS, STATUS, ApiError, error_body
from twotower.web.http_protocol import REFUSED
from twotower.web.metrics import Metrics
from twotower.web.tracing import Tracing

log = logging.getLogger("twotower.access")

REQUEST_ID, TRACE_PARENT = b"x-request-id", b"traceparent"
_TOKEN = re.compile(r"[\w.:\-]{1,64}", re.ASCII)
_TRACE = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})"
)


class RequestMiddleware:
    """ASGI middleware around the whole application.

    Every response has an `X-Request-Id` header: the client's own, if it sent a valid one, else the
    trace id of its `traceparent`, else a random one. A `traceparent` (W3C Trace Context) is
    returned with the same trace id and a new parent id: that of the request's span if requests are
    traced (see `tracing`).
    """

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, max_body: int, tracing: Tracing | None = None
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["path"] = encoded_path(scope.get("raw_path") or scope["path"].encode())
        request = _TrackedRequest(scope, receive, send, self._max_body)
        if self._tracing is not None:
            request.trace_parent = self._tracing.begin(scope) or request.trace_parent
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
                await request.refuse(ApiError("internal", "internal error", LOOK_IN_LOG))
        finally:
            self._record(request)

    def _record(self, request: _TrackedRequest) -> None:
        seconds = time.perf_counter() - request.start
        route = request.scope.get("route")
        path = getattr(route, "path_format", "none")
        # The connection may have been closed with an answer that the application does not see.
        status = request.scope["state"].get(REFUSED, request.status)
        self._metrics.requested(path, request.method, status, seconds)
        if self._tracing is not None:
            self._tracing.end(request.scope, path, status)
        if log.isEnabledFor(logging.INFO):
            log.info(
                "request",
                extra={
                    "request_id": request.request_id,
                    "method": request.method,
                    "route": path,
                    "status": status,
                    "code": request.scope["state"].get("code"),
                    "ms": round(1e3 * seconds, 2),
                },
            )


class _TrackedRequest:
    """One request, with what the log and the metrics need of it."""

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
        traced = _TRACE.fullmatch(headers.get(TRACE_PARENT, b"").decode("latin-1"))
        self.trace_parent = b""
        if traced is not None:
            parent = f"00-{traced[1]}-{secrets.token_hex(8)}-{traced[2]}"
            self.trace_parent = parent.encode()
        given = named if _TOKEN.fullmatch(named) else traced and traced[1]
        made = secrets.token_hex(12)
        self.request_id = given or made
        self._length = headers.get(b"content-length", b"0")
        # Until it was seen to be complete; short bodies come with the headers.
        self._is_sending = b"transfer-encoding" in headers or len(self._length) > LONG_BODY_DIGITS
        scope.setdefault("state", {}).update(request_id=self.request_id, answer_id=made)

    @property
    def method(self) -> str:
        """The method, or `other` if it is not a common one: a metric's label has few values."""
        method = str(self.scope["method"])
        return method if method in METHODS else "other"

    def declares_too_much(self) -> bool:
        """Whether `Content-Length` exceeds the limit."""
        return self._length.isdigit() and int(self._length) > self._max_body

    async def receive(self) -> Message:
        """Receive a part of the body.

        Raises:
            HTTPException: the body is too large.
        """
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self._is_sending = bool(message.get("more_body"))
        if self._received > self._max_body:
            raise HTTPException(413)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            added = [(REQUEST_ID, self.request_id.encode())]
            if self.trace_parent:
                added.append((TRACE_PARENT, self.trace_parent))
            if self._is_sending or self._received > self._max_body:
                # What else the client sends is not read.
                added.append((b"connection", b"close"))
            message["headers"] = [*message.get("headers", ()), *added]
        await self._send(message)

    async def refuse(self, error: ApiError) -> None:
        """Send an error response and close the connection."""
        self.scope["state"]["code"] = error.code
        body = error_body(error, self.request_id)
        headers: list[Any] = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        self._is_sending = True
        await self.send(
            {"type": "http.response.start", "status": STATUS[error.code], "headers": headers}
        )
        await self.send({"type": "http.response.body", "body": body})


def encoded_path(raw: bytes) -> str:
    """The path of a request in the one spelling in which routes are matched: percent-encoded, but
    for what need not be. So a slash in an id separates nothing, and a line end ends nothing.

    >>> encoded_path(b"/v1/models%3Arollback"), encoded_path(b"/v1/items/a%2fb%20c")
    ('/v1/models:rollback', '/v1/items/a%2Fb%20c')
    """
    return "/".join(quote(unquote_to_bytes(part), safe=PLAIN) for part in raw.split(b"/"))


PLAIN = "!$&'()*+,;=:@~"
"""Besides letters, digits and `_.-`, what a path may contain without being encoded (RFC 3986)."""
LONG_BODY_DIGITS = 5
"""Digits of `Content-Length` beyond which a body may still be on its way when it is refused."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


def too_large(max_body: int) -> ApiError:
    """The error for a body above the limit."""
    return ApiError("too_large", f"the request body exceeds {max_body:,} bytes", SEND_LESS)
