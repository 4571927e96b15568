"""A table of interactions: its columns checked, its positive rows kept."""

from __future__ import annotations

import polars as pl

from twotower.config import DataConfig, TableName
from twotower.data.column_mapping import find_columns
from twotower.data.columns import EVENT_TYPE, ITEM_ID, TIMESTAMP, USER_ID, WEIGHT
from twotower.data.ids import ids
from twotower.data.positive_rows import positives, without_duplicates
from twotower.data.readers import read_table
from twotower.data.times import to_seconds
from twotower.errors import DataError, explain, without_password


def read_interactions(
    source: str,
    config: DataConfig,
    *,
    table: TableName = "interactions",
    context: tuple[str, ...] = (),
    notes: list[str] | None = None,
) -> pl.DataFrame:
    """The positive rows of a table of interactions, under our names.

    Args:
        source: the file, the folder or the URI.
        config: the `[data]` section.
        table: which table of the config it is; in a test part some of
            `data.positive.event_types` may not occur.
        context: columns that context features read.
        notes: gets a sentence for whatever is left out.

    Raises:
        DataError: names file, row, column, value and fix.
    """
    notes = [] if notes is None else notes
    shown = without_password(source)
    names: dict[str, str] = {}

    def pick(there: list[str]) -> list[str]:
        names.update(find_columns(shown, there, config.columns, context))
        return list(dict.fromkeys(names.values()))

    frame = read_table(source, format=config.format_of(table), columns=pick, notes=notes)
    frame = frame.select(pl.col(theirs).alias(ours) for ours, theirs in names.items())
    for ours, check in (
        (USER_ID, ids),
        (ITEM_ID, ids),
        (TIMESTAMP, times),
        (WEIGHT, weights),
        (EVENT_TYPE, event_types),
    ):
        if ours in names:
            column = frame[ours].alias(names[ours])
            frame = frame.with_columns(check(column, shown, names[ours]).alias(ours))
    frame = positives(frame, config.positive, shown, notes, all_types=table == "interactions")
    return without_duplicates(frame, shown, notes)


def times(column: pl.Series, source: str, name: str) -> pl.Series:
    """Seconds since 1970; every row must have a time."""
    seconds = to_seconds(column, file=source)
    refuse_gaps(seconds.is_null(), source, name, "time", "no times are used")
    return seconds


def weights(column: pl.Series, source: str, name: str) -> pl.Series:
    """Float32; every weight a finite number."""
    refuse_gaps(column.is_null(), source, name, "weight", "no weights are used")
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean)):
        problem = f"a weight must be a number, and this column holds {column.dtype}"
        raise DataError(explain(problem, file=source, column=name))
    numbers = column.cast(pl.Float64, strict=False).cast(pl.Float32)
    wrong = numbers.is_null() | ~numbers.is_finite()
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise DataError(
            explain(
                "a weight must be a finite number",
                file=source,
                row=row + 1,
                column=name,
                value=column[row],
                fix="correct the value, or remove the row",
            )
        )
    return numbers


def refuse_gaps(wrong: pl.Series, source: str, name: str, what: str, otherwise: str) -> None:
    """Rows without a value; the first is named."""
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
    """Event types as text; rows may be without one."""
    if column.dtype in (pl.Object, pl.Binary) or column.dtype.is_nested():
        problem = f"an event type must be text, and this column holds {column.dtype}"
        raise DataError(explain(problem, file=source, column=name))
    return column.cast(pl.String)
