"""Who asks: a request to what the models read of its user."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from twotower.data.arrays.ranked import FEATURES, HISTORY, POPULAR
from twotower.data.columns import ID_FEATURE, USER_ID
from twotower.data.dataset.entities import OUTSIDE, Features, encode_rows
from twotower.data.features.schema import Side
from twotower.errors import DataError, explain, unknown
from twotower.serving.bundle.queries import Queries
from twotower.serving.bundle.served_model import known_rows
from twotower.serving.live.model import LiveModel
from twotower.serving.live.recent_events import RecentEvents
from twotower.serving.live.requests import Ask
from twotower.serving.live.user_history import UserHistory
from twotower.serving.overlay.item_overlay import to_frame


class Person(NamedTuple):
    """Who asks.

    Attributes:
        user_num: the row of the user table, `OUTSIDE` without one.
        taken: everything that is known to have been taken.
        features: encoded features of an invented user, or None.
        context: encoded context features, empty where none was sent.
        path: the step of the fallback chain that answers.
    """

    user_num: int
    taken: UserHistory
    features: Features | None
    context: Features
    path: int


def person_of(ask: Ask, model: LiveModel, recent: RecentEvents) -> Person:
    """Look up who asks.

    Raises:
        DataError: a feature or its value that the schema does not know.
    """
    recommender, history = model.recommender, model.bundled.history
    user_num, parts = OUTSIDE, []
    if ask.user_id is not None:
        if not recent.is_forgotten(ask.user_id):
            user_num = model.bundled.users.num(ask.user_id)
            parts.append(history.of_bundle(user_num))
        if events := recent.of(ask.user_id):
            nums = model.catalogue.nums([event.item_id for event in events])
            parts.append(history.of_events(events, nums))
    if ask.history:
        last = max((int(part.time[-1]) for part in parts if len(part.time)), default=0)
        nums = model.catalogue.nums([item.item_id for item in ask.history])
        parts.append(history.of_request(ask.history, nums, last))
    taken = history.joined(parts)
    features = None if ask.user is None else encoded(model, "user", ask.user)
    context = encoded(model, "context", ask.context) if has_values(ask.context) else {}
    path = int(recommender.paths[user_num])
    if path == POPULAR and (recommender.tower_reads(context) or has_values(ask.user or {})):
        path = FEATURES
    if (
        path in (POPULAR, FEATURES)
        and recommender.served.schema.history is not None
        and len(taken.items)
    ):
        path = HISTORY
    return Person(user_num, taken, features, context, path)


def has_values(columns: Mapping[str, Any]) -> bool:
    """Whether anything is known."""
    return any(value is not None for value in columns.values())


def encoded(model: LiveModel, side: Side, columns: Mapping[str, Any]) -> Features:
    """One row of features: name -> (1, ...).

    Raises:
        DataError: there is no such feature, or a value is not of its type.
    """
    schema = model.recommender.served.schema
    names = [f.column for name, f in schema.features[side].items() if name != ID_FEATURE]
    for name in columns:
        if name not in names:
            raise DataError(
                explain(
                    unknown(f"there is no {side} feature that reads it", name, names), column=name
                )
            )
    key = side + json.dumps(columns, sort_keys=True)
    found = model.bundled.encoded.get(key)
    if found is None:
        cells = {name: [columns.get(name)] for name in names}
        cells |= {USER_ID: [None]} if side == "user" else {}
        try:
            found = encode_rows(schema, side, to_frame(cells, schema, side))
        except DataError as error:
            # A request has one row, whose number tells nothing.
            raise DataError(str(error).removeprefix("row 1, ")) from None
        model.bundled.encoded.put(key, found)
    return found


def queries_of(people: Sequence[Person], model: LiveModel) -> Queries:
    """What the models read of Q people."""
    recommender = model.recommender
    nums = known_rows(np.array([person.user_num for person in people], dtype=np.int64))
    users = recommender.users.gather(torch.from_numpy(nums))
    invented = [n for n, person in enumerate(people) if person.features is not None]
    for row in invented:
        features = people[row].features
        assert features is not None
        users = {name: with_row(column, row, features[name]) for name, column in users.items()}
    context: Features = {}
    if recommender.served.schema.features["context"]:
        blank = encoded(model, "context", {})
        rows = [person.context or blank for person in people]
        context = {name: stacked([row[name] for row in rows]) for name in blank}
    feature = recommender.served.schema.history
    together = model.bundled.history.together([person.taken for person in people])
    history = None
    if feature is not None:
        history = together.latest(np.arange(len(people)), feature.config.max_length)
    return Queries(users, context, history, together.items)


def with_row(column: Tensor, row: int, values: Tensor) -> Tensor:
    """A column (Q, ...) with other values (1, ...) in a row; lists are padded to the longest."""
    column, values = same_width(column, values)
    column = column.clone()
    column[row] = values[0]
    return column


def stacked(rows: Sequence[Tensor]) -> Tensor:
    """Rows (1, ...) as (Q, ...)."""
    if rows[0].ndim == 2:
        width = max(row.shape[1] for row in rows)
        rows = [F.pad(row, (0, width - row.shape[1])) for row in rows]
    return torch.cat(list(rows))


def same_width(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Two columns, the narrower padded: `categories` are as wide as their longest row."""
    if one.ndim != 2 or one.shape[1] == other.shape[1]:
        return one, other
    width = max(one.shape[1], other.shape[1])
    return F.pad(one, (0, width - one.shape[1])), F.pad(other, (0, width - other.shape[1]))
