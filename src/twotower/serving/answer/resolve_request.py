"""A request to what the models read of its user.

Shapes: Q requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.dataset.entities import OUTSIDE, Features
from twotower.data.features.schema import Side
from twotower.errors import DataError, explain, unknown
from twotower.serving.answer.overlaid_model import Mask, OverlaidModel
from twotower.serving.answer.requests import AnswerRequest, HistoryItem, column_names
from twotower.serving.answer.user_history import UserHistory
from twotower.serving.bundle.queries import Floats, Queries
from twotower.serving.bundle.served_model import known_rows, latest_events
from twotower.serving.store.protocol import Id, StoredEvent


class Sent(NamedTuple):
    """The columns that a request gives a value for."""

    user: Set[str]
    context: Set[str]


class EventSource(Protocol):
    """What is known of users since the bundle was made."""

    def is_forgotten(self, user_id: Id) -> bool:
        """Whether what the bundle knows of a user must not be read any more."""
        ...

    def of(self, user_id: Id) -> Sequence[StoredEvent]:
        """The newest events of a user, oldest first."""
        ...


class ResolvedRequest(NamedTuple):
    """A request whose user was looked up.

    Attributes:
        request: as it came.
        user_num: the row of the user table, `OUTSIDE` without one.
        history: all events that are known of the user, the request's among them.
        features: encoded features (1, ...) of an invented user, or None.
        context: encoded context features (1, ...), empty where none was sent.
        sent: the columns of each side that the request gives a value for.
        excluded: item nums that are not to be answered.
        allowed: (num_items,) what the filter keeps, or None.
        variant: the arm of the experiment that the user is in, or None.
    """

    request: AnswerRequest
    user_num: int
    history: UserHistory
    features: Features | None
    context: Features
    sent: Sent
    excluded: NDArray[np.int64]
    allowed: Mask | None
    variant: str | None = None


def resolve(
    request: AnswerRequest,
    model: OverlaidModel,
    *,
    events: EventSource | None = None,
    variant: str | None = None,
) -> ResolvedRequest:
    """Look up a request's user, encode what it sends, find what is not to be answered.

    Args:
        request: its columns are values of JSON.
        model: answers it.
        events: what is known beside the bundle.
        variant: the arm of the experiment that `model` is of.

    Raises:
        DataError: a column, a value or a filter that the model does not know.
    """
    sent = Sent(with_value(request.user or {}), with_value(request.context))
    features = None if request.user is None else encoded(model, "user", request.user)
    context = encoded(model, "context", request.context) if sent.context else {}
    return resolved(request, model, features, context, sent, events=events, variant=variant)


def with_value(columns: Mapping[str, Any]) -> frozenset[str]:
    """Names of the columns that are not null."""
    return frozenset(name for name, value in columns.items() if value is not None)


def resolved(
    request: AnswerRequest,
    model: OverlaidModel,
    features: Features | None,
    context: Features,
    sent: Sent,
    *,
    events: EventSource | None = None,
    variant: str | None = None,
) -> ResolvedRequest:
    """As `resolve`, for features (1, ...) that are encoded already."""
    history, user_num, parts = model.prepared.history, OUTSIDE, []
    if request.user_id is not None:
        if events is None or not events.is_forgotten(request.user_id):
            user_num = model.prepared.users.num(request.user_id)
            parts.append(history.of_bundle(user_num))
        if events is not None and (found := events.of(request.user_id)):
            nums = model.catalogue.nums([event.item_id for event in found])
            parts.append(history.of_events(found, nums))
    if request.history:
        last = max((int(part.time[-1]) for part in parts if len(part.time)), default=0)
        nums = model.catalogue.nums([item.item_id for item in request.history])
        parts.append(history.of_request(request.history, nums, last))
    known, options = history.joined(parts), request.options
    excluded = known.items if options.mask_seen else np.zeros(0, dtype=np.int64)
    if options.exclude:
        more = [num for num in model.catalogue.nums(options.exclude) if num >= 0]
        excluded = np.concatenate([excluded, np.array(more, dtype=np.int64)])
    allowed = None if options.filter is None else model.mask(options.filter)
    excluded = np.unique(excluded) if len(excluded) > 1 else excluded
    return ResolvedRequest(
        request, user_num, known, features, context, sent, excluded, allowed, variant
    )


def paths_of(requests: Sequence[ResolvedRequest], model: OverlaidModel) -> NDArray[np.int8]:
    """(Q,) the step of the fallback chain that answers each."""
    return model.prepared.paths.answer_path(
        np.array([one.user_num for one in requests], dtype=np.int64),
        has_history=np.array([len(one.history.items) > 0 for one in requests], dtype=np.bool_),
        has_features=np.array(
            [bool(one.sent.user) or model.served.tower_reads(one.context) for one in requests],
            dtype=np.bool_,
        ),
    )


def history_items(raw: Sequence[Id]) -> tuple[HistoryItem, ...]:
    """Raw item ids, oldest first, as a request's history."""
    return tuple(HistoryItem(item_id) for item_id in raw)


def encoded(model: OverlaidModel, side: Side, columns: Mapping[str, Any]) -> Features:
    """One row of features: name -> (1, ...).

    Raises:
        DataError: there is no such feature, or a value is not of its type.
    """
    names = column_names(model.served.schema, side)
    for name in columns:
        if name not in names:
            raise DataError(
                explain(
                    unknown(f"there is no {side} feature that reads it", name, names), column=name
                )
            )
    return model.prepared.encoded(side, columns)


def queries_of(requests: Sequence[ResolvedRequest], model: OverlaidModel) -> Queries:
    """What the models read of Q requests."""
    served = model.served
    nums = known_rows(np.array([one.user_num for one in requests], dtype=np.int64))
    users = served.users.gather(torch.from_numpy(nums))
    if any(one.features is not None for one in requests):
        users = {
            name: stacked(
                [
                    column[row : row + 1] if one.features is None else one.features[name]
                    for row, one in enumerate(requests)
                ]
            )
            for name, column in users.items()
        }
    context: Features = {}
    if served.schema.features["context"]:
        blank = encoded(model, "context", {})
        rows = [one.context or blank for one in requests]
        context = {name: stacked([row[name] for row in rows]) for name in blank}
    together = model.prepared.history.together([one.history for one in requests])
    history = latest_events(served.schema, together, np.arange(len(requests)))
    return Queries(users, context, history, together.items)


def query_vectors(requests: Sequence[ResolvedRequest], model: OverlaidModel) -> Floats:
    """(Q, D)."""
    queries = queries_of(requests, model)
    return model.stages.queries.vectors(queries.users, queries.context, queries.history)


def stacked(rows: Sequence[Tensor]) -> Tensor:
    """Rows (1, ...) as (Q, ...); `categories`, as wide as their longest list, are padded."""
    if rows[0].ndim == 2:
        width = max(row.shape[1] for row in rows)
        rows = [F.pad(row, (0, width - row.shape[1])) for row in rows]
    return torch.cat(list(rows))
