"""Answers: recommendations, the catalogue, users."""

from __future__ import annotations

from typing import Any, Literal

from twotower.web.wire.base import Id, RequestWarning, Token, Wire, example

Path = Literal["known", "history", "features", "popular"]
Timings = dict[str, float]
"""Stage -> milliseconds: `queue` and `encode`, then those of the stages, and `total`."""


class AnsweredItem(Wire):
    """A recommended item."""

    model_config = example(
        item_id="i7",
        score=0.83,
        scores={"retrieve": 0.83},
        reason='Similar to "The Paper Mirror", which you viewed',
        reason_code="similar_to_history",
        reason_parameters={
            "item_id": "i9",
            "item": "The Paper Mirror",
            "event_type": "view",
            "similarity": 0.57,
        },
        columns={"title": "The Glass Garden"},
    )

    item_id: Id
    score: float
    """Items are ordered by it, before diversity."""
    scores: dict[str, float]
    """Stage -> the score that it gave."""
    reason: str
    """Why, in a sentence; empty if `reasons` is false."""
    reason_code: str
    """Why, for programs; `docs/service.md` lists the codes. Empty if `reasons` is false."""
    reason_parameters: dict[str, Any]
    """What the sentence is made of."""
    columns: dict[str, Any]
    """The columns of the items file."""


class Recommendations(Wire):
    """The answer to one request."""

    request_id: Token
    """Name it in the events that this answer leads to."""
    user_id: Id | None
    path: Path
    """The step of the fallback chain that answered."""
    live: bool
    """Whether an event posted now can change this user's next answer beyond the mask of seen
    items."""
    items: list[AnsweredItem]
    """Best first."""
    model_version: str
    variant: str | None
    """Of the running experiment, null without one."""
    warnings: list[RequestWarning]
    """What of the request was ignored."""
    timings_ms: Timings


class BatchAnswer(Wire):
    """The answers to a batch, in its order, all of one version."""

    request_id: Token
    answers: list[Recommendations]


class RankAnswer(Wire):
    """Given items with their scores, best first."""

    request_id: Token
    user_id: Id | None
    path: Path
    items: list[AnsweredItem]
    unknown: list[Id]
    """Those without a score: not in the catalogue, removed, hidden, or of no known feature."""
    model_version: str
    variant: str | None
    warnings: list[RequestWarning]
    timings_ms: Timings


class SimilarAnswer(Wire):
    """The items whose vectors are nearest to one's."""

    request_id: Token
    item_id: Id
    items: list[AnsweredItem]
    model_version: str


# --- catalogue, users


class CatalogueItem(Wire):
    """An item of the catalogue."""

    item_id: Id
    columns: dict[str, Any]
    taken: int
    """Training rows of it."""
    added: bool
    """Whether it came by `PUT /v1/items`, after the bundle was made."""
    hidden: bool
    """Whether it is not recommended until it is shown again."""
    has_vector: bool
    """Without one only popularity answers it."""


class ItemPage(Wire):
    """A page of the catalogue."""

    items: list[CatalogueItem]
    total: int
    """Items that the search found."""
    offset: int
    next_offset: int | None
    """Null on the last page."""
    model_version: str


class UserSummary(Wire):
    """A user of a list."""

    user_id: Id
    path: Path
    events: int
    """Items known of the user, from training and live."""


class UserPage(Wire):
    """A page of the users that the bundle knows."""

    users: list[UserSummary]
    total: int
    offset: int
    next_offset: int | None


class UserEvent(Wire):
    """An event of a user's history."""

    item_id: Id | None
    """Null for an item that is not in the catalogue."""
    event_type: str | None
    timestamp: int | None
    live: bool
    """Whether it came by `POST /v1/events`."""
    columns: dict[str, Any]
    """What the items file says of the item."""


class UserAnswer(Wire):
    """What the service knows of a user, and what the query tower makes of it."""

    user_id: Id
    in_training: bool
    path: Path
    """The path that a request without context would be answered by."""
    columns: dict[str, Any]
    """What the users file says."""
    history: list[UserEvent]
    """Oldest first, the newest thousand."""
    events_read: int
    """So many of the newest events the query tower reads; 0 without a history feature."""
    vector: list[float] | None
    """The query vector without context; null on the path `popular`."""
    model_version: str
