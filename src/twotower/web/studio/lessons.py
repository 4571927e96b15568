"""Routes of the lessons: as pages for the Lessons view, and as notebooks to download."""

from __future__ import annotations

from functools import cache
from typing import Final

from fastapi import APIRouter, Response

from twotower.lessons.notebooks import notebook
from twotower.lessons.pages import tree
from twotower.lessons.texts import Lesson, lessons
from twotower.web.errors import ApiError
from twotower.web.routes.base import ScopedRoute, json_response

READ: Final = {"x-scope": "read"}


def lesson_routes() -> APIRouter:
    """The list of lessons, and each as a page and as a notebook."""
    router = APIRouter(
        prefix="/studio/api/lessons", route_class=ScopedRoute, include_in_schema=False
    )

    @router.get("", openapi_extra=READ)
    def listed() -> Response:
        return json_response([{"slug": one.slug, "title": one.title} for one in lessons()])

    @router.get("/{slug}", openapi_extra=READ)
    def page(slug: str) -> Response:
        return Response(_page(named(slug)), media_type="application/json")

    @router.get("/{slug}/notebook", openapi_extra=READ)
    def as_notebook(slug: str) -> Response:
        return notebook_response(_notebook(named(slug)), slug)

    return router


def named(slug: str) -> Lesson:
    """The lesson of a slug.

    Raises:
        ApiError: there is none.
    """
    for lesson in lessons():
        if lesson.slug == slug:
            return lesson
    raise ApiError("not_found", f"no such lesson: {slug!r}", "see /studio/api/lessons")


@cache
def _page(lesson: Lesson) -> bytes:
    found = json_response(
        {"slug": lesson.slug, "title": lesson.title, "content": tree(lesson.text)}
    )
    return bytes(found.body)


@cache
def _notebook(lesson: Lesson) -> str:
    return notebook(lesson.text)


def notebook_response(content: str, name: str) -> Response:
    """A notebook that the browser saves as a file."""
    headers = {
        "Content-Disposition": f'attachment; filename="{name}.ipynb"',
        "X-Content-Type-Options": "nosniff",
    }
    return Response(content, media_type="application/x-ipynb+json", headers=headers)
