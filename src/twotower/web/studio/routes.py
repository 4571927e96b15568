"""Routes of the studio: the page, its files, and the data it needs besides `/v1`.

All routes are read-only: the page logs events through `/v1/events`. The page, its files and
`/studio/api/access` are public; all data requires the scope `read`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated, Concatenate, Final, Generic, ParamSpec, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from twotower.data.arrays.ranked import POPULAR
from twotower.data.values.ids import MAX_ID_LENGTH
from twotower.serving.answer.requests import AnswerRequest
from twotower.serving.answer.resolve_request import paths_of, query_vectors
from twotower.serving.bundle.queries import Floats
from twotower.serving.bundle.served_model import ServedModel
from twotower.serving.live.worker import Worker
from twotower.web.access.rate import address_of
from twotower.web.errors import ApiError
from twotower.web.routes.base import ScopedRoute, json_response, service_of
from twotower.web.studio import pages
from twotower.web.studio.architecture.graph import graph
from twotower.web.studio.architecture.trace import trace
from twotower.web.studio.bundle import describe
from twotower.web.studio.glossary.examples import EXAMPLES, example
from twotower.web.studio.glossary.terms_page import terms
from twotower.web.studio.item_cards import item_cards
from twotower.web.studio.layout import MIN_ARRANGED, LayoutName, can_arrange
from twotower.web.studio.lessons import lesson_routes, notebook_response
from twotower.web.studio.map import ItemMap
from twotower.web.studio.pictures import picture
from twotower.web.studio.quality import quality
from twotower.web.studio.share import Live, quality_notebook, share_routes
from twotower.web.studio.stage_quality import stage_quality
from twotower.web.wire import Asker
from twotower.web.wire.base import Id, Wire

MAX_CARDS: Final = 500
"""Maximum number of items in a request for item cards."""
READ: Final = {"x-scope": "read"}

P = ParamSpec("P")
T = TypeVar("T")


class ItemCardsRequest(Wire):
    """Items to show."""

    item_ids: Annotated[list[Id], Field(max_length=MAX_CARDS)]


class OnePerModel(Generic[P, T]):
    """Caches the result of a function for the current model and the same arguments."""

    def __init__(self, make: Callable[Concatenate[ServedModel, P], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: tuple[ServedModel, object, T] | None = None

    def __call__(self, served: ServedModel, *more: P.args, **named: P.kwargs) -> T:
        """The result for the model; concurrent callers wait for the first one."""
        with self._lock:
            made, asked = self._made, (more, named)
            if made is None or made[0] is not served or made[1] != asked:
                made = self._made = (served, asked, self._make(served, *more, **named))
            return made[2]


class Maps:
    """The map of the current model in each layout."""

    def __init__(self) -> None:
        self._by_components = OnePerModel(ItemMap.of)
        self._by_neighbours = OnePerModel(ItemMap.by_neighbours)

    def __call__(self, served: ServedModel, layout: LayoutName = "components") -> ItemMap:
        """The map of a model.

        Raises:
            ApiError: its items cannot be arranged by their neighbours.
        """
        by_components = self._by_components(served)
        if layout == "components":
            return by_components
        if not can_arrange(len(by_components.shown)):
            raise ApiError(
                "not_found",
                "the items cannot be arranged by their neighbours",
                f"install twotower[map], for at least {MIN_ARRANGED} items",
            )
        return self._by_neighbours(served)


async def forgotten(request: Request) -> frozenset[str]:
    """The users of whom nothing in the bundle may be used."""
    return await service_of(request).run_on_worker(lambda worker: worker.recent.forgotten)


Forgotten = Annotated[frozenset[str], Depends(forgotten)]


def vector_of(asked: AnswerRequest, worker: Worker) -> tuple[ServedModel, Floats | None]:
    """The query vector (D,) of a request, and the model that it is of; None if the request is
    answered by popularity."""
    model, one = worker.resolve(asked)
    if paths_of([one], model)[0] == POPULAR:
        return model.served, None
    return model.served, query_vectors([one], model)[0]


def studio_router() -> APIRouter:
    """The page, its files, and `/studio/api`."""
    router = APIRouter(include_in_schema=False)
    _add_open(router)
    parts = (item_routes, model_routes, glossary_routes, lesson_routes, share_routes)
    for part in parts:
        router.include_router(part())
    return router


def _add_open(router: APIRouter) -> None:
    @router.get("/")
    def page(request: Request) -> Response:
        return pages.respond(request, "index.html")

    @router.get("/studio/static/{name:path}")
    def file(request: Request, name: str) -> Response:
        return pages.respond(request, name)

    @router.get("/studio/api/access")
    async def access(request: Request) -> Response:
        """Lets the page prompt for a key before it sends a request that would be rejected."""
        service = service_of(request)
        service.rate.hit(f"address {address_of(request)}")
        return json_response(asdict(await service.keys.access(request)))


def _guarded() -> APIRouter:
    return APIRouter(prefix="/studio/api", route_class=ScopedRoute, include_in_schema=False)


def item_routes() -> APIRouter:
    """Routes for items, the map and query vectors."""
    router = _guarded()
    maps, descriptions = Maps(), OnePerModel(describe)

    @router.get("/bundle", openapi_extra=READ)
    def bundle(model: Live, gone: Forgotten) -> Response:
        described = descriptions(model.served)
        users = [user for user in described["users"] if str(user["user_id"]) not in gone]
        return json_response({**described, "users": users})

    @router.get("/map", openapi_extra=READ)
    def points(model: Live, layout: LayoutName = "components") -> Response:
        return json_response(maps(model.served, layout).to_json())

    @router.get("/map/colours", openapi_extra=READ)
    def colours(column: str, model: Live, layout: LayoutName = "components") -> Response:
        described = descriptions(model.served)["item_columns"]
        known = ["interactions", *(c["name"] for c in described if c["colours"])]
        if column not in known:
            raise ApiError(
                "not_found",
                f"column {column!r} cannot colour the map",
                f"use one of: {', '.join(known)}",
            )
        return json_response(maps(model.served, layout).colours(column))

    @router.post("/vector", openapi_extra=READ)
    async def vector(
        asked: Asker, request: Request, model: Live, layout: LayoutName = "components"
    ) -> Response:
        """The query vector, and its place on the map: none for a vector of another version."""
        look = partial(vector_of, asked.to_request())
        served, found = await service_of(request).run_on_worker(look)
        place = None
        if found is not None and served is model.served:
            place = await run_in_threadpool(lambda: maps(served, layout).place(found))
        return json_response({"vector": None if found is None else found.tolist(), "place": place})

    @router.post("/item-cards", openapi_extra=READ)
    def cards(asked: ItemCardsRequest, model: Live) -> Response:
        return json_response(item_cards(maps(model.served), model, asked.item_ids))

    @router.get("/picture", openapi_extra=READ)
    def image(item_id: Annotated[str, Query(max_length=MAX_ID_LENGTH)], model: Live) -> Response:
        content = picture(model.served.items, item_id)
        if content is None:
            raise ApiError("not_found", "this item has no image", "show a placeholder")
        headers = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
        return Response(content, media_type="image/jpeg", headers=headers)

    return router


def model_routes() -> APIRouter:
    """Routes for the architecture and the quality of the model."""
    router = _guarded()
    measured_once = OnePerModel(stage_quality)

    @router.get("/graph", openapi_extra=READ)
    def nodes(model: Live) -> Response:
        return json_response(graph(model.served))

    @router.post("/trace", openapi_extra=READ)
    async def steps(request: Request) -> Response:
        # On the thread that answers requests: some encoders cache their last input.
        found = await service_of(request).run_on_worker(
            lambda worker: trace(worker.active().served)
        )
        return json_response(found)

    @router.get("/stages", openapi_extra=READ)
    def by_stage(request: Request, model: Live, gone: Forgotten) -> Response:
        folder = service_of(request).worker.pool.path(model.version)
        return json_response(measured_once(model.served, folder, gone))

    @router.get("/quality", openapi_extra=READ)
    def measured(request: Request, model: Live, gone: Forgotten) -> Response:
        folder = service_of(request).worker.pool.path(model.version)
        return json_response(quality(model.served, folder, gone))

    @router.get("/share/quality", openapi_extra=READ)
    def shared(request: Request, model: Live, gone: Forgotten) -> Response:
        folder = service_of(request).worker.pool.path(model.version)
        return notebook_response(quality_notebook(quality(model.served, folder, gone)), "quality")

    return router


def glossary_routes() -> APIRouter:
    """Routes for the glossary and its examples."""
    router = _guarded()

    @router.get("/terms", openapi_extra=READ)
    def glossary() -> Response:
        return json_response([asdict(term) for term in terms()])

    @router.get("/terms/{slug}/example", openapi_extra=READ)
    def on_this_bundle(slug: str, model: Live, gone: Forgotten) -> Response:
        if slug not in EXAMPLES:
            raise ApiError("not_found", f"no such term: {slug!r}", "see /studio/api/terms")
        return json_response(example(model.served, slug, gone).to_json())

    return router
