"""Routes for events, such as clicks and purchases."""

from __future__ import annotations

import time

from fastapi import Request, Response

from twotower.serving.store.protocol import StoredEvent
from twotower.web.routes.base import documented, json_response, request_id_of, router, service_of
from twotower.web.service import Service, new_event_id
from twotower.web.wire import Event, EventOrEvents, Events, EventsAnswer

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
    now = int(time.time())
    events = [stored(event, now, service) for event in posted]
    outcomes = await service.store_events(events)
    return json_response(
        {
            "request_id": request_id_of(request),
            "accepted": outcomes.count("accepted"),
            "duplicates": outcomes.count("duplicate"),
            "forgotten": outcomes.count("forgotten"),
            "event_ids": [event.event_id for event in events],
        }
    )


def stored(event: Event, now: int, service: Service) -> StoredEvent:
    """An event in the form of the event store."""
    return StoredEvent(
        event_id=event.event_id or new_event_id(),
        user_id=event.user_id,
        item_id=event.item_id,
        timestamp=now if event.timestamp is None else event.timestamp,
        event_type=event.event_type,
        weight=None if event.weight is None else float(event.weight),
        request_id=event.request_id,
        variant=service.variant_of(event.user_id),
        context=event.context,
    )
