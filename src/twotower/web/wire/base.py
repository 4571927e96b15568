"""What all bodies have in common: limits, ids, values, errors."""

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

MAX_K = 1000
"""Items of one answer."""
MAX_BATCH = 256
"""Requests of one batch."""
MAX_EVENTS = 1000
"""Events of one request."""
MAX_HISTORY = 1000
"""Items that a request says somebody took."""
MAX_IDS = 10_000
"""Items that a request leaves out, or that a filter or a ranking lists."""
MAX_ITEMS = 1000
"""Items that one request adds, and a page of the catalogue."""
MAX_FILTER_DEPTH = 8
MAX_COLUMNS = 256
MAX_TEXT = 20_000
"""Characters of a feature's value."""


class Wire(BaseModel):
    """A body of a request or an answer."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True
    )


def example(**fields: Any) -> ConfigDict:
    """The example that the OpenAPI document shows of a model."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


NO_CONTROLS = r"^[^\x00-\x1f\x7f]+$"
IdText = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=256, pattern=NO_CONTROLS)
]
IdNumber = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
Id = IdText | IdNumber
"""A raw id: text without control characters, or an integer of 64 bits; `"3"` and `3` are the same
id, `"03"` is another."""
Name = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=128, pattern=NO_CONTROLS)
]
"""Of a column, an event type, a variant, a version."""
Token = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=128, pattern=r"^[\w.:\-]+$")
]
"""An id of a request or of an event."""
Text = Annotated[str, StringConstraints(strict=True, max_length=MAX_TEXT)]
Number = Annotated[StrictFloat, Field(allow_inf_nan=False)]
Scalar = StrictBool | IdNumber | Number | Text | None
Value = Scalar | Annotated[list[Scalar], Field(max_length=MAX_IDS)]
"""A cell of a table; a list for `categories` and `vector` features."""
Columns = Annotated[dict[Name, Value], Field(max_length=MAX_COLUMNS)]
"""Column -> value, as in the tables that the model was trained on; missing columns are missing
values."""
Seconds = Annotated[int, Field(strict=True, ge=0, lt=2**40)]
"""Seconds since 1970, UTC."""


class Health(Wire):
    """Whether the process lives, or can answer."""

    status: Literal["ok", "ready", "starting", "stopping"]
    version: str | None = None
    """The model that answers."""


class Problem(Wire):
    """What went wrong."""

    code: str
    """For programs; `docs/service.md` lists them."""
    message: str
    """For people."""
    fix: str
    """What to do."""
    request_id: str


class ErrorAnswer(Wire):
    """Every error of the service has this shape."""

    model_config = example(
        error={
            "code": "invalid_request",
            "message": "body.k: Input should be less than or equal to 1000",
            "fix": "see /docs for what the route takes",
            "request_id": "3f2c9c1e6c0b4a5f",
        }
    )

    error: Problem
