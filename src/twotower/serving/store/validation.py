"""Checks of what a store accepts, before anything is written; the same for every database.

Everything within the limits can be exported and trained on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from twotower.data.values.ids import MAX_ID_LENGTH
from twotower.errors import DataError, explain
from twotower.serving.store.protocol import Impression, ItemChange, StoredEvent

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
"""Names that a context value cannot have."""
MAX_DOCUMENT_LENGTH: Final = 100_000
"""Characters of a context, or of an item's columns, as JSON."""
MAX_SECONDS: Final = 100_000_000_000
"""Larger times would be read as milliseconds, here as in the tables."""
_MAX_WEIGHT: Final = 3.4e38
_INT64: Final = 2**63


def check_events(events: Sequence[StoredEvent], first: int = 1) -> None:
    """Check that events can be stored; `row` in errors counts from `first`.

    Raises:
        DataError: the first problem.
    """
    for row, event in enumerate(events, start=first):
        check_text(event.event_id, "event_id", row)
        check_id(event.user_id, "user_id", row)
        check_id(event.item_id, "item_id", row)
        check_time(event.timestamp, row)
        for column in ("event_type", "request_id", "variant"):
            value = getattr(event, column)
            if value is not None:
                check_text(value, column, row)
        if event.weight is not None:
            check_number(event.weight, "weight", row, limit=_MAX_WEIGHT)
        if event.context:
            check_document(event.context, "context", row, reserved=EVENT_COLUMNS)


def check_impressions(impressions: Sequence[Impression]) -> None:
    """Check that impressions can be stored.

    Raises:
        DataError: the first problem.
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
            problem = f"must have one score per item ({len(impression.item_ids)}), or none"
            raise _error(problem, "scores", row, len(impression.scores))
        for score in impression.scores:
            check_number(score, "scores", row)
        check_time(impression.timestamp, row)


def check_changes(changes: Sequence[ItemChange]) -> None:
    """Check that changes of items can be stored.

    Raises:
        DataError: the first problem.
    """
    for row, change in enumerate(changes, start=1):
        check_id(change.item_id, "item_id", row)
        if change.columns is not None:
            check_document(change.columns, "columns", row, reserved=("item_id",))


def check_id(value: object, column: str, row: int | None = None) -> None:
    """Check an id: a 64-bit integer, or text (see `check_text`)."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not -_INT64 <= value < _INT64:
            raise _error("an integer id must fit into 64 bits", column, row, value)
    elif isinstance(value, str):
        check_text(value, column, row)
    else:
        raise _error("an id must be text or an integer", column, row, value)


def check_text(value: object, column: str, row: int | None = None) -> None:
    """Check text: not blank, at most MAX_ID_LENGTH characters, valid in every database."""
    if not isinstance(value, str):
        raise _error("must be text", column, row, value)
    if not value.strip():
        raise _error("must not be empty", column, row, value)
    if len(value) > MAX_ID_LENGTH:
        problem = f"has {len(value):,} characters; the maximum is {MAX_ID_LENGTH}"
        raise _error(problem, column, row, value)
    check_characters(value, column, row)


def check_characters(value: str, column: str, row: int | None) -> None:
    """Check that text has no characters that a database cannot hold."""
    if "\0" in value or not (value.isascii() or _is_encodable(value)):
        problem = "contains a null character or an unpaired surrogate"
        fix = "send valid Unicode text without null characters"
        raise _error(problem, column, row, value, fix=fix)


def _is_encodable(value: str) -> bool:
    """Whether text has no unpaired surrogate."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_number(
    value: object, column: str, row: int | None = None, *, limit: float = math.inf
) -> None:
    """Check a number: finite, and of at most a size."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _error("must be a number", column, row, value)
    if not (math.isfinite(value) and abs(value) <= limit):
        width = "" if limit == math.inf else "32-bit "
        raise _error(f"must be a finite {width}number", column, row, value)


def check_time(value: object, row: int | None) -> None:
    """Check a time: whole seconds since 1970 UTC."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise _error("must be an integer, seconds since 1970 UTC", "timestamp", row, value)
    if abs(value) > MAX_SECONDS:
        fix = "send seconds, not milliseconds"
        raise _error("is beyond the year 5138", "timestamp", row, value, fix=fix)


def check_document(
    document: object, column: str, row: int | None, *, reserved: Sequence[str]
) -> None:
    """Check a mapping from names to text, numbers, booleans, None, or lists of these."""
    if not isinstance(document, Mapping):
        raise _error("must be an object", column, row, document)
    for name, value in document.items():
        check_text(name, column, row)
        if name in reserved:
            raise _error("this name is reserved", column, row, name)
        for part in value if isinstance(value, list | tuple) else (value,):
            check_value(part, f"{column}.{name}", row)
    size = len(json.dumps(dict(document)))
    if size > MAX_DOCUMENT_LENGTH:
        problem = f"must have at most {MAX_DOCUMENT_LENGTH:,} characters as JSON"
        raise _error(problem, column, row, size)


def check_value(value: Any, column: str, row: int | None) -> None:
    """Check one value of a document."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        check_characters(value, column, row)
    elif isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise _error("an integer must fit into 64 bits", column, row, value)
    elif isinstance(value, float):
        check_number(value, column, row)
    else:
        problem = "must be text, a number, a boolean, null, or a list of these"
        raise _error(problem, column, row, value)


def _error(
    problem: str, column: str, row: int | None, value: object, *, fix: str | None = None
) -> DataError:
    return DataError(explain(problem, row=row, column=column, value=value, fix=fix))
