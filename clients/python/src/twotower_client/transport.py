"""Requests and errors, the same for all operations."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx


class ServiceError(Exception):
    """An answer of the service that is an error.

    Attributes:
        status: HTTP status.
        code: machine-readable code, such as `invalid_request`.
        message: what is wrong.
        fix: how to fix it.
        request_id: finds the request in the service's log.
        retry_after: seconds to wait before another try, or None.
    """

    def __init__(self, response: httpx.Response) -> None:
        try:
            error = response.json()["error"]
        except (ValueError, KeyError, TypeError):
            # Of a gateway before the service.
            error = {"message": response.text[:200]}
        self.status = response.status_code
        self.code = str(error.get("code", "unknown"))
        self.message = str(error.get("message", ""))
        self.fix = str(error.get("fix", ""))
        self.request_id = str(error.get("request_id", ""))
        wait = response.headers.get("retry-after", "")
        self.retry_after = float(wait) if wait.isdecimal() else None
        super().__init__(f"{self.status} {self.code}: {self.message}")


class Transport:
    """A connection to the service. Threads may share one."""

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 10.0,
        connect_retries: int = 2,
    ) -> None:
        """Connect at the first request.

        Args:
            base_url: address of the service, with the path prefix of a gateway if there is one.
            key: API key, or None for a service without keys.
            timeout: of each request, in seconds.
            connect_retries: further tries to connect. A request that was sent is not sent again.
        """
        self._client = httpx.Client(
            base_url=base_url,
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            timeout=timeout,
            transport=httpx.HTTPTransport(retries=connect_retries),
        )

    def request(
        self,
        method: str,
        template: str,
        *,
        path: Mapping[str, str | int] | None = None,
        query: Mapping[str, Any] | None = None,
        body: object = None,
    ) -> Any:
        """Send a request; the JSON of the answer, or its text.

        Raises:
            ServiceError: the service refuses the request.
            httpx.TransportError: the service cannot be reached, or does not answer in time.
        """
        url = template.lstrip("/")
        for name, value in (path or {}).items():
            url = url.replace("{" + name + "}", segment(str(value)))
        headers = {"Content-Type": "application/json"} if method != "GET" else {}
        response = self._client.request(method, url, params=query, headers=headers, json=body)
        if response.is_error:
            raise ServiceError(response)
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return response.json() if is_json else response.text

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def segment(value: str) -> str:
    """An id as one segment of a path. Dots are encoded, too: a segment of nothing but dots would be
    resolved."""
    encoded = quote(value, safe="")
    return encoded if value.strip(".") else encoded.replace(".", "%2E")
