"""The section `[tune]` of a `twotower.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, SerializeAsAny, model_validator

from twotower.config.section import Section


class SpaceRange(Section):
    """A range of `[tune.space]`."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Whether values are drawn on a log scale."""

    @model_validator(mode="after")
    def _is_a_range(self) -> SpaceRange:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low = {self.low:g} must be above 0 where log = true")
        return self


def _flat(space: Any) -> Any:
    """Nested tables to dotted keys, so that a key needs no quotes."""
    if not isinstance(space, Mapping):
        return space
    found: dict[str, Any] = {}
    for key, place in space.items():
        if isinstance(place, Mapping) and "low" not in place and "high" not in place:
            found |= {f"{key}.{rest}": inner for rest, inner in _flat(place).items()}
        else:
            found[key] = place
    return found


def _place(declared: Any) -> Any:
    if isinstance(declared, SpaceRange) or declared is False:
        return declared
    if isinstance(declared, Mapping):
        return SpaceRange.model_validate(declared)
    is_list = isinstance(declared, list | tuple) and len(declared) > 0
    if not is_list or not all(isinstance(value, bool | int | float | str) for value in declared):
        raise ValueError(
            "must be a range such as {low = 0.05, high = 0.1, log = true}, a list of numbers, "
            "texts or booleans, or false"
        )
    return tuple(declared)


SpacePlace = Annotated[
    SerializeAsAny[SpaceRange | tuple[bool | int | float | str, ...] | Literal[False]],
    PlainValidator(_place),
]


class TuneConfig(Section):
    """`[tune]`: what `twotower tune` searches. Its budget is given on the command line."""

    space: Annotated[dict[str, SpacePlace], BeforeValidator(_flat)] = Field(default_factory=dict)
    """Changes to the search space, by config key: `{low = 0.05, high = 0.1, log = true}` or a list
    of values replaces what is searched or adds a key, `false` leaves the key as it is. For example
    `retriever.temperature = {low = 0.05, high = 0.1}`. Only keys of `[features]`, `[retriever]`,
    `[ranker]` and `[training]`."""
    seed: int = Field(default=0, ge=0)
    """Random seed of the search. Training uses `training.seed`."""
