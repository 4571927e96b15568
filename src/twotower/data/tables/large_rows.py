"""Reading a table of interactions that is larger than memory, piece by piece. See
docs/decisions/0043-larger-than-memory.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from twotower.config import DataConfig, FormatConfig, TableName
from twotower.data.arrays.workspace import Workspace
from twotower.data.columns import ITEM_ID, TIMESTAMP, TIMESTAMP_NS, USER_ID
from twotower.data.readers.lake_tables import LakeTable
from twotower.data.readers.pieces import Piece
from twotower.data.readers.read_table import Pick, notes_on_format, read_file, read_lake
from twotower.data.readers.source_files import partitions
from twotower.data.tables.checked_columns import CheckedRows, checked_columns, notes_on_rows
from twotower.data.tables.time_notes import TimeSummary
from twotower.data.values.time_format import TimeFormat
from twotower.errors import DataError, Problems, explain, without_password


def read_pieces(
    source: str,
    pieces: list[Piece],
    config: DataConfig,
    pick: Pick,
    names: Mapping[str, str],
    *,
    work: Workspace,
    table: TableName,
    notes: list[str],
    problems: Problems,
) -> pl.DataFrame:
    """All rows of a source in its order, checked piece by piece and kept in a workspace.

    Times are recognised in each piece, and all pieces have to agree.

    Args:
        source: the file or the folder.
        pieces: of it.
        config: the `[data]` section.
        pick: from the names of all columns to those to read; fills `names`.
        names: ours -> theirs.
        work: where the rows are kept.
        table: its name in the config.
        notes: gets a sentence for each kind of rows that are dropped.
        problems: that `pick` finds.

    Raises:
        DataError: names file, row, column, value and fix.
    """
    format_notes: list[str] = []
    columns: list[str] = []
    blocks: list[pl.DataFrame] = []
    number, times = 0, None
    for piece in pieces:
        found = checked_piece(source, piece, config, pick, names, table, format_notes, problems)
        columns = columns or found.rows.columns
        refuse_other_columns(columns, found.rows.columns, source)
        times = found.times if times is None else agreeing(times, found.times, piece, names)
        number += found.number
        if len(found.rows):
            blocks.append(work.kept([found.rows]))
    shown = without_password(source)
    rows = joined(blocks, work) if blocks else found.rows
    files = [piece.file for piece in pieces if isinstance(piece.file, Path)]
    notes += notes_on_format(source, list(dict.fromkeys(files)), format_notes)
    notes += notes_on_rows(CheckedRows(rows, number, times), names, shown, config)
    return rows


def checked_piece(
    source: str,
    piece: Piece,
    config: DataConfig,
    pick: Pick,
    names: Mapping[str, str],
    table: TableName,
    format_notes: list[str],
    problems: Problems,
) -> CheckedRows:
    """The checked rows of a piece. What is wrong is looked for again with the rows before it, so
    that the error names the file's row."""

    def checked(rows: Piece) -> CheckedRows:
        frame = read_piece(source, rows, config.format_of(table), pick, format_notes)
        problems.refuse()
        lacks = [frame[names[key]].null_count() == len(frame) for key in (USER_ID, ITEM_ID)]
        if config.missing_ids == "leave_out" and any(lacks):
            empty = checked_columns(frame.clear(), names, str(rows.file), config, Problems())
            return empty._replace(number=len(frame))
        return checked_columns(frame, names, str(rows.file), config, Problems())

    try:
        return checked(piece)
    except DataError:
        if piece.rows is not None and piece.rows.start:
            checked(piece.up_to_here)
        raise


def read_piece(
    source: str,
    piece: Piece,
    format: FormatConfig,  # noqa: A002
    pick: Pick,
    format_notes: list[str],
) -> pl.DataFrame:
    """The rows of a piece as they are in the source."""
    if isinstance(piece.file, LakeTable):
        format_notes.append(piece.file.note)
        return read_lake(piece.file, pick, piece.rows)
    more = partitions(piece.file, Path(source))
    return read_file(piece.file, format, pick, more, format_notes, piece.rows)


def refuse_other_columns(columns: list[str], others: list[str], source: str) -> None:
    """Refuse files with different columns; nanoseconds are there where some times are not whole.

    Raises:
        DataError: names the columns.
    """
    differing = sorted(({*columns} ^ {*others}) - {TIMESTAMP_NS})
    if differing:
        raise DataError(
            explain(
                "its files do not have the same columns: only some have "
                f"{', '.join(map(repr, differing))}",
                file=source,
                fix="keep only the files of one table in the folder",
            )
        )


def agreeing(
    times: TimeSummary, others: TimeSummary | None, piece: Piece, names: Mapping[str, str]
) -> TimeSummary | None:
    """What there is to say of the times so far and those of the next piece, which have to be
    written alike. Small numbers are an order only if those of all pieces are.

    Raises:
        DataError: they are not.
    """
    if others is None or others.low is None:
        return times
    if times.low is None:
        return others
    merged = times.merge(others)
    if same_reading(times.written, others.written):
        kinds = {times.written.kind, others.written.kind}
        return merged if kinds != {"order", "unix"} else merged.as_unix()
    raise DataError(
        explain(
            f"the times here are read as {worded(others.written)}, and those before as "
            f"{worded(times.written)}; a log that is larger than memory is read in pieces, whose "
            "times have to be written alike",
            file=str(piece.file),
            row=None if piece.rows is None else piece.rows.start + 1,
            column=names[TIMESTAMP],
            fix="declare data.time_format or data.time_unit, or raise data.max_rows_in_memory",
        )
    )


def same_reading(one: TimeFormat, other: TimeFormat) -> bool:
    """Whether equal values mean the same time in both."""
    kinds = {one.kind, other.kind}
    alike = len(kinds) == 1 or kinds == {"order", "unix"}
    return alike and (one.unit, one.format) == (other.unit, other.format)


def worded(written: TimeFormat) -> str:
    """How times are written, for a message."""
    return written.format or (f"numbers of unit {written.unit!r}" if written.unit else written.kind)


def joined(blocks: list[pl.DataFrame], work: Workspace) -> pl.DataFrame:
    """The rows of all pieces. Ids that are text in one of them are text in all."""
    for key in (USER_ID, ITEM_ID):
        if len({block[key].dtype for block in blocks}) > 1:
            as_text = pl.col(key).cast(pl.String)
            blocks = [
                block if block[key].dtype == pl.String else work.kept([block.with_columns(as_text)])
                for block in blocks
            ]
    if any(TIMESTAMP_NS in block.columns for block in blocks):
        zero = pl.lit(0, pl.Int32).alias(TIMESTAMP_NS)
        names = next(block.columns for block in blocks if TIMESTAMP_NS in block.columns)
        blocks = [
            block if TIMESTAMP_NS in block.columns else work.kept([block.with_columns(zero)])
            for block in blocks
        ]
        blocks = [block.select(names) for block in blocks]
    return pl.concat(blocks, rechunk=False)
