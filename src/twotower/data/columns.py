"""The names that columns have inside twotower; `[data.columns]` maps a file's names to these."""

from __future__ import annotations

from typing import Final

USER_ID: Final = "user_id"
ITEM_ID: Final = "item_id"
TIMESTAMP: Final = "timestamp"
TIMESTAMP_NS: Final = "timestamp_ns"
"""Nanoseconds (Int32) after the second of `timestamp`; only in tables with such times."""
WEIGHT: Final = "weight"
EVENT_TYPE: Final = "event_type"

INTERACTION_COLUMNS: Final = (USER_ID, ITEM_ID, TIMESTAMP, WEIGHT, EVENT_TYPE)

ID_FEATURE: Final = "id"
"""The feature of a side that stands for the raw id itself."""
