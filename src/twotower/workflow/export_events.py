"""`twotower export-events`: what the service logged, as a table that `train` reads."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl

from twotower.config import Config
from twotower.data.columns import (
    EVENT_TYPE,
    INTERACTION_COLUMNS,
    ITEM_ID,
    TIMESTAMP,
    USER_ID,
    WEIGHT,
)
from twotower.data.dataset import context_columns
from twotower.errors import DataError, explain
from twotower.serving.events.base import Event, EventStore, ForgottenUser
from twotower.workflow.table_file import table_file

Fields = dict[str, pl.DataType]

ROWS_AT_ONCE: Final = 20_000
REQUEST_ID: Final = "request_id"
VARIANT: Final = "variant"
DEFAULT_WEIGHT: Final = 1.0
"""Of an event without a weight where others have one; also that of a table without weights."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        rows: events in the file.
        left_out: events of forgotten users, which are not.
        forgotten: users who were ever forgotten.
        columns: of the file.
        empty: those of them that were asked for and that no event has a value of.
        unweighted: events that got DEFAULT_WEIGHT.
    """

    rows: int
    left_out: int
    forgotten: int
    columns: tuple[str, ...]
    empty: tuple[str, ...]
    unweighted: int


@dataclass
class Found:
    """What all events have, gathered in a first pass."""

    rows: int = 0
    left_out: int = 0
    whole_users: bool = True
    whole_items: bool = True
    weighted: int = 0
    typed: int = 0
    context: dict[str, set[type]] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Take an event into account."""
        self.rows += 1
        self.whole_users &= isinstance(event.user_id, int)
        self.whole_items &= isinstance(event.item_id, int)
        self.weighted += event.weight is not None
        self.typed += event.event_type is not None
        for name, value in event.context.items():
            self.context.setdefault(name, set()).add(type(value))

    def fields(self) -> Fields:
        """The columns that the events fill, under our names; `weight` and `event_type` only where
        an event has one."""
        return {
            USER_ID: pl.Int64() if self.whole_users else pl.String(),
            ITEM_ID: pl.Int64() if self.whole_items else pl.String(),
            TIMESTAMP: pl.Int64(),
            **({WEIGHT: pl.Float64()} if self.weighted else {}),
            **({EVENT_TYPE: pl.String()} if self.typed else {}),
            REQUEST_ID: pl.String(),
            VARIANT: pl.String(),
            **{name: column_type(types) for name, types in sorted(self.context.items())},
        }


def export_events(
    store: EventStore,
    out: Path,
    *,
    config: Config | None = None,
    columns: Sequence[str] = (),
    forgotten: Path | None = None,
) -> Exported:
    """Stream the events of a store into a Parquet file; memory does not grow with them.

    Events that arrive meanwhile are left for the next time. Each file is written aside and renamed.

    Args:
        store: read twice: for the types of the columns, then for the rows.
        out: the file; training reads it alone, or beside other files of one folder.
        config: that of the training: the file gets the names of its `[data.columns]`, and the
            columns of its context features in any case.
        columns: those to write beside the ids, by our names; left out, all that the events fill.
            One that no event fills is written empty, for a folder whose other files have it.
        forgotten: also write `user_id, timestamp` of all forgotten users there, for
            `data.exclude_users`.

    Raises:
        DataError: there is nothing to write, or a file cannot be written.
    """
    gone = {str(user.user_id): user for user in forgotten_users(store)}
    last = store.head().events
    found = Found()
    for event in events_up_to(store, last):
        if str(event.user_id) in gone:
            found.left_out += 1
        else:
            found.add(event)
    if forgotten is not None:
        write_forgotten(list(gone.values()), forgotten)
    if not found.rows:
        raise DataError(
            explain(
                "there are no events to export",
                value=f"{found.left_out:,} of forgotten users" if found.left_out else None,
                fix="post some to /v1/events first",
            )
        )
    fields = chosen(found.fields(), columns, () if config is None else context_columns(config))
    theirs = their_names(fields, config)
    rows = 0
    with table_file(out) as write:
        for events in batches(store, last, gone):
            write(to_frame(events, fields).rename(theirs))
            rows += len(events)
    return Exported(
        rows,
        found.left_out,
        len(gone),
        tuple(theirs.values()),
        tuple(theirs[name] for name in fields if name not in found.fields()),
        found.rows - found.weighted if WEIGHT in fields else 0,
    )


