"""Routes for events, such as clicks and purchases."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence

from fastapi import Request, Response

from twotower.serving.answer.overlaid_model import OverlaidModel
from twotower.serving.answer.recommendation import Ignored
from twotower.serving.store.protocol import StoredEvent
from twotower.web.routes.base import (
    documented,
    json_response,
    request_id_of,
    router,
    service_of,
    warnings_document,
)
from twotower.web.service import Service
from twotower.web.turns import FEW, by_few
from twotower.web.wire import Event, EventOrEvents, Events, EventsAnswer
from twotower.web.wire.times import odd_time

routes = router("events")


@routes.post(
    "/events",
    summary="Log events",
    **documented("write", EventsAnswer, body=True),
)
async def post_events(body: EventOrEvents, request: Request) -> Response:
    """Store one or several events durably; they affect the user's next recommendations."""
    service = service_of(request)
    posted = body.events if isinstance(body, Events) else [body]
    async with service.many_events.turn(is_large=len(posted) > FEW):
        events, warnings = await prepared(posted, service)
        outcomes = await service.store_events(events)
    for warning in warnings:
        service.metrics.odd_events.labels(warning.code).inc()
    return json_response(
        {
            "request_id": request_id_of(request),
            "accepted": outcomes.count("accepted"),
            "duplicates": outcomes.count("duplicate"),
            "forgotten": outcomes.count("forgotten"),
            "event_ids": [event.event_id for event in events],
            "warnings": warnings_document(warnings),
        }
    )


async def prepared(
    posted: Sequence[Event], service: Service
) -> tuple[list[StoredEvent], list[Ignored]]:
    """Events in the form of the event store, and what is odd about them."""
    now, model = int(time.time()), service.worker.active()
    events: list[StoredEvent] = []
    warnings: list[Ignored] = []
    async for start, part in by_few(posted):
        some = [stored(event, now, service) for event in part]
        warnings += doubts(some, model, start)
        events += some
    return events, warnings


def doubts(events: Sequence[StoredEvent], model: OverlaidModel, first: int) -> Iterator[Ignored]:
    """What is odd about events, which are stored all the same: a client may be wrong about the
    names of items and types, or about the time. `first` is the place of the first one."""
    types = model.prepared.history.known_types
    for row, event in enumerate(events, start=first):
        if model.catalogue.num(event.item_id) < 0:
            yield Ignored("unknown_item", f"events.{row}.item_id", "no such item in the catalogue")
        if types and event.event_type is not None and event.event_type not in types:
            message = f"training did not see this type. There are: {', '.join(sorted(types)[:20])}"
            yield Ignored("unknown_event_type", f"events.{row}.event_type", message)
        if problem := odd_time(event.timestamp):
            yield Ignored("odd_time", f"events.{row}.timestamp", problem)


def stored(event: Event, now: int, service: Service) -> StoredEvent:
    """An event in the form of the event store."""
    return StoredEvent(
        event_id=event.event_id or uuid.uuid4().hex,
        user_id=event.user_id,
        item_id=event.item_id,
        timestamp=now if event.timestamp is None else event.timestamp,
        event_type=event.event_type,
        weight=None if event.weight is None else float(event.weight),
        request_id=event.request_id,
        variant=service.variant_of(event.user_id),
        context=event.context,
    )
