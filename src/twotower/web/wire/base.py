"""Shared by all bodies: limits, ids, values, errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StringConstraints,
)
from pydantic.config import JsonDict

from twotower.data.values.ids import ID_PATTERN, MAX_ID_LENGTH

MAX_K = 1000
"""Maximum number of items in a response."""
MAX_BATCH = 256
"""Maximum number of requests in a batch."""
MAX_EVENTS = 1000
"""Maximum number of events in a request."""
MAX_HISTORY = 1000
"""Maximum number of history items in a request."""
MAX_IDS = 10_000
"""Maximum number of ids in an exclusion list, and of values in a filter."""
MAX_ITEMS = 1000
"""Maximum number of items in an update, and of rows in a page."""
MAX_FILTER_DEPTH = 8
MAX_COLUMNS = 256
MAX_TEXT = 20_000
"""Maximum length of a text value, in characters."""


class Wire(BaseModel):
    """Base class of request and response bodies."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True
    )


def example(schema: JsonDict | None = None, /, **fields: Any) -> ConfigDict:
    """Model config with an example for the OpenAPI document, and what the document says besides
    the types of the fields, such as which of them belong together."""
    return ConfigDict(json_schema_extra={**(schema or {}), "examples": [fields]})


NO_CONTROLS = r"^[^\x00-\x1f\x7f]+$"
IdText = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=MAX_ID_LENGTH, pattern=ID_PATTERN)
]
IdNumber = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
Id = IdText | IdNumber
"""A raw id: text that is not blank, or a 64-bit integer; `"3"` and `3` are the same id, `"03"` is a
different one."""
Name = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=128, pattern=NO_CONTROLS)
]
"""Name of a column, an event type, a variant or a version."""
Token = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=128, pattern=r"^[\w.:\-]+$")
]
"""Id of a request or an event."""
Text = Annotated[str, StringConstraints(strict=True, max_length=MAX_TEXT)]
Number = Annotated[StrictFloat, Field(allow_inf_nan=False)]
Scalar = StrictBool | IdNumber | Number | Text | None
Value = Scalar | Annotated[list[Scalar], Field(max_length=MAX_IDS)]
"""A table cell; a list for `categories` and `vector` features."""
Columns = Annotated[dict[Name, Value], Field(max_length=MAX_COLUMNS)]
"""Column -> value, as in the training tables; columns that are not sent are missing values."""


class RequestWarning(Wire):
    """Something of a request that was not used, although the request succeeded."""

    code: Literal[
        "unknown_column",
        "unreadable_value",
        "unknown_item",
        "unknown_event_type",
        "odd_time",
        "store_away",
    ]
    """`unknown_column`: the version that answers has no such column. `unreadable_value`: a version
    cannot read the value of an item. `store_away`: the answer was made from memory, as the event
    store cannot be read. Of events, which are stored all the same: `unknown_item`: the item is not
    in the catalogue. `unknown_event_type`: training did not see the type, and the config does not
    name it. `odd_time`: more than a day ahead, or before 2000."""
    field: str
    """Where it is in the request, such as `context.device`, `filter.price`, `items.i7.price`; empty
    if it is not about a field."""
    message: str


class Alive(Wire):
    """Response of the liveness probe."""

    status: Literal["ok"]


class Ready(Wire):
    """Response of the readiness probe."""

    status: Literal["ready"]
    version: str
    """The active version."""
    problems: list[str]
    """What an operator should look at, although requests are answered."""


class Problem(Wire):
    """An error."""

    code: str
    """Machine-readable code; see `docs/service.md` for the list."""
    message: str
    """Human-readable description."""
    fix: str
    """How to fix it."""
    request_id: str


class ErrorAnswer(Wire):
    """The body of every error response."""

    model_config = example(
        error={
            "code": "invalid_request",
            "message": "body.k: Input should be less than or equal to 1000",
            "fix": "see /openapi.json for the fields of this path",
            "request_id": "3f2c9c1e6c0b4a5f",
        }
    )

    error: Problem
