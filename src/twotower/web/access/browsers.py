"""Checks against web pages of other origins, and of media types."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.requests import Request

from twotower.web.errors import ApiError


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself: `localhost` or a loopback address.

    >>> is_loopback("127.0.0.2"), is_loopback("::1"), is_loopback("127.evil.example")
    (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class BrowserCheck:
    """Refuses requests that a browser sends for a page of another origin.

    A service without keys trusts everything that reaches it. A page of another site reaches it
    through the user's browser: with its own `Origin`, or, by DNS rebinding, with its own `Host`.
    """

    def __init__(self, allowed_hosts: Sequence[str] = (), origins: Sequence[str] = ()) -> None:
        """Take what is allowed.

        Args:
            allowed_hosts: host names besides those of the loopback interface.
            origins: origins whose pages may use the service.
        """
        self._allowed = frozenset(name.lower() for name in allowed_hosts)
        self._origins = frozenset(origins)

    def check(self, request: Request) -> None:
        """Check one request; requests of programs have no `Origin`.

        Raises:
            ApiError: the host is not an allowed one, or the origin is another site.
        """
        host = request.headers.get("host", "")
        name = host_name("//" + host)
        if host and name not in self._allowed and not is_loopback(name):
            raise ApiError(
                "wrong_host",
                "the request names a host that this service does not serve",
                "use http://127.0.0.1, start with --allowed-host NAME, or create an API key",
            )
        origin = request.headers.get("origin")
        if origin is None or origin in self._origins or host_name(origin) in self._allowed:
            return
        if origin.partition("://")[2].lower() != host.lower():
            raise ApiError(
                "wrong_origin",
                "a web page of another origin may not use this service",
                "start with --cors-origin ORIGIN, or with --allowed-host NAME behind a proxy",
            )


def host_name(url: str) -> str:
    """The host of a URL in lower case; empty if it has none or is malformed."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def check_media_type(request: Request) -> None:
    """Check that a body is declared as JSON: browsers send other types without asking first.

    Raises:
        ApiError: it is not, or it is compressed.
    """
    headers = request.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise ApiError("wrong_media_type", "the body is compressed", "send it as it is")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return
    raise ApiError(
        "wrong_media_type",
        "the body is not declared as JSON",
        "send the header 'Content-Type: application/json'",
    )
