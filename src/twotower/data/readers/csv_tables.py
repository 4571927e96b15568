"""A text file with cells between separators: every cell as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import polars as pl

from twotower.config import FormatConfig
from twotower.data.readers.csv_content import Prepared, checked_encoding, open_quote, prepare
from twotower.data.readers.encodings import is_plain, note_on_encoding
from twotower.data.readers.file_content import FileHead, read_content
from twotower.data.readers.format_detection import (
    BLANKS,
    COMMENT,
    RECBOLE,
    SEPARATORS,
    ends_empty,
    lay_out,
    split_rows,
    text_of,
    usual_separator,
)
from twotower.data.readers.quotes import without_quotes
from twotower.data.readers.unsupported_shapes import refuse_shape
from twotower.errors import DataError, explain, shorten

EMPTY_FIX: Final = "name a file with a header and rows"


def read_csv(
    path: Path,
    head: FileHead,
    given: FormatConfig,
    found: FormatConfig,
    format_notes: list[str],
    refuse: Callable[[list[str]], None],
) -> pl.DataFrame:
    """All columns of a file. Problems at its beginning are reported before the rest is read.

    Args:
        path: the file.
        head: its beginning.
        given: the format in the config.
        found: the same, completed with what was recognised.
        format_notes: unusual properties that were recognised are appended.
        refuse: called with the names of the columns; raises if a needed one is missing.

    Raises:
        DataError: it is not a table, has no header, or a row does not fit.
    """
    text = text_of(head, found.encoding or "utf-8")
    rows = lay_out(text, found.separator or ",", found).rows
    if not rows or not text.strip():
        raise DataError(explain("is empty", file=path, fix=EMPTY_FIX))
    if found.column_names is None and given.header is not True:
        refuse_shape(path, text, rows, header=bool(found.header))
    names = find_names(path, rows, given, found)
    refuse(names)
    try:
        found, prepared, frame = parse_in_encoding(path, head, given, found, len(names))
    except UnicodeDecodeError:
        raise DataError(not_encoded(path, found.encoding or "utf-8")) from None
    if frame.width != len(names):
        raise DataError(
            broken_csv(path, prepared, found, "its header cannot be split into columns")
        )
    format_notes += unusual_format(path, head, given, found, prepared, rows)
    frame = frame.rename(dict(zip(frame.columns, names, strict=True)))
    frame = without_blank_lines(frame, format_notes)
    if found.column_names == given.column_names or not ends_empty(rows):
        return frame
    return frame.drop(names[-1]) if frame.to_series(-1).is_null().all() else frame


def parse_in_encoding(
    path: Path, head: FileHead, given: FormatConfig, found: FormatConfig, width: int
) -> tuple[FormatConfig, Prepared, pl.DataFrame]:
    """The cells, with the format under which they could be read: where the beginning of a file is
    plain ASCII, the encoding shows only in the rest.

    Raises:
        UnicodeDecodeError: the text is not in the encoding that is given.
        DataError: a row does not fit.
    """
    prepared = prepare(path, head, given, found)
    try:
        return found, prepared, parse(path, prepared, header=bool(found.header), width=width)
    except pl.exceptions.PolarsError as error:
        checked = checked_encoding(path, head, given, found)
        if checked != found:
            return parse_in_encoding(path, head, given, checked, width)
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        if "utf-8" in reason:
            raise DataError(not_encoded(path, found.encoding or "utf-8")) from None
        raise DataError(broken_csv(path, prepared, found, reason)) from None


def parse(path: Path, prepared: Prepared, *, header: bool, width: int) -> pl.DataFrame:
    """The cells of all rows."""
    if prepared.mixed:
        return parse_mixed(path, prepared, header=header, width=width)
    source = prepared.content
    frame = pl.read_csv(
        source if isinstance(source, Path) else bytes(source),
        separator=prepared.separator,
        infer_schema=False,
        has_header=header,
        quote_char='"' if prepared.quotes else None,
    )
    return frame.select(map(without_quotes, frame)) if prepared.some_enclosed else frame


def parse_mixed(path: Path, prepared: Prepared, *, header: bool, width: int) -> pl.DataFrame:
    """The same by Python's reader, for which a quote within a cell is a character like others.

    Raises:
        DataError: a quote encloses several lines though others do not enclose their cells.
    """
    rows = list(islice(all_rows(prepared), int(header), None))
    if any(len(row) > width for row in rows):
        raise pl.exceptions.ComputeError("a row has too many cells")
    for row in rows:
        row.extend([""] * (width - len(row)))
    columns = list(zip(*rows, strict=True)) or [()] * width
    frame = pl.DataFrame(
        [pl.Series(f"column_{n}", cells, dtype=pl.String) for n, cells in enumerate(columns, 1)]
    )
    for column in frame if prepared.strays else ():
        lines = column.filter(column.str.contains("\n", literal=True))
        if len(lines):
            raise DataError(open_quote(path, f'"{lines[0]}'))
    return frame


def all_rows(prepared: Prepared) -> Iterator[list[str]]:
    """All rows, by Python's reader."""
    content = prepared.content
    data = content.read_bytes() if isinstance(content, Path) else bytes(content)
    text = data.decode(errors="replace").removeprefix("\ufeff")
    return split_rows(text, prepared.separator, quotes=prepared.quotes)


def without_blank_lines(frame: pl.DataFrame, format_notes: list[str]) -> pl.DataFrame:
    """The rows without blank ones; empty cells become nulls. Blank rows between others are noted,
    as row numbers in errors do not count them."""
    empty = [name for name in frame.columns if (frame[name] == "").any()]
    frame = frame.with_columns(pl.col(empty).replace("", None)) if empty else frame
    if frame.width and frame.to_series(0).has_nulls():
        blank = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
        last = (~blank).arg_true().max()
        inside = int(blank.head(last).sum()) if isinstance(last, int) else 0
        if inside:
            what = "1 blank row is" if inside == 1 else f"{inside:,} blank rows are"
            format_notes.append(f"{what} skipped and not counted in row numbers")
        frame = frame.filter(~blank)
    return frame


