"""The studio: a page that the service itself serves, and what the page asks for beside `/v1`.

`app.include_router(studio_router())` mounts it. Nothing here changes anything: events go through
`/v1/events` like everybody's. The page, its files and what a key may do are open; what the page
shows needs the scope `read`, as `/v1` does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated, Concatenate, Final, Generic, ParamSpec, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from twotower.data.arrays.ranked import POPULAR
from twotower.serving.answer.recommender import Recommender
from twotower.serving.live.model import LiveModel
from twotower.serving.live.requests import Ask
from twotower.serving.live.resolve_user import person_of, queries_of
from twotower.serving.live.worker import Worker
from twotower.web.auth import address_of
from twotower.web.errors import ApiError
from twotower.web.routes.base import ScopedRoute, json_response, service_of
from twotower.web.routes.recommend import ask_of
from twotower.web.studio import pages
from twotower.web.studio.architecture.graph import graph
from twotower.web.studio.architecture.trace import trace
from twotower.web.studio.bundle import describe
from twotower.web.studio.glossary.examples import EXAMPLES, example
from twotower.web.studio.glossary.terms_page import terms
from twotower.web.studio.looks import looks
from twotower.web.studio.map import ItemMap
from twotower.web.studio.pictures import picture
from twotower.web.studio.quality import quality
from twotower.web.studio.stages import stages
from twotower.web.wire import Asker
from twotower.web.wire.base import Id, Wire

MAX_LOOKS: Final = 500
"""Items of one request for looks."""
READ: Final = {"x-scope": "read"}

P = ParamSpec("P")
T = TypeVar("T")


class LooksRequest(Wire):
    """Items to be shown."""

    item_ids: Annotated[list[Id], Field(max_length=MAX_LOOKS)]


class OnePerRecommender(Generic[P, T]):
    """What is computed once for each recommender: when another one answers, it is made anew."""

    def __init__(self, make: Callable[Concatenate[Recommender, P], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: tuple[Recommender, T] | None = None

    def __call__(self, recommender: Recommender, *more: P.args, **named: P.kwargs) -> T:
        """The recommender's own; the last one is kept. Who asks meanwhile waits for it."""
        with self._lock:
            if self._made is None or self._made[0] is not recommender:
                self._made = (recommender, self._make(recommender, *more, **named))
            return self._made[1]


async def live(request: Request) -> LiveModel:
    """The version that answers now."""
    return await service_of(request).run_on_worker(lambda worker: worker.active())


Live = Annotated[LiveModel, Depends(live)]


def vector_of(ask: Ask, worker: Worker) -> list[float] | None:
    """The query vector of whoever asks; None for one of whom nothing is known."""
    model, _ = worker.model_of(ask.user_id, None)
    person = person_of(ask, model, worker.recent)
    if person.path == POPULAR:
        return None
    users, context, history, *_ = queries_of([person], model)
    vectors: list[float] = model.chain.stages.queries.vectors(users, context, history)[0].tolist()
    return vectors


def studio_router() -> APIRouter:
    """The page, its files, and `/studio/api`."""
    router = APIRouter(include_in_schema=False)
    _add_open(router)
    for part in (item_routes(), model_routes(), glossary_routes()):
        router.include_router(part)
    return router


def _add_open(router: APIRouter) -> None:
    @router.get("/")
    def page(request: Request) -> Response:
        return pages.respond(request, "index.html")

    @router.get("/studio/static/{name:path}")
    def file(request: Request, name: str) -> Response:
        return pages.respond(request, name)

    @router.get("/studio/api/access")
    def access(request: Request) -> Response:
        """So that the page can ask for a key before it sends what would be refused."""
        service = service_of(request)
        service.rate.hit(address_of(request))
        return json_response(asdict(service.keys.access(request)))


def _guarded() -> APIRouter:
    return APIRouter(prefix="/studio/api", route_class=ScopedRoute, include_in_schema=False)


def item_routes() -> APIRouter:
    """What the items look like and where they lie."""
    router = _guarded()
    maps, descriptions = OnePerRecommender(ItemMap.of), OnePerRecommender(describe)

    @router.get("/bundle", openapi_extra=READ)
    def bundle(model: Live) -> Response:
        return json_response(descriptions(model.recommender))

    @router.get("/map", openapi_extra=READ)
    def points(model: Live) -> Response:
        return json_response(maps(model.recommender).to_json())

    @router.get("/map/colours", openapi_extra=READ)
    def colours(column: str, model: Live) -> Response:
        described = descriptions(model.recommender)["item_columns"]
        known = ["taken", *(c["name"] for c in described if c["colours"])]
        if column not in known:
            raise ApiError(
                "not_found",
                f"no column {column!r} that can colour the map",
                f"use one of: {', '.join(known)}",
            )
        return json_response(maps(model.recommender).colours(column))

    @router.post("/vector", openapi_extra=READ)
    async def vector(asked: Asker, request: Request) -> Response:
        ask = ask_of(asked)
        return json_response(
            {"vector": await service_of(request).run_on_worker(partial(vector_of, ask))}
        )

    @router.post("/looks", openapi_extra=READ)
    def faces(asked: LooksRequest, model: Live) -> Response:
        return json_response(looks(maps(model.recommender), model, asked.item_ids))

    @router.get("/picture", openapi_extra=READ)
    def image(item_id: Annotated[str, Query(max_length=256)], model: Live) -> Response:
        content = picture(model.recommender.items, item_id)
        if content is None:
            raise ApiError("not_found", "this item has no picture", "the page draws it a cover")
        headers = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
        return Response(content, media_type="image/jpeg", headers=headers)

    return router


def model_routes() -> APIRouter:
    """What the model is made of, and how good it is."""
    router = _guarded()
    measured_once = OnePerRecommender(stages)

    @router.get("/graph", openapi_extra=READ)
    def nodes(model: Live) -> Response:
        return json_response(graph(model.recommender))

    @router.post("/trace", openapi_extra=READ)
    async def steps(request: Request) -> Response:
        # On the thread that answers: some encoders keep what they saw last.
        found = await service_of(request).run_on_worker(
            lambda worker: trace(worker.active().recommender)
        )
        return json_response(found)

    @router.get("/stages", openapi_extra=READ)
    def by_stage(request: Request, model: Live) -> Response:
        folder = service_of(request).worker.pool.path(model.version)
        return json_response(measured_once(model.recommender, folder))

    @router.get("/quality", openapi_extra=READ)
    def measured(request: Request, model: Live) -> Response:
        folder = service_of(request).worker.pool.path(model.version)
        return json_response(quality(model.recommender, folder))

    return router


def glossary_routes() -> APIRouter:
    """The terms, and each on the bundle that is served."""
    router = _guarded()

    @router.get("/terms", openapi_extra=READ)
    def glossary() -> Response:
        return json_response([asdict(term) for term in terms()])

    @router.get("/terms/{slug}/example", openapi_extra=READ)
    def on_this_bundle(slug: str, model: Live) -> Response:
        if slug not in EXAMPLES:
            raise ApiError("not_found", f"no term {slug!r}", "see /studio/api/terms")
        return json_response(example(model.recommender, slug).to_json())

    return router
