"""Records (events, impressions and the rest) as rows of their tables, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import sqlalchemy as sa

from twotower.serving.store.protocol import (
    Deployment,
    ForgottenUser,
    Id,
    Impression,
    ItemChange,
    KeyRecord,
    StoredEvent,
)
from twotower.serving.store.schema import (
    DEPLOYMENT,
    EVENT,
    FORGOTTEN,
    IMPRESSION,
    ITEM,
    KEY,
    integer_flag,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")


class Records(Generic[R]):
    """The records of a table: each field of a record is the column of its name.

    Attributes:
        table: its `SELECT` gives the rows that `from_row` reads.
    """

    def __init__(self, record: type[R], table: sa.Table) -> None:
        self.table = table
        self._make: Callable[..., R] = record
        names = [field.name for field in fields(record)]
        places = {name: place for place, name in enumerate(table.columns.keys())}
        self._places = [(places[name], places.get(integer_flag(name))) for name in names]
        self._ids = [name for name in names if integer_flag(name) in places]

    def to_row(self, record: R, **numbers: int) -> dict[str, Any]:
        """The row of a record, with `numbers` for columns that it has no field for."""
        row: dict[str, Any] = {**vars(record), **numbers}
        for name in self._ids:
            value = row[name]
            row[integer_flag(name)] = isinstance(value, int)
            row[name] = None if value is None else str(value)
        return row

    def from_row(self, row: sa.Row[Any]) -> R:
        """The record of a row."""
        return self._make(
            *(
                row[place] if flag is None else _to_id(row[place], row[flag])
                for place, flag in self._places
            )
        )

    def from_rows(self, rows: Iterable[sa.Row[Any]]) -> list[R]:
        """The records of rows, in their order."""
        return [self.from_row(row) for row in rows]


def _to_id(text: str | None, is_integer: bool) -> Id | None:
    return int(text) if is_integer and text is not None else text


EVENTS = Records(StoredEvent, EVENT)
IMPRESSIONS = Records(Impression, IMPRESSION)
ITEM_CHANGES = Records(ItemChange, ITEM)
FORGOTTEN_USERS = Records(ForgottenUser, FORGOTTEN)
DEPLOYMENTS = Records(Deployment, DEPLOYMENT)
KEYS = Records(KeyRecord, KEY)
