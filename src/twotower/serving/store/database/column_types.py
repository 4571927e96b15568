"""Types of columns whose values are more than what SQL stores: documents and sets, kept as text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from twotower.serving.store.experiments import ABExperiment, ExperimentVariant

# One encoder for all values: `json.dumps` with options makes another one at each call.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class JsonText(sa.types.TypeDecorator[Any]):
    """A value as compact ASCII JSON; None as NULL.

    Text in PostgreSQL, too, whose JSONB changes numbers and the order of keys.
    """

    impl = sa.Text
    cache_ok = True

    def __init__(
        self,
        to_document: Callable[[Any], Any],
        from_document: Callable[[Any], Any],
        *,
        empty_as_null: bool = False,
    ) -> None:
        """Name the two conversions.

        Args:
            to_document: a value to what `json.dumps` writes.
            from_document: what `json.loads` returns to a value.
            empty_as_null: an empty value is stored as NULL, and NULL is read as
                `from_document(())`.
        """
        super().__init__()
        self.to_document = to_document
        self.from_document = from_document
        self.empty_as_null = empty_as_null

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        if value is None or (self.empty_as_null and not value):
            return None
        return _encode(self.to_document(value))

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        if value is None:
            return self.from_document(()) if self.empty_as_null else None
        return self.from_document(json.loads(value))


class SetText(sa.types.TypeDecorator[frozenset[str]]):
    """A set of names without commas, as `a,b`."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return ",".join(sorted(value or ()))

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return frozenset((value or "").split(","))


def experiment_document(experiment: ABExperiment) -> dict[str, Any]:
    """An experiment as JSON holds it."""
    variants = [[variant.name, variant.version, variant.share] for variant in experiment.variants]
    return {"name": experiment.name, "variants": variants}


def read_experiment(document: dict[str, Any]) -> ABExperiment:
    """The experiment of `experiment_document`."""
    variants = tuple(ExperimentVariant(*variant) for variant in document["variants"])
    return ABExperiment(document["name"], variants)
