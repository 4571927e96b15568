"""What is asked: who is to be answered, and how to search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from twotower.data.columns import ID_FEATURE, USER_ID
from twotower.data.dataset.entities import Features, encode_rows
from twotower.data.features.schema import Schema, Side
from twotower.errors import DataError
from twotower.serving.answer.filters import Expression
from twotower.serving.overlay.item_encoder import to_frame
from twotower.serving.store.protocol import Id


class HistoryItem(NamedTuple):
    """An item that a request says the user interacted with."""

    item_id: Id
    event_type: str | None = None
    timestamp: int | None = None


@dataclass(frozen=True)
class SearchOptions:
    """How to search, whoever asks.

    Attributes:
        k: how many items, at least 1.
        filter: which items may be answered, or None; see `filters`.
        exclude: items that are not to be answered; unknown ids are ignored.
        mask_seen: leave out what the user interacted with.
        diversity: from 0, the best items, to 1, items as unlike each other as can be.
        reasons: explain each item.

    Raises:
        ValueError: `k` or `diversity` is out of range.
    """

    k: int = 10
    filter: Expression | None = None
    exclude: tuple[Id, ...] = ()
    mask_seen: bool = True
    diversity: float = 0.0
    reasons: bool = True

    def __post_init__(self) -> None:
        check_search(self.k, self.diversity)


def check_search(k: int, diversity: float = 0.0) -> None:
    """Refuse a k below 1, and a diversity outside 0 .. 1."""
    if k < 1:
        raise ValueError(f"The 'k' parameter must be at least 1. Got {k} instead.")
    if not 0 <= diversity <= 1:
        raise ValueError(f"The 'diversity' parameter must be from 0 to 1. Got {diversity} instead.")


@dataclass(frozen=True)
class AnswerRequest:
    """One request, from the HTTP route to the answer.

    Attributes:
        user_id: of a user, known or unknown; None for an invented one.
        user: features of an invented user by column.
        history: what the request says the user interacted with, oldest first.
        context: context features by column.
        options: how to search.
        variant: answer as this arm of the running experiment; default: the user's own.
        items: score these alone; default: search for the best of all.
        strict: refuse columns that the version which answers does not know; otherwise they are
            passed over.
    """

    user_id: Id | None = None
    user: Mapping[str, Any] | None = None
    history: tuple[HistoryItem, ...] = ()
    context: Mapping[str, Any] = field(default_factory=dict)
    options: SearchOptions = SearchOptions()
    variant: str | None = None
    items: tuple[Id, ...] | None = None
    strict: bool = True


def column_names(schema: Schema, side: Side) -> list[str]:
    """The columns that the features of a side read."""
    return [f.column for name, f in schema.features[side].items() if name != ID_FEATURE]


def encode_columns(schema: Schema, side: Side, columns: Mapping[str, Any]) -> Features:
    """One row of features: name -> (1, ...); absent columns are missing values.

    Raises:
        DataError: a value is not of its feature's type.
    """
    cells = {name: [columns.get(name)] for name in column_names(schema, side)}
    cells |= {USER_ID: [None]} if side == "user" else {}
    try:
        return encode_rows(schema, side, to_frame(cells, schema, side))
    except DataError as error:
        # A request has one row: its number says nothing.
        raise DataError(str(error).removeprefix("row 1, ")) from None
