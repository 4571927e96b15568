"""Limits of what a connection may send before a request reaches the application."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
import sys
import termios
import time
from functools import cache
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from twotower.web.errors import SEND_LESS, STATUS, ApiError, error_body
from twotower.web.settings import SETTINGS, ServeSettings

log = logging.getLogger(__name__)

REFUSED = "refused"
"""Key in the state of a request whose connection was closed with an error -> the status."""
MAX_HEAD = 64 * 1024
"""Bytes of a request's line and headers, and of what is neither these nor a part of its body:
extensions of chunks, trailers."""


class BoundedProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol, which alone keeps headers of any length, and waits for ever.

    A request's headers have at most `MAX_HEAD` bytes, and the whole request arrives within
    `ServeSettings.receive_timeout` seconds; otherwise the connection gets an error and is closed.
    On Linux it is closed as well if for so long nothing is taken of an answer. Trailers are passed
    over: as headers they could replace those that a proxy has set.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._beside_body = 0
        self._in_head = False
        self._deadline: asyncio.TimerHandle | None = None
        self._next_look: asyncio.TimerHandle | None = None
        self._began = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request no longer than for a further one."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        """Pass on what was received, unless it is a head that is too long."""
        self._beside_body += len(data)
        if not self._in_head or self._beside_body <= MAX_HEAD:
            super().data_received(data)
        if self._beside_body > MAX_HEAD:
            self._refuse(
                ApiError("headers_too_large", f"the headers exceed {MAX_HEAD:,} bytes", SEND_LESS)
            )

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True
        self._began = time.perf_counter()
        self._stop_clock()
        self._deadline = self.loop.call_later(receive_timeout(), self._too_slow)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The body begins."""
        self._in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._beside_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._beside_body = 0
        self._stop_clock()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        if sys.platform == "linux":
            self._look_at_client(self._untaken() + 1)

    def resume_writing(self) -> None:
        """The client has taken enough."""
        self._stop_looking()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._stop_clock()
        self._stop_looking()
        super().connection_lost(exc)

    def _untaken(self) -> int:
        """Bytes of answers that the client has not received, here and in the kernel."""
        own = self.transport.get_extra_info("socket")
        found = fcntl.ioctl(own.fileno(), termios.TIOCOUTQ, bytes(4))
        return self.transport.get_write_buffer_size() + int.from_bytes(found, sys.byteorder)

    def _look_at_client(self, before: int) -> None:
        """Close the connection unless the client has received something since the last look."""
        untaken = self._untaken()
        if untaken < before:
            self._next_look = self.loop.call_later(receive_timeout(), self._look_at_client, untaken)
            return
        log.warning("answer_not_taken", extra={"bytes": untaken})
        self.transport.abort()

    def _stop_looking(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        problem = f"the request did not arrive within {receive_timeout():g} seconds"
        self._refuse(ApiError("slow_request", problem, "send it at once, or in smaller parts"))

    def _refuse(self, error: ApiError) -> None:
        """Answer with an error that the application does not see, and close the connection."""
        self._stop_clock()
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if not self._in_head and cycle is not None and cycle.response_started:
            # It was answered before all of it was there.
            self.transport.close()
            return
        log.warning("connection_refused", extra={"code": error.code})
        body = error_body(error, secrets.token_hex(12))
        status = HTTPStatus(STATUS[error.code])
        if self._in_head or cycle is None:
            seconds = time.perf_counter() - self._began
            self.app.state.metrics.requested("none", "other", status.value, seconds)
        else:
            # The application has the request already, and counts it when the connection is closed.
            self.scope["state"].update({REFUSED: status.value, "code": error.code})
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


@cache
def receive_timeout() -> float:
    """Seconds in which a request has to arrive, from the settings of the process."""
    return ServeSettings.model_validate_json(os.environ[SETTINGS]).receive_timeout
