"""`/docs`: the OpenAPI document as a page from which requests can be sent.

It is Swagger UI, whose files come from the package fastapi-offline: nothing is loaded from another
host.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from twotower.web.studio.pages import HEADERS as STUDIO_HEADERS
from twotower.web.studio.pages import File, read_file, send

HEADERS: Final = {
    **STUDIO_HEADERS,
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            # Swagger UI sets styles in its markup.
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    ),
}
PAGE: Final = "index.html"

routes = APIRouter(include_in_schema=False)


@cache
def static_files() -> dict[str, File]:
    """Name below `/docs/` -> file."""
    own = Path(__file__).with_name("static")
    theirs = Path(str(files("fastapi_offline"))) / "static"
    found = [own / PAGE, own / "start.js"]
    found += [theirs / name for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")]
    return {path.name: read_file(path) for path in found}


@routes.get("/docs")
def page(request: Request) -> Response:
    """The page."""
    return send(request, static_files()[PAGE], HEADERS)


@routes.get("/docs/{name}")
def file(request: Request, name: str) -> Response:
    """A file of the page."""
    return send(request, static_files().get(name), HEADERS)
