"""Looking around: pages of the catalogue and of the users, and what is known of one user."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from time import monotonic
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.arrays.ranked import PATHS, POPULAR
from twotower.data.arrays.top_k import places_of
from twotower.serving.answer.answering import no_such_item
from twotower.serving.answer.overlaid_model import OverlaidModel
from twotower.serving.answer.requests import AnswerRequest
from twotower.serving.answer.resolve_request import paths_of, query_vectors, resolve
from twotower.serving.live.recent_events import RecentEvents
from twotower.serving.store.protocol import Id

SHOWN_EVENTS = 1000
SEARCHED_ROWS = 20_000
"""Rows of a column that are searched between two looks at the time."""


def find_items(model: OverlaidModel, text: str, until: float = math.inf) -> NDArray[np.int64]:
    """Nums of the items whose id or text columns hold a text, in any case; all for no text.

    Reads what never changes, so that any thread may call it.

    Raises:
        TimeoutError: it takes longer than `until`, a time of `time.monotonic`.
    """
    nums = model.catalogue.all_nums()
    if not text:
        return nums
    items = model.served.items
    kept = np.zeros(model.num_items, dtype=np.bool_)
    columns = [items.ids, *model.prepared.columns.frame.get_columns()]
    for column in columns:
        if column.dtype in (pl.String, pl.Int64):
            kept[: len(items)] |= holds(column, text, until)
    wanted = text.lower()
    for num, row in model.overlay.rows.items():
        check_time(until)
        values = [row.item_id, *(v for v in row.shown.values() if isinstance(v, str))]
        kept[num] = any(wanted in str(value).lower() for value in values)
    found: NDArray[np.int64] = nums[kept[nums]]
    return found


def holds(column: pl.Series, text: str, until: float) -> NDArray[np.bool_]:
    """(R,) where a column holds a text, in any case.

    Raises:
        TimeoutError: see `find_items`.
    """
    found, wanted = np.zeros(len(column), dtype=np.bool_), text.lower()
    for start in range(0, len(column), SEARCHED_ROWS):
        check_time(until)
        lower = column.slice(start, SEARCHED_ROWS).cast(pl.String).str.to_lowercase()
        there = lower.str.contains(wanted, literal=True).fill_null(False)
        found[start : start + SEARCHED_ROWS] = there.to_numpy()
    return found


def check_time(until: float) -> None:
    """Raise `TimeoutError` after a time of `time.monotonic`."""
    if monotonic() > until:
        raise TimeoutError


def item_rows(model: OverlaidModel, nums: Sequence[int]) -> list[dict[str, Any]]:
    """Items of the catalogue as JSON."""
    index = model.stages.index
    there = places_of(index.item_nums, np.array(nums, dtype=np.int64)) >= 0
    counts, over = model.popularity.item_counts, model.overlay
    return [
        {
            "item_id": item_id,
            "columns": columns,
            "taken": int(counts[num]),
            "added": num in over.rows and not over.rows[num].partial,
            "hidden": num in over.withheld,
            "has_vector": bool(vector),
        }
        for num, vector, (item_id, columns) in zip(
            nums, there, model.catalogue.rows(nums), strict=True
        )
    ]


def item_row(model: OverlaidModel, item_id: Id) -> dict[str, Any]:
    """One item as JSON.

    Raises:
        NotFoundError: it is not in the catalogue.
    """
    num = model.catalogue.num(item_id)
    if num < 0:
        raise no_such_item(item_id)
    return item_rows(model, [num])[0]


def find_users(
    model: OverlaidModel, forgotten: Collection[str], text: str, until: float = math.inf
) -> NDArray[np.int64]:
    """Nums of the users whose id holds a text; all for no text. For any thread.

    Args:
        model: has the users.
        forgotten: ids, as text, of users who are left out.
        text: part of an id.
        until: see `find_items`.

    Raises:
        TimeoutError: see `find_items`.
    """
    users = model.served.users
    nums = np.arange(users.first_known, len(users))
    left_out = [model.served.users.num(user_id) for user_id in forgotten]
    nums = np.setdiff1d(nums, left_out, assume_unique=True)
    if not text:
        return nums
    found: NDArray[np.int64] = nums[holds(users.ids, text, until)[nums]]
    return found


def user_rows(
    model: OverlaidModel, nums: Sequence[int], recent: RecentEvents
) -> list[dict[str, Any]]:
    """Users as JSON; those who were forgotten are left out."""
    ids = model.served.users.ids.gather(list(nums)).to_list()
    rows = []
    for user_id in ids:
        if recent.is_forgotten(user_id):
            continue
        one = resolve(AnswerRequest(user_id), model, events=recent)
        path = PATHS[paths_of([one], model)[0]]
        rows.append({"user_id": user_id, "path": path, "events": len(one.history.items)})
    return rows


def user_state(model: OverlaidModel, user_id: Id, recent: RecentEvents) -> dict[str, Any]:
    """What is known of a user, and what the query tower makes of it."""
    one = resolve(AnswerRequest(user_id), model, events=recent)
    path = PATHS[paths_of([one], model)[0]]
    users, schema = model.served.users, model.served.schema
    columns: dict[str, Any] = {}
    if one.user_num >= 0:
        columns = users.frame.row(one.user_num, named=True)
        columns.pop(users.key)
    vector = None if path == PATHS[POPULAR] else query_vectors([one], model)[0].tolist()
    longest = schema.history.config.max_length - 1 if schema.history is not None else 0
    return {
        "user_id": user_id,
        "in_training": bool(one.user_num >= 0 and one.user_num < users.end_warm),
        "path": path,
        "columns": columns,
        "history": history_rows(model, user_id, one.user_num, recent),
        "events_read": min(longest, len(one.history.items)),
        "vector": vector,
        "model_version": model.version,
    }


def history_rows(
    model: OverlaidModel, user_id: Id, user_num: int, recent: RecentEvents
) -> list[dict[str, Any]]:
    """The events of a user as JSON, oldest first, the newest thousand."""
    history = model.prepared.history
    trained = history.of_bundle(user_num)
    nums = trained.items[-SHOWN_EVENTS:].tolist()
    known = [num for num in nums if num >= 0 and num not in model.overlay.removed]
    shown = dict(zip(known, model.catalogue.rows(known), strict=True))
    rows = []
    for num, time, type_num in zip(
        nums,
        trained.time[-SHOWN_EVENTS:].tolist(),
        trained.event_num[-SHOWN_EVENTS:].tolist(),
        strict=True,
    ):
        item_id, columns = shown.get(num, (None, {}))
        rows.append(
            {
                "item_id": item_id,
                "event_type": history.type_names.get(type_num),
                "timestamp": time if history.has_times else None,
                "live": False,
                "columns": columns,
            }
        )
    events = recent.of(user_id)
    nums = model.catalogue.nums([event.item_id for event in events])
    for event, num in zip(events, nums, strict=True):
        columns = model.catalogue.rows([num])[0][1] if num >= 0 else {}
        rows.append(
            {
                "item_id": event.item_id,
                "event_type": event.event_type,
                "timestamp": event.timestamp,
                "live": True,
                "columns": columns,
            }
        )
    return rows[-SHOWN_EVENTS:]
