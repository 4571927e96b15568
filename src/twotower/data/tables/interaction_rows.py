"""Reading a table of interactions: checks of its columns, selection of its positive rows."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from twotower.config import DataConfig, TableName
from twotower.data.columns import (
    EVENT_TYPE,
    ITEM_ID,
    TIMESTAMP,
    TIMESTAMP_NS,
    USER_ID,
    WEIGHT,
)
from twotower.data.readers.read_table import read_table
from twotower.data.readers.unsupported_shapes import refuse_nested, wrong_interactions
from twotower.data.tables.column_mapping import find_columns, find_missing
from twotower.data.tables.positive_rows import learned_rows
from twotower.data.tables.time_notes import time_notes
from twotower.data.values.ids import ids, without_blanks
from twotower.data.values.spelling import spelled
from twotower.data.values.times import to_times
from twotower.errors import DataError, Problems, explain, without_password


def read_interactions(
    source: str,
    config: DataConfig,
    *,
    table: TableName = "interactions",
    context: tuple[str, ...] = (),
    notes: list[str] | None = None,
) -> pl.DataFrame:
    """The positive rows of a table of interactions, under our names and in the canonical order: by
    user, time and item.

    Args:
        source: the file, the folder or the URI.
        config: the `[data]` section.
        table: its name in the config; event types may be missing from a test part.
        context: columns that context features read.
        notes: gets a sentence for each kind of rows that are dropped.

    Raises:
        DataError: one problem per line, each with file, row, column, value and fix.
    """
    notes = [] if notes is None else notes
    frame = read_rows(source, config, table=table, context=context, notes=notes)
    return learned_rows(frame, config, without_password(source), notes, table=table).positives


def read_rows(
    source: str,
    config: DataConfig,
    *,
    table: TableName = "interactions",
    context: tuple[str, ...] = (),
    notes: list[str] | None = None,
) -> pl.DataFrame:
    """All rows of a table of interactions in the file's order, checked, under our names.

    Raises:
        DataError: as for `read_interactions`.
    """
    notes = [] if notes is None else notes
    shown = without_password(source)
    problems = Problems()
    names: dict[str, str] = {}

    def pick(there: list[str]) -> list[str]:
        names.update(find_columns(shown, there, config.columns, context, problems))
        if USER_ID not in names or ITEM_ID not in names:
            shape = wrong_interactions(source, config.format_of(table))
            if shape is not None:
                raise DataError(shape)
        problems.found += find_missing(names, config, shown)
        if not names:
            problems.refuse()
        return list(dict.fromkeys(names.values()))

    mapped = config.columns.interactions
    keys = [(ours, mapped[ours] or ours) for ours in (USER_ID, ITEM_ID)]
    refuse_nested(source, config.format_of(table), keys)
    frame = read_table(source, format=config.format_of(table), columns=pick, notes=notes)
    return checked_rows(frame, names, shown, config, notes, problems)


def rows_of_frame(
    frame: pl.DataFrame,
    source: str,
    config: DataConfig,
    *,
    context: tuple[str, ...] = (),
    notes: list[str],
) -> pl.DataFrame:
    """As `read_rows`, of a frame in memory that errors and notes call `source`.

    Raises:
        DataError: as for `read_interactions`.
    """
    problems = Problems()
    names = find_columns(source, frame.columns, config.columns, context, problems)
    problems.found += find_missing(names, config, source)
    if not names:
        problems.refuse()
    return checked_rows(frame, names, source, config, notes, problems)


def checked_rows(
    frame: pl.DataFrame,
    names: Mapping[str, str],
    shown: str,
    config: DataConfig,
    notes: list[str],
    problems: Problems,
) -> pl.DataFrame:
    """The columns `names` (ours -> theirs) under our names, each checked.

    Args:
        frame: all rows.
        names: columns to keep.
        shown: name of the source, for notes and errors.
        config: the `[data]` section.
        notes: gets a sentence for each kind of rows that are dropped.
        problems: found so far; raised together with those of the columns.

    Raises:
        DataError: as for `read_interactions`.
    """
    frame = frame.select(pl.col(theirs).alias(ours) for ours, theirs in names.items())
    frame, lacking_id = without_gaps(frame, config)
    for ours, check in (
        (USER_ID, needed_ids),
        (ITEM_ID, needed_ids),
        (WEIGHT, weights),
        (EVENT_TYPE, event_types),
    ):
        if ours in names:
            with problems.collected():
                column = check(frame[ours].alias(names[ours]), shown, names[ours])
                frame = frame.with_columns(column.alias(ours))
    if TIMESTAMP in names:
        with problems.collected():
            frame = with_times(frame, shown, names[TIMESTAMP], config, notes)
    problems.refuse()
    if lacking_id is None:
        return frame
    if lacking_id.all():
        problem = f"none of the {len(frame):,} rows has both a user and an item"
        raise DataError(explain(problem, file=shown, fix="fill in their ids"))
    notes.append(
        f"{shown}: {int(lacking_id.sum()):,} of {len(frame):,} rows have no user or no item, "
        "and were dropped (data.missing_ids)."
    )
    return frame.filter(~lacking_id)


def needed_ids(column: pl.Series, source: str, name: str) -> pl.Series:
    """Ids of a column that must have no missing value."""
    fix = 'fill in their ids, or set data.missing_ids = "leave_out"'
    return ids(column, source, name, fix=fix)


def without_gaps(frame: pl.DataFrame, config: DataConfig) -> tuple[pl.DataFrame, pl.Series | None]:
    """The rows, and the rows without a user or an item id if `data.missing_ids` drops these.

    The latter stay until all columns are checked, with the id of another row, so that errors name
    the right rows of the file.
    """
    keys = [ours for ours in (USER_ID, ITEM_ID) if ours in frame.columns]
    if config.missing_ids == "refuse":
        return frame, None
    columns = [without_blanks(frame[ours]) for ours in keys]
    missing = [column.is_null() for column in columns if column.null_count() < len(column)]
    lacking_id = pl.Series([False] * len(frame))
    for gaps in missing:
        lacking_id |= gaps
    if not lacking_id.any():
        return frame, None
    filled = [column.fill_null(column.drop_nulls().first()) for column in columns]
    return frame.with_columns(filled), lacking_id


def with_times(
    frame: pl.DataFrame, source: str, name: str, config: DataConfig, notes: list[str]
) -> pl.DataFrame:
    """The rows with seconds since 1970 and, where there are any, the nanoseconds beside them; every
    row must have a time. Suspicious times are noted."""
    found = to_times(
        frame[TIMESTAMP].alias(name), file=source, unit=config.time_unit, format=config.time_format
    )
    refuse_gaps(found.seconds.is_null(), source, name, "time", "no times are used")
    declared = config.time_format is not None or config.time_unit is not None
    notes += time_notes(found, source, name, declared=declared)
    frame = frame.with_columns(found.seconds.alias(TIMESTAMP))
    if found.nanoseconds is None:
        return frame
    return frame.with_columns(found.nanoseconds.alias(TIMESTAMP_NS))


def weights(column: pl.Series, source: str, name: str) -> pl.Series:
    """Weights as Float32, Booleans as 1 and 0; each must be a finite number."""
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean)):
        problem = f"a weight must be a number, but this column contains {column.dtype}"
        raise DataError(explain(problem, file=source, column=name))
    plain = column
    if column.dtype == pl.String:
        plain = column.str.strip_chars().str.to_lowercase()
        plain = plain.set(plain == "", None).replace({"true": "1", "false": "0"})
    refuse_gaps(plain.is_null(), source, name, "weight", "no weights are used")
    numbers = plain.cast(pl.Float64, strict=False).cast(pl.Float32)
    wrong = numbers.is_null() | ~numbers.is_finite()
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise DataError(
            explain(
                f"{int(wrong.sum()):,} of {len(wrong):,} weights are not finite numbers",
                file=source,
                row=row + 1,
                column=name,
                value=column[row],
                fix="write numbers, or true and false"
                if wrong.all()
                else "correct the value, or remove the row",
            )
        )
    return numbers


def refuse_gaps(wrong: pl.Series, source: str, name: str, what: str, otherwise: str) -> None:
    """Refuse a missing value; the error names the first row."""
    if wrong.any():
        raise DataError(
            explain(
                f"{int(wrong.sum()):,} of {len(wrong):,} rows have no {what}",
                file=source,
                row=int(wrong.arg_true()[0]) + 1,
                column=name,
                fix=f"fill in or remove these rows, or rename the column so that {otherwise}",
            )
        )


def event_types(column: pl.Series, source: str, name: str) -> pl.Series:
    """Event types as text; they may be missing."""
    if column.dtype in (pl.Object, pl.Binary) or column.dtype.is_nested():
        problem = f"an event type must be text, but this column contains {column.dtype}"
        raise DataError(explain(problem, file=source, column=name))
    return spelled(column)
