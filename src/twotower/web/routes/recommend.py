"""Recommendations, scores of given items, similar items."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
from fastapi import Request, Response

from twotower.serving.answer.answering import similar_items
from twotower.serving.answer.recommendation import Recommendation, RecommendedItem
from twotower.serving.live.batching import LARGE
from twotower.serving.live.worker import Worker
from twotower.web.routes.base import (
    answer_id_of,
    as_json,
    documented,
    json_response,
    request_id_of,
    router,
    service_of,
    warnings_document,
)
from twotower.web.routes.parameters import ItemId, K
from twotower.web.tracing import note_stages
from twotower.web.wire import (
    BatchAnswer,
    BatchRequest,
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
    found = (await service.recommend([body.to_request()]))[0]
    note_stages(request.scope["state"], found.seconds)
    service.note(found, answer_id_of(request))
    return json_response(recommendations(found, answer_id_of(request), start))


@routes.post(
    "/recommendations:batch",
    summary="The best items for several users",
    **documented("read", BatchAnswer, body=True),
)
async def recommend_batch(body: BatchRequest, request: Request) -> Response:
    """Answer several requests at once; one that is wrong refuses all."""
    start = time.perf_counter()
    service = service_of(request)
    answers = await service.recommend([one.to_request() for one in body.requests])
    note_stages(request.scope["state"], answers[0].seconds)
    documents = []
    for place, found in enumerate(answers):
        answer_id = f"{answer_id_of(request)}.{place}"
        service.note(found, answer_id)
        documents.append(orjson.Fragment(as_json(recommendations(found, answer_id, start))))
        # Others are answered in between.
        await asyncio.sleep(0)
    return json_response({"request_id": answer_id_of(request), "answers": documents})


@routes.post("/rank", summary="Scores of given items", **documented("read", RankAnswer, body=True))
async def rank_items(body: RankRequest, request: Request) -> Response:
    """Order the items that the request names for a user."""
    start = time.perf_counter()
    found = await service_of(request).rank(body.to_request())
    note_stages(request.scope["state"], found.seconds)
    document = recommendations(found, request_id_of(request), start)
    del document["live"]
    return json_response({**document, "unknown": found.unknown})


@routes.get(
    "/items/{item_id:path}/similar",
    summary="Items that are near to one",
    **documented("read", SimilarAnswer),
)
async def find_similar_items(item_id: ItemId, request: Request, k: K = 10) -> Response:
    """The items whose vectors are nearest."""

    def find(worker: Worker) -> tuple[str, list[RecommendedItem]]:
        model = worker.active()
        return model.version, similar_items(item_id, k, model)

    version, items = await service_of(request).run_on_worker(find, is_large=k > LARGE)
    return json_response(
        {
            "request_id": request_id_of(request),
            "item_id": item_id,
            "items": [item_document(item) for item in items],
            "model_version": version,
        }
    )


def recommendations(found: Recommendation, request_id: str, start: float) -> dict[str, Any]:
    """An answer as JSON."""
    timings = {stage: round(1e3 * seconds, 3) for stage, seconds in found.seconds.items()}
    timings["total"] = round(1e3 * (time.perf_counter() - start), 3)
    return {
        "request_id": request_id,
        "user_id": found.user_id,
        "path": found.path,
        "live": found.live,
        "items": [item_document(item) for item in found.items],
        "model_version": found.model_version,
        "variant": found.variant,
        "warnings": warnings_document(found.ignored),
        "timings_ms": timings,
    }


def item_document(item: RecommendedItem) -> dict[str, Any]:
    """An item of an answer as JSON."""
    return {
        "item_id": item.item_id,
        "score": item.score,
        "scores": item.stage_scores,
        "reason": item.reason,
        "reason_code": item.reason_code,
        "reason_parameters": item.reason_parameters,
        "columns": item.columns,
    }
