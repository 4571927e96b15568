"""What changes the catalogue and the histories: items, events, users forgotten."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Field, Tag

from twotower.web.wire.base import (
    MAX_EVENTS,
    MAX_ITEMS,
    Columns,
    Id,
    IdNumber,
    Name,
    Number,
    Seconds,
    Token,
    Wire,
    example,
)


class PutItem(Wire):
    """An item to add, or to describe anew."""

    item_id: Id
    columns: Columns = Field(default_factory=dict)
    """As in the items file; the item features are read from them."""


class PutItems(Wire):
    """Items to add or to describe anew; all or none."""

    model_config = example(items=[{"item_id": "new-1", "columns": {"title": "Dune", "price": 9.5}}])

    items: Annotated[list[PutItem], Field(min_length=1, max_length=MAX_ITEMS)]


class PutItemsAnswer(Wire):
    """What became of them."""

    request_id: Token
    added: int
    changed: int
    """Were there before; they have a new vector and new columns now."""
    without_vector: list[Id]
    """No feature of them is known: they are kept, and not recommended by any tower."""


class RemovedItem(Wire):
    """An item that is answered no more."""

    request_id: Token
    item_id: Id


class RemovedUser(Wire):
    """What was forgotten of a user."""

    request_id: Token
    user_id: Id
    impressions: int
    """Answers that were erased from the store."""
    events: int
    """Events that were erased, too. What the bundle learned stays in it until the next
    training; the user is answered as one that nobody knows."""


class Event(Wire):
    """Something that a user did with an item."""

    model_config = example(
        event_id="e-1", user_id="u42", item_id="i7", event_type="click", request_id="r-1"
    )

    event_id: Token | None = None
    """Posting an event with the same id again changes nothing. Left out: one is made."""
    user_id: Id
    item_id: Id
    event_type: Name | None = None
    timestamp: Seconds | None = None
    """Left out: now."""
    weight: Number | IdNumber | None = None
    """As the training table's column of that name."""
    request_id: Token | None = None
    """The answer that led to it."""
    context: Columns = Field(default_factory=dict)
    """Context features at that time, kept for the next training."""


class Events(Wire):
    """Several events; all or none."""

    model_config = example(events=[{"event_id": "e-2", "user_id": "u42", "item_id": "i9"}])

    events: Annotated[list[Event], Field(min_length=1, max_length=MAX_EVENTS)]


EventOrEvents = Annotated[
    Annotated[Event, Tag("one")] | Annotated[Events, Tag("several")],
    Discriminator(lambda body: "several" if isinstance(body, dict) and "events" in body else "one"),
]
"""A body of one event, or of several."""


class EventsAnswer(Wire):
    """The events are on disk."""

    request_id: Token
    accepted: int
    """New ones."""
    duplicates: int
    """Were there before."""
    forgotten: int
    """Not stored, because their user was forgotten at their time or later."""
    event_ids: list[Token]
    """In the order of the request."""
