"""Times in requests: seconds since 1970, UTC, or ISO 8601 text."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from twotower.serving.store.validation import MAX_SECONDS

EARLIEST = 946_684_800
"""The year 2000: a time before it is more likely a wrong unit."""
DAY = 86_400
SEND = "send seconds since 1970, UTC, or ISO 8601 text"
FINER = {"milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
"""Units that are sent by mistake -> units per second."""


def to_seconds(value: Any) -> int:
    """Seconds since 1970, UTC. Text without an offset is in UTC; fractions of it are cut off.

    Raises:
        ValueError: it is not a time, or before 1970 or far from now.
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.upper())
        except ValueError:
            raise ValueError(f"this text is not a time in ISO 8601; {SEND}") from None
        value = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() // 1
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"this is not a time; {SEND}")
    if not 0 <= value <= MAX_SECONDS:
        raise ValueError(odd_time(value) or f"this is not a time; {SEND}")
    if value != int(value):
        raise ValueError(f"this time is not a whole number; {SEND}")
    return int(value)


def odd_time(seconds: float) -> str | None:
    """What is odd about the time of an event; None if nothing is."""
    now = time.time()
    if EARLIEST <= seconds <= now + DAY:
        return None
    when = "before the year 2000" if seconds < EARLIEST else "in the future"
    for unit, per_second in FINER.items():
        if EARLIEST * per_second <= seconds <= (now + DAY) * per_second:
            when += f", and looks like {unit}"
    return f"this time is {when}; {SEND}"


Seconds = Annotated[
    int,
    BeforeValidator(to_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": MAX_SECONDS},
                {"type": "string", "format": "date-time"},
            ],
            "examples": [1714560000, "2024-05-01T12:40:00+02:00"],
        }
    ),
]
"""Seconds since 1970, UTC, or ISO 8601 text, whose time zone is UTC unless it names another."""
