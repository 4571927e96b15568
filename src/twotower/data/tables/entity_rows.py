"""A table of users or of items: a row an id."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import polars as pl

from twotower.config import DataConfig
from twotower.data.columns import USER_ID
from twotower.data.features.column_types import infer_undeclared
from twotower.data.features.vectors import read_vectors
from twotower.data.readers.lake_tables import kind_of_lake
from twotower.data.readers.read_table import is_text, read_table
from twotower.data.tables.column_mapping import find_column
from twotower.data.values.ids import ids
from twotower.errors import DataError, Problems, explain, without_password


def read_entities(
    source: str,
    key: str,
    config: DataConfig,
    notes: list[str],
    vectors: Mapping[str, str] | None = None,
    declared: Collection[str] | None = (),
) -> pl.DataFrame:
    """A users or items file: ids unique, other columns as they are, but for those of a CSV file
    that no feature reads: they become numbers or truth values where all of their cells are.

    Args:
        source: the file, the folder or the URI.
        key: `user_id` or `item_id`.
        config: the `[data]` section.
        notes: a sentence for each kind of dropped rows is appended.
        vectors: column -> .npy file with a row for each row of the table.
        declared: columns that features read, and that stay text; None: all columns stay.

    Raises:
        DataError: names file, row, column, value and fix.
    """
    table = table_of(key)
    if vectors and kind_of_lake(source) is not None:
        raise DataError(
            explain(
                f"its rows have no order, and {next(iter(vectors.values()))} has a vector for each "
                "row",
                file=source,
                column=next(iter(vectors)),
                fix="keep the vectors in a column of the table, or name a file",
            )
        )
    frame = read_table(source, format=config.format_of(table), notes=notes)
    text, shown = is_text(source, config.format_of(table)), without_password(source)
    return checked_entities(frame, shown, key, config, notes, vectors, declared if text else None)


def table_of(key: str) -> Literal["users", "items"]:
    """The table whose key is `user_id` or `item_id`."""
    return "users" if key == USER_ID else "items"


def checked_entities(
    frame: pl.DataFrame,
    source: str,
    key: str,
    config: DataConfig,
    notes: list[str],
    vectors: Mapping[str, str] | None = None,
    declared: Collection[str] | None = None,
) -> pl.DataFrame:
    """As `read_entities`, of a table that is read; `source` is what errors and notes call it.

    Raises:
        DataError: as for `read_entities`.
    """
    table = table_of(key)
    problems, found = Problems(), None
    with problems.collected():
        found = find_ids(frame, key, config.columns.entity_key(table), source, f"{table}_key")
    if declared is not None:
        frame = infer_undeclared(frame, stay=declared)
    frame = with_vectors(frame, source, vectors or {}, problems)
    if found is None:
        raise problems.error()
    name = found.name
    frame = frame.rename({name: key}).with_columns(found.alias(key))
    distinct = frame.unique(maintain_order=True)
    if len(distinct) < len(frame):
        notes.append(
            f"{source}: {len(frame) - len(distinct):,} rows are exact duplicates and were dropped."
        )
    with problems.collected():
        refuse_doubles(frame, distinct, key, source, name)
    problems.refuse()
    return distinct


def find_ids(frame: pl.DataFrame, key: str, theirs: str, source: str, setting: str) -> pl.Series:
    """The ids, under the name that they have in the file."""
    name = find_column(source, frame.columns, key, theirs, {key: theirs}, setting=setting)
    assert name is not None
    return ids(frame[name], source, name).alias(name)


def with_vectors(
    frame: pl.DataFrame, source: str, vectors: Mapping[str, str], problems: Problems
) -> pl.DataFrame:
    """The table with columns that .npy files hold for its rows. What is wrong goes into
    `problems`."""
    for name, path in vectors.items():
        if name in frame.columns:
            problems.add(
                explain(
                    f"has this column, and {path} is to be read as it",
                    file=source,
                    column=name,
                    fix="give the feature another name, or remove its 'file'",
                )
            )
            continue
        with problems.collected():
            column = read_vectors(path, rows=len(frame), table=source, name=name)
            frame = frame.with_columns(column)
    return frame


def refuse_doubles(
    frame: pl.DataFrame, distinct: pl.DataFrame, key: str, source: str, name: str
) -> None:
    """Two rows that say different things of one id."""
    doubles = distinct.filter(pl.col(key).is_duplicated())
    if not len(doubles):
        return
    value = doubles[key][0]
    first, *others = (frame[key] == value).arg_true().to_list()
    other = next(row for row in others if frame.row(row) != frame.row(first))
    number = doubles[key].n_unique()
    raise DataError(
        explain(
            f"{number:,} id{'s have' if number > 1 else ' has'} rows that differ; the first, "
            f"{value!r}, stands in rows {first + 1} and {other + 1}",
            file=source,
            column=name,
            fix="keep one row per id",
        )
    )
