"""Requests for answers."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StrictBool, model_validator

from twotower.web.wire.base import (
    MAX_BATCH,
    MAX_HISTORY,
    MAX_IDS,
    MAX_K,
    Columns,
    Id,
    Name,
    Seconds,
    Wire,
    example,
)
from twotower.web.wire.filters import Filter


class HistoryEvent(Wire):
    """Something that the asking user took."""

    item_id: Id
    event_type: Name | None = None
    timestamp: Seconds | None = None


class Asker(Wire):
    """Who is to be answered: a user by id, or an invented one by features and history, or nobody,
    for what is popular."""

    user_id: Id | None = None
    """A user that the service knows, or not: nobody is refused."""
    user: Columns | None = None
    """Features of an invented user; not beside `user_id`."""
    history: Annotated[list[Id | HistoryEvent], Field(max_length=MAX_HISTORY)] | None = None
    """What the user took, oldest first. Beside a `user_id` it follows what the service knows, for
    this answer alone. Items outside the catalogue are passed over."""
    context: Columns = Field(default_factory=dict)
    """Context features of the request."""

    @model_validator(mode="after")
    def _known_or_invented(self) -> Self:
        if self.user_id is not None and self.user is not None:
            raise ValueError("give either 'user_id' or 'user', the features of an invented user")
        return self


class RecommendationRequest(Asker):
    """Asks for the k best items."""

    model_config = example(
        user_id="u42", k=5, filter={"column": "price", "range": {"max": 20}}, mask_seen=True
    )

    k: int = Field(10, strict=True, ge=1, le=MAX_K)
    """How many items; fewer come back only where fewer exist."""
    filter: Filter | None = None
    """Applied before the best k are taken."""
    exclude: Annotated[list[Id], Field(max_length=MAX_IDS)] = Field(default_factory=list)
    """Items that are not to be answered."""
    mask_seen: StrictBool = True
    """Leave out what the user has taken."""
    diversity: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """0: the best scores; towards 1, items that are more unlike each other."""
    reasons: StrictBool = True
    """Say why each item was chosen."""
    variant: Name | None = None
    """Answer as this variant of the running experiment; left out, a hash of the user picks it."""


class BatchRequest(Wire):
    """Several requests, answered together by one version of the model."""

    model_config = example(requests=[{"user_id": "u42", "k": 3}, {"history": ["i7", "i9"]}])

    requests: Annotated[list[RecommendationRequest], Field(min_length=1, max_length=MAX_BATCH)]


class RankRequest(Asker):
    """Asks for the scores of given items."""

    model_config = example(user_id="u42", items=["i7", "i9"])

    items: Annotated[list[Id], Field(min_length=1, max_length=MAX_K)]
    """What to score, each once."""
    variant: Name | None = None
    """As in a request for recommendations."""
