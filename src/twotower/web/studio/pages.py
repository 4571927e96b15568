"""The static files of the studio, read into memory once; a policy forbids all other scripts.

Their ETags depend only on their content; `docs/decisions/0027-libraries-of-the-service.md` says why
they are not served by Starlette's `StaticFiles`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import Request, Response

from twotower.web.errors import ApiError

FOLDER: Final = Path(__file__).with_name("static")
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
HEADERS: Final = {
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ]
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Headers of every file. Trusted types forbid scripts, also our own, to insert text as HTML."""


@dataclass(frozen=True)
class File:
    """A static file.

    Attributes:
        content: the whole file.
        type: media type.
        etag: hash of the content.
    """

    content: bytes
    type: str
    etag: str


def read_file(path: Path) -> File:
    """A file with one of the endings of `TYPES`."""
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    return File(content, TYPES[path.suffix], etag)


@cache
def files() -> dict[str, File]:
    """Path below `static/` -> file."""
    return {
        path.relative_to(FOLDER).as_posix(): read_file(path)
        for path in sorted(FOLDER.rglob("*"))
        if path.suffix in TYPES
    }


def respond(request: Request, name: str) -> Response:
    """Send a file of the studio.

    Raises:
        ApiError: there is no such file.
    """
    return send(request, files().get(name), HEADERS)


def send(request: Request, file: File | None, headers: Mapping[str, str]) -> Response:
    """Send a file, or 304 if the browser's copy is current.

    Raises:
        ApiError: there is no such file.
    """
    if file is None:
        raise ApiError("not_found", "no such file", "open the page at / or /docs")
    headers = {**headers, "ETag": file.etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.type, headers=headers)
