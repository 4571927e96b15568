"""Path and query parameters."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

from twotower.data.values.ids import ID_PATTERN, MAX_ID_LENGTH
from twotower.web.wire import MAX_ITEMS, MAX_K
from twotower.web.wire.base import NO_CONTROLS

ItemId = Annotated[
    str, Path(min_length=1, max_length=MAX_ID_LENGTH, pattern=ID_PATTERN, examples=["i7"])
]
UserId = Annotated[
    str, Path(min_length=1, max_length=MAX_ID_LENGTH, pattern=ID_PATTERN, examples=["u42"])
]
Version = Annotated[str, Path(min_length=1, max_length=128, pattern=NO_CONTROLS)]
K = Annotated[int, Query(ge=1, le=MAX_K, description="Number of items.")]
Search = Annotated[
    str,
    Query(max_length=256, description="Part of an id or of a text column; case-insensitive."),
]
Offset = Annotated[int, Query(ge=0, le=2**31, description="Offset of the first row.")]
Limit = Annotated[int, Query(ge=1, le=MAX_ITEMS, description="Maximum number of rows.")]
