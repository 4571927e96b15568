"""A request to what the models read of its user.

Shapes: Q requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.distinct import distinct_values
from twotower.data.dataset.entities import OUTSIDE, Features, concatenated
from twotower.data.features.schema import Side
from twotower.errors import DataError, explain, unknown
from twotower.serving.answer.filters import Expression, unknown_columns, without_unknown
from twotower.serving.answer.overlaid_model import Mask, OverlaidModel
from twotower.serving.answer.recommendation import Ignored
from twotower.serving.answer.requests import AnswerRequest, column_names
from twotower.serving.answer.user_history import UserHistory
from twotower.serving.bundle.queries import Floats, Queries
from twotower.serving.store.protocol import Id, StoredEvent

UNKNOWN_COLUMN = "unknown_column"


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
        ignored: what of the request is passed over.
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
    ignored: tuple[Ignored, ...] = ()


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
        DataError: a value that is not of its column's type; in a strict request, also a column that
            the model does not know.
    """
    ignored: list[Ignored] = []
    user = None if request.user is None else readable(request, model, "user", ignored)
    asked = readable(request, model, "context", ignored) if request.context else {}
    sent = Sent(with_value(user or {}), with_value(asked))
    features = None if user is None else encoded(model, "user", user)
    context = encoded(model, "context", asked) if sent.context else {}
    return resolved(
        request, model, features, context, sent, events=events, variant=variant, ignored=ignored
    )


def readable(
    request: AnswerRequest, model: OverlaidModel, side: Side, ignored: list[Ignored]
) -> Mapping[str, Any]:
    """The columns of a side that the model reads.

    Args:
        request: has them.
        model: answers it.
        side: `user` or `context`.
        ignored: gets the others.

    Raises:
        DataError: the request is strict, and the model does not know a column.
    """
    columns = (request.user or {}) if side == "user" else request.context
    names = column_names(model.served.schema, side)
    others = [name for name in columns if name not in names]
    if not others:
        return columns
    if request.strict:
        name = others[0]
        problem = unknown(f"there is no {side} feature that reads it", name, names)
        raise DataError(explain(problem, column=name))
    for name in others:
        message = f"there is no {side} feature that reads it, and it was ignored"
        ignored.append(Ignored(UNKNOWN_COLUMN, f"{side}.{name}", message))
    return {name: value for name, value in columns.items() if name in names}


def known_conditions(
    expression: Expression, model: OverlaidModel, ignored: list[Ignored]
) -> Expression | None:
    """A filter without the conditions on columns that the items do not have; None if none is left.

    Args:
        expression: the filter.
        model: its items are filtered.
        ignored: gets the columns.
    """
    columns = model.filter_columns
    others = unknown_columns(expression, columns)
    if not others:
        return expression
    message = "the items have no such column, and the condition on it was ignored"
    ignored += [Ignored(UNKNOWN_COLUMN, f"filter.{name}", message) for name in others]
    return without_unknown(expression, columns)


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
    ignored: list[Ignored] | None = None,
) -> ResolvedRequest:
    """As `resolve`, for features (1, ...) that are encoded already."""
    ignored = [] if ignored is None else ignored
    history, user_num, parts = model.prepared.history, OUTSIDE, []
    disliked: list[int] = []
    if request.user_id is not None:
        if events is None or not events.is_forgotten(request.user_id):
            user_num = model.served.users.num(request.user_id)
            parts.append(history.of_bundle(user_num))
        if events is not None and (found := events.of(request.user_id)):
            nums = model.catalogue.nums([event.item_id for event in found])
            parts.append(history.of_events(found, nums))
            disliked += history.disliked(found, nums)
    if request.history:
        last = max((int(part.time[-1]) for part in parts if len(part.time)), default=0)
        nums = model.catalogue.nums([item.item_id for item in request.history])
        parts.append(history.of_request(request.history, nums, last))
        disliked += history.disliked(request.history, nums)
    known, options = history.joined(parts), request.options
    excluded = known.items if options.mask_seen else np.zeros(0, dtype=np.int64)
    if options.exclude or disliked:
        more = disliked + [num for num in model.catalogue.nums(options.exclude) if num >= 0]
        excluded = np.concatenate([excluded, np.array(more, dtype=np.int64)])
    condition = options.filter
    if condition is not None and not request.strict:
        condition = known_conditions(condition, model, ignored)
    allowed = None if condition is None else model.mask(condition)
    excluded = distinct_values(excluded) if len(excluded) > 1 else excluded
    return ResolvedRequest(
        request,
        user_num,
        known,
        features,
        context,
        sent,
        excluded,
        allowed,
        variant,
        tuple(ignored),
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


def encoded(model: OverlaidModel, side: Side, columns: Mapping[str, Any]) -> Features:
    """One row of features: name -> (1, ...).

    Raises:
        DataError: a value is not of its feature's type.
    """
    return model.prepared.encoded(side, columns)


def queries_of(requests: Sequence[ResolvedRequest], model: OverlaidModel) -> Queries:
    """What the models read of Q requests."""
    context: Features = {}
    if model.served.schema.features["context"]:
        blank = encoded(model, "context", {})
        rows = [one.context or blank for one in requests]
        context = {name: concatenated([row[name] for row in rows]) for name in blank}
    queries = Queries.of(
        model.served.users,
        np.array([one.user_num for one in requests], dtype=np.int64),
        model.prepared.history.together([one.history for one in requests]),
        np.arange(len(requests)),
        context,
        model.served.learned_lengths,
    )
    if all(one.features is None for one in requests):
        return queries
    users = {
        name: concatenated(
            [
                column[row : row + 1] if one.features is None else one.features[name]
                for row, one in enumerate(requests)
            ]
        )
        for name, column in queries.users.items()
    }
    return queries._replace(users=users)


def query_vectors(requests: Sequence[ResolvedRequest], model: OverlaidModel) -> Floats:
    """(Q, D)."""
    return model.stages.queries.vectors(queries_of(requests, model))
