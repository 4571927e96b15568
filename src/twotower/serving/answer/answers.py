"""What a recommender answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RecommendedItem:
    """An item of an answer.

    Attributes:
        item_id: the raw id.
        score: of the last stage that scores: inner product of query and item vector, or what the
            ranker says; training rows on the path `popular`.
        reason: why, in words.
        columns: what the items file says of it.
        stage_scores: stage -> score, of the stages that ran.
    """

    item_id: str | int
    score: float
    reason: str
    columns: dict[str, Any]
    stage_scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Recommendation:
    """An answer to one user.

    Attributes:
        user_id: as asked.
        path: the step of the fallback chain that answered: known, history, features or popular.
        live: whether an event posted now could change the answer; not without a history feature.
        items: best first.
    """

    user_id: str | int | None
    path: str
    items: list[RecommendedItem]
    live: bool = False
