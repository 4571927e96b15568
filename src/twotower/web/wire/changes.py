"""Bodies of requests that change items, events and users."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, StrictBool, Tag, model_validator

from twotower.errors import unknown
from twotower.web.wire.base import (
    MAX_EVENTS,
    MAX_ITEMS,
    Columns,
    Id,
    IdNumber,
    Name,
    Number,
    RequestWarning,
    Token,
    Wire,
    example,
)
from twotower.web.wire.times import Seconds


class PutItem(Wire):
    """An item to add or update."""

    item_id: Id
    columns: Columns = Field(default_factory=dict)
    """Columns of the items table, from which the item features are computed. Others are kept, shown
    and can be filtered on."""
    hidden: StrictBool | None = None
    """True: do not recommend it. Default: as it is, and a new item is shown."""


class PutItems(Wire):
    """Items to add or update, all or none."""

    model_config = example(items=[{"item_id": "new-1", "columns": {"title": "Dune", "price": 9.5}}])

    items: Annotated[list[PutItem], Field(min_length=1, max_length=MAX_ITEMS)]
    strict: StrictBool = False
    """Refuse columns that the active version does not know. By default they are kept and named in
    `warnings`."""


class PatchItem(Wire):
    """What changes in an item."""

    item_id: Id
    columns: Columns = Field(default_factory=dict)
    """The columns that change; null makes one a missing value, the others stay as they are."""
    hidden: StrictBool | None = None
    """True: do not recommend it; false: show it again. Default: as it is."""


class PatchItems(Wire):
    """Items to change in part, all or none."""

    model_config = example(
        items=[{"item_id": "i7", "columns": {"price": 7.5}}, {"item_id": "i9", "hidden": True}]
    )

    items: Annotated[list[PatchItem], Field(min_length=1, max_length=MAX_ITEMS)]
    strict: StrictBool = False
    """As in `PUT /v1/items`."""


class PutItemsAnswer(Wire):
    """Result of adding or updating items."""

    request_id: Token
    added: int
    """Number of new items."""
    changed: int
    """Number of existing items that were updated."""
    without_vector: list[Id]
    """Items without any known feature: they are stored, but have no item vector."""
    warnings: list[RequestWarning]
    """Columns that no version in use knows, and values that one of them cannot read."""


class PatchItemsAnswer(Wire):
    """Result of changing items in part."""

    request_id: Token
    changed: int
    """Number of items."""
    without_vector: list[Id]
    """As in the answer to `PUT /v1/items`."""
    warnings: list[RequestWarning]
    """As in the answer to `PUT /v1/items`."""


class RemovedItem(Wire):
    """An item that was removed."""

    request_id: Token
    item_id: Id


class RemovedUser(Wire):
    """Result of forgetting a user."""

    request_id: Token
    user_id: Id
    impressions: int
    """Number of logged recommendations that were deleted."""
    events: int
    """Number of events that were deleted. The model is unchanged until the next training, but the
    user is treated as an unknown user."""


class Event(Wire):
    """An interaction of a user with an item."""

    model_config = example(
        event_id="e-1", user_id="u42", item_id="i7", event_type="click", request_id="r-1"
    )

    event_id: Token | None = None
    """Idempotency key: posting an event with the same id again has no effect. Default: a random id.
    """
    user_id: Id
    item_id: Id
    event_type: Name | None = None
    timestamp: Seconds | None = None
    """Seconds since 1970, UTC, or ISO 8601 text. Default: now."""
    weight: Number | IdNumber | None = None
    """Weight, as in the `weight` column of the interactions table."""
    request_id: Token | None = None
    """Id of the recommendation request that led to the event."""
    context: Columns = Field(default_factory=dict)
    """Context features at the time of the event, stored for the next training."""

    @model_validator(mode="before")
    @classmethod
    def _keys_are_known(cls, body: Any) -> Any:
        known = cls.model_fields.keys()
        if isinstance(body, dict) and not body.keys() <= known:
            key = str(next(key for key in body if key not in known))[:64]
            problem = unknown(f"an event has no field {key!r}", key, known)
            raise ValueError(f"{problem}. Values of your own belong in 'context'")
        return body


class Events(Wire):
    """Several events, all or none."""

    model_config = example(events=[{"event_id": "e-2", "user_id": "u42", "item_id": "i9"}])

    events: Annotated[list[Event], Field(min_length=1, max_length=MAX_EVENTS)]


EventOrEvents = Annotated[
    Annotated[Event, Tag("one")] | Annotated[Events, Tag("several")],
    Discriminator(lambda body: "several" if isinstance(body, dict) and "events" in body else "one"),
]
"""A body with one event or with several."""


class EventsAnswer(Wire):
    """Result of logging events; they have been stored durably."""

    request_id: Token
    accepted: int
    """Number of new events."""
    duplicates: int
    """Number of events that were already stored."""
    forgotten: int
    """Number of events that were not stored because their user was forgotten at or after their
    timestamp."""
    event_ids: list[Token]
    """Event ids in the order of the request."""
    warnings: list[RequestWarning]
    """Unknown items and event types, and odd times, at most 20."""
