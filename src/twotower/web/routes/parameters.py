"""Path and query parameters."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

from fastapi import Path, Query
from pydantic import BeforeValidator, StringConstraints

from twotower.data.values.ids import ID_PATTERN, MAX_ID_LENGTH
from twotower.web.wire import MAX_ITEMS, MAX_K
from twotower.web.wire.base import NO_CONTROLS


def percent_decoded(text: str) -> str:
    """A path parameter as the client meant it: paths are matched with their percent-encoding, see
    `encoded_path`.

    Raises:
        ValueError: it is not UTF-8.
    """
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8; percent-encode the bytes of its UTF-8 form") from None


_ID = StringConstraints(min_length=1, max_length=MAX_ID_LENGTH, pattern=ID_PATTERN)
_NAME = StringConstraints(min_length=1, max_length=128, pattern=NO_CONTROLS)
ItemId = Annotated[str, _ID, BeforeValidator(percent_decoded), Path(examples=["i7"])]
UserId = Annotated[str, _ID, BeforeValidator(percent_decoded), Path(examples=["u42"])]
Version = Annotated[str, _NAME, BeforeValidator(percent_decoded), Path()]
K = Annotated[int, Query(ge=1, le=MAX_K, description="Number of items.")]
Search = Annotated[
    str,
    Query(max_length=256, description="Part of an id or of a text column; case-insensitive."),
]
Offset = Annotated[int, Query(ge=0, le=2**31, description="Offset of the first row.")]
Limit = Annotated[int, Query(ge=1, le=MAX_ITEMS, description="Maximum number of rows.")]
