"""Recommendations, scores of given items, similar items."""

from __future__ import annotations

import time
from typing import Any

from fastapi import Request, Response

from twotower.serving.live.requests import Answer, Answered, Ask
from twotower.serving.live.scoring import similar_items
from twotower.serving.live.user_history import HistoryItem
from twotower.web.routes.base import documented, json_response, request_id_of, router, service_of
from twotower.web.routes.parameters import ItemId, K
from twotower.web.wire import (
    Asker,
    BatchAnswer,
    BatchRequest,
    HistoryEvent,
    RankAnswer,
    RankRequest,
    RecommendationRequest,
    Recommendations,
    SimilarAnswer,
)

routes = router("recommendations")


@routes.post(
    "/recommendations",
    summary="The best items for a user",
    **documented("read", Recommendations, body=True),
)
async def recommend(body: RecommendationRequest, request: Request) -> Response:
    """Answer a known user, an invented one, or nobody in particular.

    Filters, exclusions and the mask of seen items are applied before the best k are taken, so that
    k items come back wherever k exist.
    """
    start = time.perf_counter()
    service = service_of(request)
    found = (await service.recommend([ask_of(body)]))[0]
    service.note(found, request_id_of(request))
    return json_response(recommendations(found, request_id_of(request), start))


@routes.post(
    "/recommendations:batch",
    summary="The best items for several users",
    **documented("read", BatchAnswer, body=True),
)
async def recommend_batch(body: BatchRequest, request: Request) -> Response:
    """Answer several requests at once; one that is wrong refuses all."""
    start = time.perf_counter()
    service = service_of(request)
    answers = await service.recommend([ask_of(one) for one in body.requests])
    documents = []
    for place, found in enumerate(answers):
        request_id = f"{request_id_of(request)}.{place}"
        service.note(found, request_id)
        documents.append(recommendations(found, request_id, start))
    return json_response({"request_id": request_id_of(request), "answers": documents})


@routes.post("/rank", summary="Scores of given items", **documented("read", RankAnswer, body=True))
async def rank(body: RankRequest, request: Request) -> Response:
    """Order the items that the request names for a user."""
    start = time.perf_counter()
    found = await service_of(request).rank(ask_of(body, items=tuple(body.items)))
    document = recommendations(found, request_id_of(request), start)
    del document["live"]
    return json_response({**document, "unknown": found.unknown})


@routes.get(
    "/items/{item_id}/similar",
    summary="Items that are near to one",
    **documented("read", SimilarAnswer),
)
async def similar(item_id: ItemId, request: Request, k: K = 10) -> Response:
    """The items whose vectors are nearest."""

    def find(worker: Any) -> tuple[str, list[Answered]]:
        model = worker.active()
        return model.version, similar_items(item_id, k, model)

    version, items = await service_of(request).run_on_worker(find)
    return json_response(
        {
            "request_id": request_id_of(request),
            "item_id": item_id,
            "items": [item_document(item) for item in items],
            "model_version": version,
        }
    )


def ask_of(body: Asker, items: tuple[str | int, ...] | None = None) -> Ask:
    """A request's body as the answering thread takes it."""
    history = tuple(
        HistoryItem(one.item_id, one.event_type, one.timestamp)
        if isinstance(one, HistoryEvent)
        else HistoryItem(one)
        for one in body.history or ()
    )
    if not isinstance(body, RecommendationRequest):
        variant = body.variant if isinstance(body, RankRequest) else None
        return Ask(body.user_id, body.user, history, body.context, variant=variant, items=items)
    chosen = body.filter
    return Ask(
        body.user_id,
        body.user,
        history,
        body.context,
        k=body.k,
        filter=None if chosen is None else chosen.model_dump(by_alias=True, exclude_unset=True),
        exclude=tuple(body.exclude),
        mask_seen=body.mask_seen,
        diversity=body.diversity,
        reasons=body.reasons,
        variant=body.variant,
    )


def recommendations(found: Answer, request_id: str, start: float) -> dict[str, Any]:
    """An answer as JSON."""
    timings = {stage: round(1e3 * seconds, 3) for stage, seconds in found.seconds.items()}
    timings["total"] = round(1e3 * (time.perf_counter() - start), 3)
    return {
        "request_id": request_id,
        "user_id": found.user_id,
        "path": found.path,
        "live": found.live,
        "items": [item_document(item) for item in found.items],
        "model_version": found.version,
        "variant": found.variant,
        "timings_ms": timings,
    }


def item_document(item: Answered) -> dict[str, Any]:
    """An item of an answer as JSON."""
    return {
        "item_id": item.item_id,
        "score": item.score,
        "scores": item.scores,
        "reason": item.reason,
        "columns": item.columns,
    }
