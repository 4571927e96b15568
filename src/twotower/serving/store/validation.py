"""What a store takes: refused before anything is written, in words, the same for every database.

The limits are those under which all that is stored can be exported and trained on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from twotower.errors import DataError, explain
from twotower.serving.store.protocol import LONGEST_ID, Impression, ItemChange, StoredEvent

EVENT_COLUMNS: Final = (
    "event_id",
    "user_id",
    "item_id",
    "timestamp",
    "event_type",
    "weight",
    "request_id",
    "variant",
)
"""What no context value can be named."""
LONGEST_DOCUMENT: Final = 100_000
"""Characters of a context, or of an item's columns, as JSON."""
LATEST_SECONDS: Final = 100_000_000_000
"""Greater times would be read as milliseconds, here as in the tables."""
_LARGEST_WEIGHT: Final = 3.4e38
_INT64: Final = 2**63


def check_events(events: Sequence[StoredEvent]) -> None:
    """Refuse events that cannot be stored; `row` counts from 1.

    Raises:
        DataError: the first thing that is wrong.
    """
    for row, event in enumerate(events, start=1):
        check_text(event.event_id, "event_id", row)
        check_id(event.user_id, "user_id", row)
        check_id(event.item_id, "item_id", row)
        check_time(event.timestamp, row)
        for column in ("event_type", "request_id", "variant"):
            value = getattr(event, column)
            if value is not None:
                check_text(value, column, row)
        if event.weight is not None:
            check_number(event.weight, "weight", row, limit=_LARGEST_WEIGHT)
        if event.context:
            check_document(event.context, "context", row, reserved=EVENT_COLUMNS)


def check_impressions(impressions: Sequence[Impression]) -> None:
    """Refuse impressions that cannot be stored.

    Raises:
        DataError: the first thing that is wrong.
    """
    for row, impression in enumerate(impressions, start=1):
        for column in ("request_id", "model_version", "path", "variant"):
            value = getattr(impression, column)
            if value is not None or column != "variant":
                check_text(value, column, row)
        if impression.user_id is not None:
            check_id(impression.user_id, "user_id", row)
        for item_id in impression.item_ids:
            check_id(item_id, "item_ids", row)
        if len(impression.scores) not in (0, len(impression.item_ids)):
            problem = f"one score for each of {len(impression.item_ids)} items, or none"
            refuse(problem, "scores", row, len(impression.scores))
        for score in impression.scores:
            check_number(score, "scores", row)
        check_time(impression.timestamp, row)


def check_changes(changes: Sequence[ItemChange]) -> None:
    """Refuse changes of items that cannot be stored.

    Raises:
        DataError: the first thing that is wrong.
    """
    for row, change in enumerate(changes, start=1):
        check_id(change.item_id, "item_id", row)
        if change.columns is not None:
            check_document(change.columns, "columns", row, reserved=("item_id",))


def check_id(value: object, column: str, row: int | None = None) -> None:
    """An id: a 64-bit integer, or text (see `check_text`)."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not -_INT64 <= value < _INT64:
            refuse("a whole number of an id has at most 64 bits", column, row, value)
    elif isinstance(value, str):
        check_text(value, column, row)
    else:
        refuse("an id must be text or a whole number", column, row, value)


def check_text(value: object, column: str, row: int | None = None) -> None:
    """Text that any database can hold: not blank, at most LONGEST_ID characters."""
    if not isinstance(value, str):
        refuse("must be text", column, row, value)
    elif not value.strip():
        refuse("must not be empty", column, row, value)
    elif len(value) > LONGEST_ID:
        problem = f"has {len(value):,} characters, and at most {LONGEST_ID} are kept"
        refuse(problem, column, row, value)
    elif not value.isascii() or "\0" in value:
        check_characters(value, column, row)


def check_characters(value: str, column: str, row: int | None) -> None:
    """Text without the characters that some database cannot hold."""
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        problem = "has a null character, or half of a pair of surrogates"
        refuse(problem, column, row, value, fix="send text that is whole Unicode characters")


def check_number(
    value: object, column: str, row: int | None = None, *, limit: float = math.inf
) -> None:
    """A finite number; with a `limit`, of at most that size."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse("must be a number", column, row, value)
    elif not (math.isfinite(value) and abs(value) <= limit):
        width = "" if limit == math.inf else "32-bit "
        refuse(f"must be a finite {width}number", column, row, value)


def check_time(value: object, row: int | None) -> None:
    """Whole seconds."""
    if isinstance(value, bool) or not isinstance(value, int):
        refuse("must be a whole number of seconds since 1970 UTC", "timestamp", row, value)
    elif abs(value) > LATEST_SECONDS:
        fix = "give seconds, not milliseconds"
        refuse("lies beyond the year 5138", "timestamp", row, value, fix=fix)


def check_document(
    document: object, column: str, row: int | None, *, reserved: Sequence[str]
) -> None:
    """A mapping from names to text, numbers, booleans, None, or lists of these."""
    if not isinstance(document, Mapping):
        refuse("must be an object of names and values", column, row, document)
        return
    for name, value in document.items():
        check_text(name, column, row)
        if name in reserved:
            refuse("a value of its own must not have this name", column, row, name)
        for part in value if isinstance(value, list | tuple) else (value,):
            check_value(part, f"{column}.{name}", row)
    size = len(json.dumps(dict(document)))
    if size > LONGEST_DOCUMENT:
        refuse(f"may have {LONGEST_DOCUMENT:,} characters as JSON", column, row, size)


def check_value(value: Any, column: str, row: int | None) -> None:
    """One value of a document."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        check_characters(value, column, row)
    elif isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            refuse("a whole number has at most 64 bits", column, row, value)
    elif isinstance(value, float):
        check_number(value, column, row)
    else:
        problem = "must be text, a number, a boolean, null, or a list of these"
        refuse(problem, column, row, value)


def refuse(
    problem: str, column: str, row: int | None, value: object, *, fix: str | None = None
) -> None:
    """Say what is wrong.

    Raises:
        DataError: always.
    """
    raise DataError(explain(problem, row=row, column=column, value=value, fix=fix))
