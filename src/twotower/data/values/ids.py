"""Ids as integers or text, without nulls, and of one type in all tables."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from twotower.data.arrays.workspace import Workspace, changed, distinct
from twotower.data.columns import USER_ID
from twotower.data.values.spelling import exact_limit, spell, spelled, to_integers
from twotower.errors import DataError, explain

MAX_ID_LENGTH = 500
"""Characters of an id: so many fit into the keys of every database."""
VISIBLE = r"[^\s\x1c-\x1f]"
"""A character that is not blank; for Python, the separators 1c to 1f are blanks, too."""
ID_PATTERN = r"^[^\x00]*[^\s\x00\x1c-\x1f][^\x00]*$"
"""What text has to be to be an id: not blank, without null characters."""


def ids(
    column: pl.Series,
    source: str,
    name: str,
    *,
    fix: str = "remove these rows, or fill in their ids",
) -> pl.Series:
    """Ids as Int64 where each of them is spelled as an integer is written, else as String.

    The spelling decides, not the type: text "42", the integer 42 and the float 42.0 are the same
    id, "007" and " 7" are ids of their own.

    Args:
        column: as read.
        source: where it is from, for errors.
        name: its name there.
        fix: what to do about rows without an id, for the error.

    Raises:
        DataError: nulls or empty text, numbers that are not whole, values that are not ids.
    """
    if column.dtype in (pl.Object, pl.Binary) or column.dtype.is_nested():
        problem = f"an id must be text or a whole number, but this column contains {column.dtype}"
        raise DataError(explain(problem, file=source, column=name))
    column = without_blanks(column)
    refuse_nulls(column, source, name, fix)
    refuse_unusable(column, source, name)
    if column.dtype.is_numeric() and not column.dtype.is_integer():
        column = _whole(column, source, name)
    return _integers(column)


def without_blanks(column: pl.Series) -> pl.Series:
    """Ids with null for blank text and NaN."""
    if column.dtype.is_float():
        return column.fill_nan(None)
    if column.dtype != pl.String:
        return column
    blank = ~column.str.contains(VISIBLE)
    return column.set(blank, None) if blank.any() else column


def refuse_nulls(column: pl.Series, source: str, name: str, fix: str) -> None:
    """Rows without an id; the first three are named."""
    nulls = column.is_null()
    number = int(nulls.sum())
    if not number:
        return
    rows = ", ".join(str(row + 1) for row in nulls.arg_true().head(3))
    where = f"row{'s' if number > 1 else ''} {rows}" + (", ..." if number > 3 else "")
    raise DataError(
        explain(
            f"{number:,} of {len(column):,} rows have no id: {where}",
            file=source,
            column=name,
            fix=fix,
        )
    )


def refuse_unusable(column: pl.Series, source: str, name: str) -> None:
    """Refuse text that the event store and the service could not take as an id."""
    if column.dtype != pl.String:
        return
    problem, wrong = "", None
    if (column.str.len_bytes() > MAX_ID_LENGTH).any():
        wrong = column.str.len_chars() > MAX_ID_LENGTH
        problem = f"an id may have at most {MAX_ID_LENGTH} characters"
    if wrong is None or not wrong.any():
        wrong = column.str.contains("\0", literal=True)
        problem = "an id must not contain a null character"
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise DataError(
            explain(
                f"{problem}; {int(wrong.sum()):,} of {len(column):,} rows have such an id",
                file=source,
                row=row + 1,
                column=name,
                value=column[row][:80],
                fix="give these users or items other ids, for example a hash of the text",
            )
        )


def _integers(column: pl.Series) -> pl.Series:
    """Int64 where every id can be one, else String."""
    numbers = to_integers(column)
    return spelled(column) if numbers.null_count() else numbers


def _whole(column: pl.Series, source: str, name: str) -> pl.Series:
    """Floats and decimals as integers."""
    limit = exact_limit(column.dtype)
    numbers = column.cast(pl.Float64)
    wrong = (~numbers.is_finite()) | (numbers != numbers.floor())
    problem, fix = "an id must be text or a whole number", "write ids as text or as integers"
    if not wrong.any() and limit is not None:
        wrong = numbers.abs() >= limit
        problem = (
            f"{column.dtype} does not hold every number of {limit:,} and more, so several ids may "
            "have been merged"
        )
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise DataError(
            explain(problem, file=source, row=row + 1, column=name, value=column[row], fix=fix)
        )
    return column.cast(pl.Int64 if limit is not None else pl.Int128)


def cast_ids(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Ids in the type that a table has, Int64 or String; null where one cannot be."""
    if column.dtype == dtype:
        return column
    return spelled(column) if dtype == pl.String else to_integers(column)


def id_series(raw: Sequence[str | int]) -> pl.Series:
    """Raw ids of a request, a mixture of text and integers."""
    return pl.Series([spell(value) for value in raw], dtype=pl.String)


# --- what the tables have to agree on -----------------------------------------------------------


def agree(
    frames: dict[str, pl.DataFrame], key: str, work: Workspace | None = None
) -> dict[str, pl.DataFrame]:
    """The same type of id in all tables that have the key: integers if all of them are, else
    text. What is larger than memory is kept in a workspace."""
    other = "items" if key == USER_ID else "users"
    there = {name: frame for name, frame in frames.items() if name != other}
    if all(frame[key].dtype == pl.Int64 for frame in there.values()):
        return frames
    text = pl.col(key).cast(pl.String)
    return frames | {
        name: changed(frame, lambda rows: rows.with_columns(text), work)
        for name, frame in there.items()
        if frame[key].dtype != pl.String
    }


def lacking(interactions: pl.DataFrame, table: pl.DataFrame, key: str) -> list[str]:
    """A note on ids of the interactions that the table has no row for."""
    known = distinct(interactions[key])
    missing = int((~known.is_in(table[key].implode())).sum())
    if not missing:
        return []
    kind = "users" if key == USER_ID else "items"
    if missing == len(known):
        return [
            f"None of the {len(known):,} {kind} of the interactions is in the {kind} file: are "
            f"ids written differently there ({interactions[key][0]!r} and {table[key][0]!r})?"
        ]
    return [
        f"{missing:,} of {len(known):,} {kind} of the interactions are not in the {kind} file: "
        "their features are missing values."
    ]
