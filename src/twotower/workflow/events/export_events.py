"""`twotower export-events`: what the service logged, as tables that `train` reads."""

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
from twotower.errors import DataError, explain
from twotower.serving.store.protocol import EventStore, ForgottenUser, StoredEvent
from twotower.workflow.events.export_items import ExportedItems, export_items
from twotower.workflow.events.log_format import LogFormat
from twotower.workflow.table_file import table_file

Fields = dict[str, pl.DataType]

PAGE_ROWS: Final = 20_000
"""Rows read from the store and written to the file at a time."""
REQUEST_ID: Final = "request_id"
VARIANT: Final = "variant"
DEFAULT_WEIGHT: Final = 1.0
"""The weight of an event without one, if other events have a weight; also the weight of all rows
of a table without weights."""


@dataclass(frozen=True)
class Exported:
    """The outcome of an export.

    Attributes:
        rows: number of events in the file.
        left_out: number of events of forgotten users, which are not in the file.
        forgotten: number of users who were ever forgotten.
        columns: of the file.
        empty: columns in which no event has a value.
        dropped: `weight` and `event_type`, if events have them and the log has no such column.
        unweighted: number of events that got DEFAULT_WEIGHT.
    """

    rows: int
    left_out: int
    forgotten: int
    columns: tuple[str, ...]
    empty: tuple[str, ...]
    dropped: tuple[str, ...]
    unweighted: int

    def notes(self, config: Config | None = None) -> list[str]:
        """Notes for the user, a sentence each."""
        notes = []
        if self.unweighted:
            least = None if config is None else config.data.positive.min_weight
            below = least is not None and least > DEFAULT_WEIGHT
            notes.append(
                f"{self.unweighted:,} events without a weight got {DEFAULT_WEIGHT:g}"
                + (f", which is below data.positive.min_weight = {least:g}" if below else "")
                + "."
            )
        if self.empty:
            notes.append(f"No event has a value of: {', '.join(self.empty)}.")
        if self.dropped:
            notes.append(
                f"The log has no column for {' and '.join(self.dropped)} of the events, which "
                "training therefore does not read."
            )
        return notes


@dataclass
class EventSummary:
    """Summary of all events, collected in a first pass."""

    rows: int = 0
    left_out: int = 0
    whole_users: bool = True
    whole_items: bool = True
    weighted: int = 0
    typed: int = 0
    context: dict[str, set[type]] = field(default_factory=dict)

    def add(self, event: StoredEvent) -> None:
        """Add an event to the summary."""
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


class NoEventsError(DataError):
    """There is no event of a user who was not forgotten.

    Attributes:
        exported: what a file without a row would have.
    """

    def __init__(self, left_out: int, forgotten: int) -> None:
        super().__init__(
            explain(
                "there are no events to export",
                value=f"{left_out:,} of forgotten users" if left_out else None,
                fix="post some to /v1/events first",
            )
        )
        self.exported = Exported(0, left_out, forgotten, (), (), (), 0)


def export_events(
    store: EventStore,
    out: Path,
    *,
    config: Config | None = None,
    columns: Sequence[str] = (),
    forgotten: Path | None = None,
) -> Exported:
    """Stream the events of a store into a table. Memory use does not depend on their number.

    Events that arrive during the export are left for the next one. Each file is written under a
    temporary name, synced and renamed.

    Args:
        store: read twice: for the types of the columns, then for the rows.
        out: the file, `.parquet`, `.csv`, `.tsv` or `.jsonl`; training reads it alone, or beside
            other files of one folder.
        config: the training config: the file gets the columns that training reads from
            `data.interactions`, with their names, types of ids and format of times.
        columns: the columns to write besides the ids, by our names. Default: with a config, those
            of its log; without one, those in which an event has a value. A column without a value
            is written empty.
        forgotten: also write `user_id, timestamp` of all forgotten users there, for
            `data.exclude_users`.

    Raises:
        DataError: there is nothing to write, or a file cannot be read or written.
    """
    gone = {str(user.user_id): user for user in forgotten_users(store)}
    last = store.counters().events
    found = EventSummary()
    for event in events_up_to(store, last):
        if str(event.user_id) in gone:
            found.left_out += 1
        else:
            found.add(event)
    if forgotten is not None:
        write_forgotten(list(gone.values()), forgotten)
    if not found.rows:
        raise NoEventsError(found.left_out, len(gone))
    log = None if config is None else LogFormat.of(config)
    fields = chosen(found.fields(), columns, log)
    theirs = their_names(fields, log)
    rows = 0
    with table_file(out) as write:
        for events in batches(store, last, gone):
            frame = to_frame(events, fields)
            if log is not None and TIMESTAMP in frame.columns:
                frame = frame.with_columns(log.write_times(frame[TIMESTAMP]).alias(TIMESTAMP))
            write((as_text(frame) if out.suffix in (".csv", ".tsv") else frame).rename(theirs))
            rows += len(events)
    filled = found.fields()
    return Exported(
        rows,
        found.left_out,
        len(gone),
        tuple(theirs.values()),
        tuple(theirs[name] for name in fields if name not in filled),
        tuple(name for name in (WEIGHT, EVENT_TYPE) if name in filled and name not in fields),
        found.rows - found.weighted if WEIGHT in fields else 0,
    )


