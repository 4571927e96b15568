"""What is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, NamedTuple

from twotower.serving.store.protocol import Id


class Ignored(NamedTuple):
    """Something of a request that the version which answers does not know, and passes over.

    Attributes:
        code: see `RequestWarning` of the service.
        field: such as `context.device` or `filter.price`.
        message: in words.
    """

    code: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class RecommendedItem:
    """An item of an answer.

    Attributes:
        item_id: the raw id.
        score: of the last stage that scores: inner product of query and item vector, or the
            ranker's probability; on the path `popular` training rows.
        stage_scores: stage -> score, of the stages that ran.
        reason: why, in a sentence; empty where reasons were not asked for.
        reason_code: why, for programs; see `reasons`.
        reason_parameters: what the sentence is made of.
        columns: the columns of the items file, pictures left out.
    """

    item_id: Id
    score: float
    stage_scores: Mapping[str, float]
    reason: str
    reason_code: str
    reason_parameters: Mapping[str, Any]
    columns: Mapping[str, Any]


@dataclass(frozen=True)
class Recommendation:
    """The answer to one request.

    >>> answer = recommender.recommend("u00001", k=2)
    >>> answer
    Recommendation('u00001', path='known', 2 items: ..., ...)

    Attributes:
        user_id: as asked; None for an invented user.
        path: the step of the fallback chain that answered: known, history, features or popular.
        items: best first.
        live: whether new events affect this user's recommendations.
        model_version: of the model that answered all of it; empty for one outside a service.
        variant: the arm of the experiment, or None.
        unknown: of the items to be scored, those without a vector.
        seconds: stage -> time, of the batch that the request was answered in.
        ignored: what of the request was passed over.
    """

    user_id: Id | None
    path: str
    items: list[RecommendedItem]
    live: bool = False
    model_version: str = ""
    variant: str | None = None
    unknown: tuple[Id, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict, compare=False)
    ignored: tuple[Ignored, ...] = ()

    def __repr__(self) -> str:
        first = ", ".join(str(item.item_id) for item in self.items[:3])
        more = ", ..." if len(self.items) > 3 else ""
        count = f"{len(self.items)} items"
        listed = f"{count}: {first}{more}" if self.items else count
        return f"Recommendation({self.user_id!r}, path={self.path!r}, {listed})"

    def _repr_html_(self) -> str:
        head = f"<p>For user {escape(str(self.user_id))} (path: {self.path})</p>"
        return head + items_html(self.items)


def items_html(items: Sequence[RecommendedItem]) -> str:
    """Items as an HTML table."""
    rows = "".join(
        f"<tr><td>{rank}</td><td>{escape(str(item.item_id))}</td><td>{item.score:.3f}</td>"
        f"<td>{escape(item.reason)}</td></tr>"
        for rank, item in enumerate(items, start=1)
    )
    return f"<table><tr><th></th><th>item</th><th>score</th><th>reason</th></tr>{rows}</table>"
