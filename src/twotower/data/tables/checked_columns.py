"""Checks of the columns of a table of interactions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

import polars as pl

from twotower.config import DataConfig
from twotower.data.columns import (
    EVENT_TYPE,
    ITEM_ID,
    TIMESTAMP,
    TIMESTAMP_NS,
    USER_ID,
    WEIGHT,
)
from twotower.data.tables.time_notes import TimeSummary, time_notes
from twotower.data.values.ids import ids, without_blanks
from twotower.data.values.spelling import spelled
from twotower.data.values.times import to_times
from twotower.errors import DataError, Problems, explain

TRIED: Final = 100
"""Different values of which one is looked for that is right."""


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
    found = checked_columns(frame, names, shown, config, problems)
    notes += notes_on_rows(found, names, shown, config)
    return found.rows


class CheckedRows(NamedTuple):
    """Rows of a source, or of a piece of it.

    Attributes:
        rows: those with both ids.
        number: of all rows, those without a user or an item included.
        times: what there is to say of their times; None without a column of times.
    """

    rows: pl.DataFrame
    number: int
    times: TimeSummary | None


def checked_columns(
    frame: pl.DataFrame,
    names: Mapping[str, str],
    shown: str,
    config: DataConfig,
    problems: Problems,
) -> CheckedRows:
    """As `checked_rows`, without the notes.

    Raises:
        DataError: as for `read_interactions`; not if all rows lack an id that they may lack.
    """
    frame = frame.select(pl.col(theirs).alias(ours) for ours, theirs in names.items())
    number = len(frame)
    frame, lacking_id = without_gaps(frame, config)
    if lacking_id is not None:
        if lacking_id.all():
            there = {ours: ours for ours in names}
            empty = checked_columns(frame.clear(), there, shown, config, problems)
            return empty._replace(number=number)
        frame = with_others(frame, lacking_id, config)
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
    times = None
    if TIMESTAMP in names:
        with problems.collected():
            frame, times = with_times(frame, shown, names[TIMESTAMP], config)
    problems.refuse()
    rows = frame if lacking_id is None else frame.filter(~lacking_id)
    return CheckedRows(rows, number, times)


def notes_on_rows(
    found: CheckedRows, names: Mapping[str, str], shown: str, config: DataConfig
) -> list[str]:
    """Notes on the times, and on rows without an id.

    Raises:
        DataError: all rows are without.
    """
    notes: list[str] = []
    if found.times is not None:
        declared = config.time_format is not None or config.time_unit is not None
        notes += time_notes(found.times, shown, names[TIMESTAMP], declared=declared)
    missing = found.number - len(found.rows)
    if not missing:
        return notes
    if missing == found.number:
        problem = f"none of the {found.number:,} rows has both a user and an item"
        raise DataError(explain(problem, file=shown, fix="fill in their ids"))
    return [
        *notes,
        f"{shown}: {missing:,} of {found.number:,} rows have no user or no item, "
        "and were dropped (data.missing_ids).",
    ]


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
    lacking_id = pl.Series([False] * len(frame), dtype=pl.Boolean)
    for gaps in missing:
        lacking_id |= gaps
    if not lacking_id.any():
        return frame, None
    filled = [column.fill_null(column.drop_nulls().first()) for column in columns]
    return frame.with_columns(filled), lacking_id


def with_others(frame: pl.DataFrame, rows: pl.Series, config: DataConfig) -> pl.DataFrame:
    """The frame with right weights and times of other rows in `rows`, which are not kept, so that
    errors are about rows that are."""
    checks: dict[str, Callable[[pl.Series], object]] = {
        WEIGHT: lambda one: weights(one, "", ""),
        TIMESTAMP: lambda one: with_times(one.to_frame(), "", "", config),
    }
    return frame.with_columns(
        of_others(frame[name], rows, check)
        for name, check in checks.items()
        if name in frame.columns
    )


def of_others(
    column: pl.Series, rows: pl.Series, check: Callable[[pl.Series], object]
) -> pl.Series:
    """A column with the first value outside `rows` that `check` does not refuse in `rows`."""
    if column.dtype == pl.Object or column.dtype.is_nested():
        return column
    others = column.filter(~rows).drop_nulls().unique(maintain_order=True)
    for place in range(min(len(others), TRIED)):
        one = others.slice(place, 1)
        with suppress(DataError):
            check(one)
            first = (column == one[0]).fill_null(value=False).arg_max()
            places = pl.int_range(len(column), dtype=pl.UInt32, eager=True)
            return column.gather(places.set(rows, first))
    return column


def with_times(
    frame: pl.DataFrame, source: str, name: str, config: DataConfig
) -> tuple[pl.DataFrame, TimeSummary]:
    """The rows with seconds since 1970 and, where there are any, the nanoseconds beside them; every
    row must have a time. Also what there is to say of the times."""
    found = to_times(
        frame[TIMESTAMP].alias(name), file=source, unit=config.time_unit, format=config.time_format
    )
    refuse_gaps(found.seconds.is_null(), source, name, "time", "no times are used")
    frame = frame.with_columns(found.seconds.alias(TIMESTAMP))
    if found.nanoseconds is not None:
        frame = frame.with_columns(found.nanoseconds.alias(TIMESTAMP_NS))
    return frame, TimeSummary.of(found)


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
