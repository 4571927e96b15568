"""What a named proxy says of a request: who asks, and below which path prefix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

PREFIX = re.compile(r"(/[\w.~%!$&'()*+,;=:@-]+)*", re.ASCII)
"""A path prefix such as `/recs`, without a slash at the end; empty for none."""


class NamedProxies:
    """Believes the `X-Forwarded-...` headers of named proxies, and of nobody else.

    Uvicorn reads `X-Forwarded-For` and `X-Forwarded-Proto`. This adds `X-Forwarded-Prefix`, which
    takes the place of `--root-path`; one that is not a path is ignored.
    """

    def __init__(self, app: ASGIApp, proxies: Sequence[str]) -> None:
        # Its types are Uvicorn's own names for those of Starlette.
        self._reader: Any = ProxyHeadersMiddleware(cast(Any, app), list(proxies))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        client = scope.get("client")
        if client is not None and client[0] in self._reader.trusted_hosts:
            prefix = dict(scope["headers"]).get(b"x-forwarded-prefix", b"").decode("latin-1")
            prefix = prefix.rstrip("/")
            if prefix and PREFIX.fullmatch(prefix):
                scope["root_path"] = prefix
        await self._reader(scope, receive, send)
