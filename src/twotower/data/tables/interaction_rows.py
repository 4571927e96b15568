"""Reading a table of interactions: its columns, and its positive rows."""

from __future__ import annotations

import polars as pl

from twotower.config import DataConfig, TableName
from twotower.data.arrays.workspace import Workspace
from twotower.data.columns import ITEM_ID, USER_ID
from twotower.data.readers.pieces import pieces_of_large
from twotower.data.readers.read_table import read_table
from twotower.data.readers.unsupported_shapes import refuse_nested, wrong_interactions
from twotower.data.tables.checked_columns import checked_rows
from twotower.data.tables.column_mapping import find_columns, find_missing
from twotower.data.tables.large_rows import read_pieces
from twotower.data.tables.positive_rows import learned_rows
from twotower.errors import DataError, Problems, without_password


def read_interactions(
    source: str,
    config: DataConfig,
    *,
    table: TableName = "interactions",
    context: tuple[str, ...] = (),
    notes: list[str] | None = None,
    work: Workspace | None = None,
) -> pl.DataFrame:
    """The positive rows of a table of interactions, under our names and in the canonical order: by
    user, time and item.

    Args:
        source: the file, the folder or the URI.
        config: the `[data]` section.
        table: its name in the config; event types may be missing from a test part.
        context: columns that context features read.
        notes: gets a sentence for each kind of rows that are dropped.
        work: keeps the rows of a table that is larger than memory.

    Raises:
        DataError: one problem per line, each with file, row, column, value and fix.
    """
    notes = [] if notes is None else notes
    frame = read_rows(source, config, table=table, context=context, notes=notes, work=work)
    shown = without_password(source)
    return learned_rows(frame, config, shown, notes, table=table, work=work).positives


def read_rows(
    source: str,
    config: DataConfig,
    *,
    table: TableName = "interactions",
    context: tuple[str, ...] = (),
    notes: list[str] | None = None,
    work: Workspace | None = None,
) -> pl.DataFrame:
    """All rows of a table of interactions in the file's order, checked, under our names; with a
    workspace, those of a large table are kept there.

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
    pieces = pieces_of_large(source, config.format_of(table), work)
    if pieces is not None and work is not None:
        return read_pieces(
            source,
            pieces,
            config,
            pick,
            names,
            work=work,
            table=table,
            notes=notes,
            problems=problems,
        )
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