# --- header ---------------------------------------------------------------------------------------


def find_names(
    path: Path, rows: list[list[str]], given: FormatConfig, found: FormatConfig
) -> list[str]:
    """The names of the columns: those of the config, else of the header.

    Raises:
        DataError: there is no header, it names a column twice, the config's names are too few, or
            the separator is wrong.
    """
    first = rows[0]
    if found.column_names is not None:
        if len(found.column_names) != len(first):
            raise DataError(wrong_names(path, found.column_names, first))
        return list(found.column_names)
    if len(first) == 1 and given.separator is not None:
        refuse_separator(path, [row[0] for row in rows], given.separator)
    if not found.header:
        if given.header is None:
            raise DataError(no_header(path, first))
        return [f"column_{place + 1}" for place in range(len(first))]
    names = [first[0].lstrip("".join(COMMENT) + " ") or first[0], *first[1:]]
    if given.quotes is None:
        names = without_quotes(pl.Series(names)).to_list()
    if all(map(RECBOLE.fullmatch, names)):
        names = [name.rpartition(":")[0] for name in names]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            explain(
                f"its header names {shorten(twice[0])} {names.count(twice[0])} times",
                file=path,
                fix="give each column a unique name",
            )
        )
    return names


def no_header(path: Path, first: list[str]) -> str:
    """The error text for a first row that looks like data."""
    return explain(
        f"has no header: its first row looks like data with {len(first)} "
        f"column{'s' if len(first) > 1 else ''}",
        file=path,
        value=" ".join(first),
        fix="name its columns in order with data.format.TABLE.column_names, or, if the row "
        "contains names, set data.format.TABLE.header = true",
    )


def wrong_names(path: Path, names: tuple[str, ...], first: list[str]) -> str:
    """The error text for names that are not as many as the columns."""
    return explain(
        f"has {len(first)} columns, and data.format.TABLE.column_names has {len(names)} names",
        file=path,
        value=" ".join(first),
        fix="name every column, in order",
    )


def refuse_separator(path: Path, cells: list[str], given: str) -> None:
    """A single column whose header, or each of whose rows, holds another separator."""
    for other, (name, spelled) in SEPARATORS.items():
        in_header = other in cells[0]
        if other in (given, BLANKS):
            continue
        if in_header or (len(cells) > 1 and all(other in cell for cell in cells[1:])):
            raise DataError(
                explain(
                    f"has a single column, and its {'header' if in_header else 'rows'} "
                    f"hold{'s' if in_header else ''} {name}",
                    file=path,
                    value=cells[0] if in_header else cells[1],
                    fix=f"set data.format.TABLE.separator = {spelled}, or remove the separator "
                    "from the config: it is recognised",
                )
            )


# --- notes and errors -----------------------------------------------------------------------------


def unusual_format(
    path: Path,
    head: FileHead,
    given: FormatConfig,
    found: FormatConfig,
    prepared: Prepared,
    rows: list[list[str]],
) -> list[str]:
    """Unusual properties that were recognised, one clause each."""
    format_notes = []
    encoding, separator = found.encoding or "utf-8", found.separator or ","
    if given.separator is None and separator != usual_separator(path) and len(rows[0]) > 1:
        format_notes.append(f"{SEPARATORS[separator][0]} separate its cells")
    if given.encoding is None and not is_plain(encoding):
        format_notes.append(note_on_encoding(read_content(path, head), encoding))
    if b"\r" in head.content and b"\n" not in head.content:
        format_notes.append("carriage returns end its lines")
    skipped = 0 if given.skip_lines is not None else found.skip_lines or 0
    unnamed = None
    if found.column_names is not None and given.column_names is None:
        skipped -= 1
        unnamed = "the last column, which is empty" if ends_empty(rows) else "the row numbers"
    if skipped:
        lines = f"{skipped} line{'s' if skipped > 1 else ''}"
        format_notes.append(f"{lines} before the table {'are' if skipped > 1 else 'is'} skipped")
    if unnamed is not None:
        format_notes.append(f"its header has no name for {unnamed}")
    if given.quotes is None and (not prepared.quotes or prepared.mixed):
        format_notes.append("quotes that do not enclose a cell are read as text")
    if found.header and all(map(RECBOLE.fullmatch, rows[0])):
        format_notes.append(
            f"the types in its header are not part of the column names, as in {rows[0][0]!r}"
        )
    return format_notes


def broken_csv(path: Path, prepared: Prepared, found: FormatConfig, reason: str) -> str:
    """The error text for a CSV file that cannot be read: the first row that does not fit its
    header."""
    rows = all_rows(prepared)
    width = len(next(rows, []))
    for number, row in enumerate(rows, start=1 if found.header else 2):
        if len(row) > width:
            return explain(
                f"has {len(row)} cells where the {'header' if found.header else 'first row'} has "
                f"{width}",
                file=path,
                row=number,
                value=(found.separator or ",").join(row),
                fix="quote cells that contain the separator",
            )
    return explain(
        f"cannot be read as CSV: {reason}",
        file=path,
        fix="look for a quote that is opened and not closed",
    )


def not_encoded(path: Path, encoding: str) -> str:
    """The error text for text in another encoding than is given."""
    return explain(
        f"is not {encoding} text",
        file=path,
        fix="correct data.format.TABLE.encoding, or remove it: the encoding is recognised",
    )