def export_folder(store: EventStore, config: Config) -> tuple[Path, Exported, ExportedItems]:
    """Write all that training reads of a store into the folder of `data.exported`: the events, the
    items that were put at run time, and the forgotten users. Without events, those of an earlier
    export are removed.

    Returns:
        the file of the events, and what was written.

    Raises:
        DataError: the config names no such folder; else as `export_events`.
    """
    if config.data.exported is None:
        raise DataError(
            explain(
                "the config does not say where exported tables are",
                fix='set data.exported, such as "exported", or give --out FILE',
            )
        )
    folder = Path(config.data.exported)
    items = export_items(store, folder, config)
    file = folder / f"interactions{LogFormat.of(config).ending}"
    kept = file
    try:
        exported = export_events(store, file, config=config, forgotten=folder / "forgotten.parquet")
    except NoEventsError as error:
        exported, kept = error.exported, folder
    for other in folder.glob("interactions.*"):
        if other != kept:  # of an earlier export: of other users, or in another format
            other.unlink()
    return file, exported, items


# --- reading ------------------------------------------------------------------------------------


def events_up_to(store: EventStore, last: int) -> Iterator[StoredEvent]:
    """All events up to a sequence number, read in pages."""
    sequence = 0
    while sequence < last and (page := store.events_after(sequence, PAGE_ROWS)):
        sequence = page[-1].sequence
        yield from (entry.value for entry in page if entry.sequence <= last)


def batches(store: EventStore, last: int, gone: Container[str]) -> Iterator[list[StoredEvent]]:
    """The events of users who were not forgotten, in batches of PAGE_ROWS."""
    batch: list[StoredEvent] = []
    for event in events_up_to(store, last):
        if str(event.user_id) not in gone:
            batch.append(event)
        if len(batch) == PAGE_ROWS:
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


def chosen(fields: Fields, columns: Sequence[str], log: LogFormat | None) -> Fields:
    """The columns to write: the ids and the requested columns. Without a request: those of the log
    with the request id and the variant, or without a log those in which an event has a value. Ids
    have the log's type if all events fit it."""
    if log is not None:
        extra = [name for name in (REQUEST_ID, VARIANT) if name not in columns]
        context = [name for name in log.names if name not in INTERACTION_COLUMNS]
        columns = [*columns, *context] if columns else [*log.names, *extra]
    wanted = dict.fromkeys([USER_ID, ITEM_ID, *(columns or fields)])
    nothing = {WEIGHT: pl.Float64(), EVENT_TYPE: pl.String()}
    kinds = {name: fields.get(name) or nothing.get(name) or pl.Null() for name in wanted}
    for key in (USER_ID, ITEM_ID):
        if log is not None and log.dtypes[key] == pl.String:
            kinds[key] = pl.String()
    return kinds


def their_names(fields: Fields, log: LogFormat | None) -> dict[str, str]:
    """Our name -> the name in the file.

    Raises:
        DataError: two columns would have one name.
    """
    theirs = {name: name if log is None else log.names.get(name, name) for name in fields}
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
    there = types - {type(None)}
    if there & {list, tuple}:
        return pl.List(pl.String)
    if there == {bool}:
        return pl.Boolean()
    if there == {int}:
        return pl.Int64()
    if there and there <= {int, float}:
        return pl.Float64()
    return pl.String()


def to_frame(events: Sequence[StoredEvent], fields: Fields) -> pl.DataFrame:
    """Events as rows, under our names."""
    return pl.DataFrame(
        [
            pl.Series(name, [cell(event, name, kind) for event in events], kind)
            for name, kind in fields.items()
        ]
    )


def cell(event: StoredEvent, name: str, kind: pl.DataType) -> Any:
    """The value of an event in a column."""
    if name == WEIGHT:
        return DEFAULT_WEIGHT if event.weight is None else event.weight
    if name in (USER_ID, ITEM_ID, TIMESTAMP, EVENT_TYPE, REQUEST_ID, VARIANT):
        return in_type(getattr(event, name), kind)
    return in_type(event.context.get(name), kind)


def as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """Lists as JSON: cells of CSV files cannot hold them."""
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    return frame.with_columns(
        pl.Series(name, [None if v is None else json.dumps(v.to_list()) for v in frame[name]])
        for name in lists
    )


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
