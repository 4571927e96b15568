"""Requests for answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Self

from pydantic import Field, StrictBool, model_validator
from pydantic.config import JsonDict

from twotower.serving.answer.requests import AnswerRequest, HistoryItem, SearchOptions
from twotower.web.wire.base import (
    MAX_BATCH,
    MAX_HISTORY,
    MAX_IDS,
    MAX_K,
    Columns,
    Id,
    Name,
    Wire,
    example,
)
from twotower.web.wire.filters import Filter
from twotower.web.wire.times import Seconds


class HistoryEvent(Wire):
    """An item that the user interacted with."""

    item_id: Id
    event_type: Name | None = None
    timestamp: Seconds | None = None
    """Seconds since 1970, UTC, or ISO 8601 text."""


NOT_BOTH: JsonDict = {
    "not": {
        "required": ["user_id", "user"],
        "properties": {"user_id": {"type": ["string", "integer"]}, "user": {"type": "object"}},
    }
}
"""What the OpenAPI document says of an `Asker` besides the types of its fields."""


class Asker(Wire):
    """The user to answer: one by id, or an invented one by features and history; without either,
    what is popular."""

    user_id: Id | None = None
    """A known or an unknown user; an unknown one is answered, too."""
    user: Columns | None = None
    """Features of an invented user; not together with `user_id`."""
    history: Annotated[list[Id | HistoryEvent], Field(max_length=MAX_HISTORY)] | None = None
    """Items that the user interacted with, oldest first. Together with a `user_id` they follow the
    events that the service knows, for this answer alone. Unknown items are ignored."""
    context: Columns = Field(default_factory=dict)
    """Context features of the request."""
    strict: StrictBool = False
    """Refuse columns that the version which answers does not know. By default they are ignored and
    named in `warnings`: versions may differ in what they read."""

    @model_validator(mode="after")
    def _known_or_invented(self) -> Self:
        if self.user_id is not None and self.user is not None:
            raise ValueError("give either 'user_id' or 'user', the features of an invented user")
        return self

    def to_request(self) -> AnswerRequest:
        """The body as the answering thread takes it."""
        history = tuple(
            HistoryItem(one.item_id, one.event_type, one.timestamp)
            if isinstance(one, HistoryEvent)
            else HistoryItem(one)
            for one in self.history or ()
        )
        return AnswerRequest(self.user_id, self.user, history, self.context, strict=self.strict)


class RecommendationRequest(Asker):
    """A request for the k best items."""

    model_config = example(
        NOT_BOTH,
        user_id="u42",
        k=5,
        filter={"column": "price", "range": {"max": 20}},
        mask_seen=True,
    )

    k: int = Field(10, strict=True, ge=1, le=MAX_K)
    """How many items; fewer come back only where fewer exist."""
    filter: Filter | None = None
    """Which items may be recommended; applied before the k best are chosen."""
    exclude: Annotated[list[Id], Field(max_length=MAX_IDS)] = Field(default_factory=list)
    """Items that are not to be recommended."""
    mask_seen: StrictBool = True
    """Leave out items that the user has interacted with."""
    diversity: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] = 0.0
    """0: the best scores; towards 1, items that are more unlike each other."""
    reasons: StrictBool = True
    """Explain why each item was chosen."""
    variant: Name | None = None
    """Answer as this variant of the running experiment; default: a hash of the user picks it."""

    def to_request(self) -> AnswerRequest:
        """The body as the answering thread takes it."""
        chosen = self.filter
        options = SearchOptions(
            self.k,
            None if chosen is None else chosen.model_dump(by_alias=True, exclude_unset=True),
            tuple(self.exclude),
            self.mask_seen,
            self.diversity,
            self.reasons,
        )
        return replace(super().to_request(), options=options, variant=self.variant)


class BatchRequest(Wire):
    """Several requests, answered together by one version of the model."""

    model_config = example(requests=[{"user_id": "u42", "k": 3}, {"history": ["i7", "i9"]}])

    requests: Annotated[list[RecommendationRequest], Field(min_length=1, max_length=MAX_BATCH)]


class RankRequest(Asker):
    """A request for the scores of given items."""

    model_config = example(NOT_BOTH, user_id="u42", items=["i7", "i9"])

    items: Annotated[list[Id], Field(min_length=1, max_length=MAX_K)]
    """What to score, each once."""
    variant: Name | None = None
    """As in a request for recommendations."""

    def to_request(self) -> AnswerRequest:
        """The body as the answering thread takes it."""
        return replace(super().to_request(), items=tuple(self.items), variant=self.variant)
