"""The studio: a page that the service itself serves, and what the page asks for beside `/v1`.

`app.include_router(studio_router(recommender))` mounts it. Nothing here changes anything: events
go through `/v1/events` like everybody's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.params import Depends as Dependency
from pydantic import BaseModel, ConfigDict, Field

from twotower.serving.recommender import Recommender
from twotower.web import studio_pages
from twotower.web.studio_bundle import describe
from twotower.web.studio_examples import EXAMPLES, example
from twotower.web.studio_graph import graph
from twotower.web.studio_learn import terms
from twotower.web.studio_map import ItemMap, looks
from twotower.web.studio_pictures import picture
from twotower.web.studio_quality import quality
from twotower.web.studio_trace import trace

Finder = Callable[[Request], Recommender]
"""The recommender that answers at the time of a request."""
MAX_LOOKS: Final = 500
"""Items of one request for looks."""

T = TypeVar("T")


class Looks(BaseModel):
    """Items to be shown."""

    model_config = ConfigDict(extra="forbid")

    item_ids: Annotated[list[str | int], Field(max_length=MAX_LOOKS)]


class PerRecommender(Generic[T]):
    """What is computed once for each recommender: when another one answers, it is made anew."""

    def __init__(self, make: Callable[[Recommender], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: tuple[Recommender, T] | None = None

    def of(self, recommender: Recommender) -> T:
        """The recommender's own; the last one is kept."""
        with self._lock:
            if self._made is None or self._made[0] is not recommender:
                self._made = (recommender, self._make(recommender))
            return self._made[1]


def studio_router(find: Finder, *, guards: Sequence[Dependency] = ()) -> APIRouter:
    """The page, its files, and `/studio/api`.

    Args:
        find: gives the recommender that answers.
        guards: dependencies that a request for data must pass, such as a check of its key; the
            page itself is open.
    """
    router = APIRouter(include_in_schema=False)
    _add_files(router)
    router.include_router(_data(find), dependencies=list(guards))
    return router


def _add_files(router: APIRouter) -> None:
    @router.get("/")
    def page(request: Request) -> Response:
        return studio_pages.answer(request, "index.html")

    @router.get("/studio/static/{name:path}")
    def file(request: Request, name: str) -> Response:
        return studio_pages.answer(request, name)


def _data(find: Finder) -> APIRouter:
    router = APIRouter(prefix="/studio/api", include_in_schema=False)
    maps = PerRecommender(ItemMap.of)
    descriptions = PerRecommender(describe)

    @router.get("/bundle")
    def bundle(request: Request) -> dict[str, Any]:
        return descriptions.of(find(request))

    @router.get("/map")
    def points(request: Request) -> dict[str, Any]:
        return maps.of(find(request)).to_json()

    @router.get("/map/colours")
    def colours(request: Request, column: str) -> dict[str, Any]:
        known = [c["name"] for c in descriptions.of(find(request))["item_columns"] if c["colours"]]
        if column not in ["taken", *known]:
            raise HTTPException(404, f"no column {column!r} that can colour the map")
        return maps.of(find(request)).colours(column)

    @router.post("/looks")
    def faces(request: Request, asked: Looks) -> list[dict[str, Any]]:
        return looks(maps.of(find(request)), asked.item_ids)

    @router.get("/picture")
    def image(request: Request, item_id: str) -> Response:
        content = picture(find(request).items, item_id)
        if content is None:
            raise HTTPException(404, "this item has no picture that can be shown")
        headers = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
        return Response(content, media_type="image/jpeg", headers=headers)

    @router.get("/graph")
    def nodes(request: Request) -> dict[str, Any]:
        return graph(find(request))

    @router.post("/trace")
    def steps(request: Request) -> dict[str, Any]:
        return trace(find(request))

    @router.get("/quality")
    def measured(request: Request) -> dict[str, Any]:
        return quality(find(request))

    @router.get("/terms")
    def glossary() -> list[dict[str, Any]]:
        return [asdict(term) for term in terms()]

    @router.get("/terms/{slug}/example")
    def on_this_bundle(request: Request, slug: str) -> dict[str, Any]:
        if slug not in EXAMPLES:
            raise HTTPException(404, f"no term {slug!r}")
        return example(find(request), slug).to_json()

    return router
