"""Filters on item columns."""

from __future__ import annotations

from typing import Annotated, Self, cast

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from twotower.web.wire.base import (
    MAX_FILTER_DEPTH,
    MAX_IDS,
    IdNumber,
    Name,
    Number,
    Scalar,
    Text,
    Wire,
)


def one_bound(schema: JsonDict) -> None:
    """Say in a JSON schema that a range has a bound, and that two are of the same type."""
    schema["anyOf"] = [
        {
            "required": [bound],
            "properties": {bound: {"type": kind}, other: {"type": [kind, "null"]}},
        }
        for kind in ("number", "string")
        for bound, other in (("min", "max"), ("max", "min"))
    ]


class Range(Wire):
    """Inclusive bounds; at least one is required."""

    model_config = ConfigDict(json_schema_extra=one_bound)

    min: IdNumber | Number | Text | None = None
    max: IdNumber | Number | Text | None = None

    @model_validator(mode="after")
    def _one_at_least(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a range needs 'min' or 'max'")
        given = [bound for bound in (self.min, self.max) if bound is not None]
        if len({isinstance(bound, str) for bound in given}) > 1:
            raise ValueError("'min' and 'max' of a range must be of the same type")
        return self


def one_form(schema: JsonDict) -> None:
    """Say in a JSON schema of `Filter` which fields belong together, and that none may be null."""
    properties = cast("dict[str, JsonDict]", schema["properties"])
    for name in properties.keys() - {"equals"}:
        kinds = cast("list[JsonDict]", properties[name].pop("anyOf"))
        properties[name].update(kinds[0])
        properties[name].pop("default", None)
    conditions = [["column", name] for name in ("equals", "in", "range")]
    forms = [*conditions, ["and"], ["or"], ["not"]]
    schema["anyOf"] = [{"required": [*form], "maxProperties": len(form)} for form in forms]
    schema["examples"] = [
        {
            "and": [
                {"column": "category", "in": ["books", "music"]},
                {"column": "price", "range": {"max": 20}},
                {"not": {"column": "in_stock", "equals": False}},
            ]
        }
    ]


class Filter(Wire):
    """Which items may be recommended: a condition on an item column, or several combined.

    A condition has a `column` and one of `equals`, `in`, `range`. On a list column, `equals` and
    `in` test whether the list contains the value. A missing value only matches `equals: null`.
    """

    model_config = ConfigDict(json_schema_extra=one_form)

    column: Name | None = None
    """A column of the items table."""
    equals: Scalar = None
    one_of: Annotated[list[Scalar], Field(max_length=MAX_IDS)] | None = Field(None, alias="in")
    range: Range | None = None
    all_of: Annotated[list[Filter], Field(min_length=1, max_length=64)] | None = Field(
        None, alias="and"
    )
    any_of: Annotated[list[Filter], Field(min_length=1, max_length=64)] | None = Field(
        None, alias="or"
    )
    negated: Filter | None = Field(None, alias="not")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = self.model_fields_set - {"column"}
        conditions = given & {"equals", "one_of", "range"}
        if len(given) != 1 or bool(conditions) != ("column" in self.model_fields_set):
            raise ValueError(
                "a filter must have either a 'column' and one of 'equals', 'in', 'range', or one "
                "of 'and', 'or', 'not'"
            )
        if any(getattr(self, name) is None for name in self.model_fields_set - {"equals"}):
            raise ValueError("a filter's condition must not be null")
        if depth(self) > MAX_FILTER_DEPTH:
            raise ValueError(f"a filter may be nested at most {MAX_FILTER_DEPTH} levels deep")
        return self


def depth(condition: Filter) -> int:
    """Nesting depth of a filter; 1 for a condition."""
    inner = [*(condition.all_of or ()), *(condition.any_of or ())]
    inner += [condition.negated] if condition.negated is not None else []
    return 1 + max((depth(part) for part in inner), default=0)
