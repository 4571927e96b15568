"""Requests and answers of a worker, as the parts that answer hand them on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twotower.serving.answer.filters import Expression
from twotower.serving.live.user_history import HistoryItem
from twotower.serving.store.protocol import Id


@dataclass(frozen=True)
class Ask:
    """Who asks, and for what.

    Attributes:
        user_id: of a user, known or not; None for an invented one.
        user: features of an invented user by column.
        history: what the request says the user took, oldest first.
        context: context features by column.
        k: how many items, at least 1.
        filter: which items may be answered, or None.
        exclude: items that are not to be answered.
        mask_seen: leave out what the user took.
        diversity: from 0 to 1.
        reasons: say why.
        variant: answer as this arm of the running experiment.
        items: score these alone, or None for the best of all.
    """

    user_id: Id | None = None
    user: Mapping[str, Any] | None = None
    history: tuple[HistoryItem, ...] = ()
    context: Mapping[str, Any] = field(default_factory=dict)
    k: int = 10
    filter: Expression | None = None
    exclude: tuple[Id, ...] = ()
    mask_seen: bool = True
    diversity: float = 0.0
    reasons: bool = True
    variant: str | None = None
    items: tuple[Id, ...] | None = None


@dataclass(frozen=True)
class Answered:
    """An item of an answer.

    Attributes:
        item_id: the raw id.
        score: by which the answer is ordered.
        scores: stage -> its score.
        reason: why, in words, or empty.
        columns: what the items file says of it.
    """

    item_id: Id
    score: float
    scores: Mapping[str, float]
    reason: str
    columns: Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What one request is answered.

    Attributes:
        user_id: as asked.
        path: the step of the fallback chain.
        live: whether events can change what the query tower reads of the user.
        items: best first.
        version: of the model; all of the answer is this one's.
        variant: the arm of the experiment, or None.
        seconds: stage -> time, of the batch that the request was answered in.
        unknown: of the items to be scored, those without a vector.
    """

    user_id: Id | None
    path: str
    live: bool
    items: list[Answered]
    version: str
    variant: str | None
    seconds: dict[str, float]
    unknown: tuple[Id, ...] = ()