# --- reading ------------------------------------------------------------------------------------


def events_up_to(store: EventStore, last: int) -> Iterator[Event]:
    """All events up to a number, some thousand at a time."""
    sequence = 0
    while sequence < last and (page := store.events_after(sequence, ROWS_AT_ONCE)):
        sequence = page[-1].sequence
        yield from (entry.value for entry in page if entry.sequence <= last)


def batches(store: EventStore, last: int, gone: Container[str]) -> Iterator[list[Event]]:
    """The events of users who are not gone, ROWS_AT_ONCE at a time."""
    batch: list[Event] = []
    for event in events_up_to(store, last):
        if str(event.user_id) not in gone:
            batch.append(event)
        if len(batch) == ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def forgotten_users(store: EventStore) -> Iterator[ForgottenUser]:
    """All users who were ever forgotten."""
    sequence = 0
    while page := store.forgotten_after(sequence):
        sequence = page[-1].sequence
        yield from (entry.value for entry in page)


# --- columns ------------------------------------------------------------------------------------


def chosen(fields: Fields, columns: Sequence[str], context: Sequence[str]) -> Fields:
    """The columns to write: the ids, those asked for (or all that events fill), and those of
    context features."""
    wanted = dict.fromkeys([USER_ID, ITEM_ID, *(columns or fields), *context])
    nothing = {WEIGHT: pl.Float64(), EVENT_TYPE: pl.String()}
    return {name: fields.get(name) or nothing.get(name) or pl.Null() for name in wanted}


def their_names(fields: Fields, config: Config | None) -> dict[str, str]:
    """Our name -> the name in the file.

    Raises:
        DataError: two columns would have one name.
    """
    mapped = {} if config is None else config.data.columns.model_dump()
    theirs = {
        name: (mapped[name] or name) if name in INTERACTION_COLUMNS and mapped else name
        for name in fields
    }
    names = list(theirs.values())
    for name, other in theirs.items():
        if names.count(other) > 1:
            raise DataError(
                explain(
                    f"two columns would be named {other!r}, one of them our {name}",
                    fix="choose others by --columns, or rename one in [data.columns]",
                )
            )
    return theirs


def column_type(types: set[type]) -> pl.DataType:
    """The type of a context column that holds values of some types: that of them all, else text,
    in lists where one of them is a list."""
    told = types - {type(None)}
    if told & {list, tuple}:
        return pl.List(pl.String)
    if told == {bool}:
        return pl.Boolean()
    if told == {int}:
        return pl.Int64()
    if told and told <= {int, float}:
        return pl.Float64()
    return pl.String()


def to_frame(events: Sequence[Event], fields: Fields) -> pl.DataFrame:
    """Events as rows, under our names."""
    return pl.DataFrame(
        [
            pl.Series(name, [cell(event, name, kind) for event in events], kind)
            for name, kind in fields.items()
        ]
    )


def cell(event: Event, name: str, kind: pl.DataType) -> Any:
    """The value of an event in a column."""
    if name == WEIGHT:
        return DEFAULT_WEIGHT if event.weight is None else event.weight
    if name in (USER_ID, ITEM_ID, TIMESTAMP, EVENT_TYPE, REQUEST_ID, VARIANT):
        return in_type(getattr(event, name), kind)
    return in_type(event.context.get(name), kind)


def in_type(value: Any, kind: pl.DataType) -> Any:
    """A value as a column of a type holds it."""
    if value is None:
        return None
    if isinstance(kind, pl.List):
        values = value if isinstance(value, list | tuple) else [value]
        return [in_type(part, pl.String()) for part in values]
    if kind == pl.Float64:
        return float(value)
    if kind == pl.String and not isinstance(value, str):
        return json.dumps(value)
    return value


def write_forgotten(users: Sequence[ForgottenUser], file: Path) -> None:
    """The list of forgotten users, which may be empty; ids as text."""
    rows = {
        USER_ID: pl.Series([str(user.user_id) for user in users], dtype=pl.String),
        TIMESTAMP: pl.Series([user.timestamp for user in users], dtype=pl.Int64),
    }
    with table_file(file) as write:
        write(pl.DataFrame(rows))
