"""How a file is written, where a config does not say it: recognised from its beginning."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from twotower.config import FormatConfig
from twotower.data.readers.encodings import encoding_of, is_utf8, is_wide, single_byte, to_utf8
from twotower.data.readers.file_content import FileHead, read_content, read_head
from twotower.data.readers.quotes import CONTROL, encloses
from twotower.data.readers.source_files import ENDINGS, ending

BLANKS: Final = " "
"""The separator that is any run of blanks and tabs."""
SEPARATORS: Final = {
    "\t": ("tabs", '"\\t"'),
    "::": ("double colons", '"::"'),
    ";": ("semicolons", '";"'),
    "|": ("vertical bars", '"|"'),
    ",": ("commas", '","'),
    BLANKS: ("blanks", '" "'),
}
"""Separator -> its name, and how a config spells it; what is likelier a separator than a part of
the text comes first."""
SAMPLE_ROWS: Final = 200
"""First rows, from which the format is recognised."""
MAX_LINES_BEFORE_TABLE: Final = 50
"""Most lines before the table that are skipped."""
NUMBER_PATTERN: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
COMMENT: Final = ("#", "%")
RECBOLE: Final = re.compile(r"(.+):(token|float|token_seq|float_seq)")
"""A name in the head of a RecBole file, with its type."""
MATRIX_MARKET: Final = "%%MatrixMarket"
"""How a file begins whose first line after the comments holds the sizes of the matrix."""

Kind = Literal["csv", "jsonl", "parquet"]


def sniff(path: Path, format: FormatConfig = FormatConfig()) -> FormatConfig:  # noqa: A002, B008
    """The format of a file: as `format` declares it, the rest recognised.

    Returns:
        Kind, separator, encoding, header, skip_lines and quotes are set where they are known.
        `header` is false where the first row looks like data. `column_names` stays as it is, except
        where the header has one name fewer than there are columns: then they are its names, and
        the header is one of the lines to skip.

    Raises:
        OSError: the file cannot be read.
    """
    head = read_head(path)
    found = recognise(path, head, format)
    if found.kind == "csv" and format.encoding is None and found.encoding == "utf-8":
        content = read_content(path, head)
        if not is_utf8(content):
            return found.model_copy(update={"encoding": single_byte(content)})
    return found


def recognise(path: Path, head: FileHead, given: FormatConfig) -> FormatConfig:
    """The same, from a file's beginning alone."""
    encoding = given.encoding or encoding_of(head)
    text = text_of(head, encoding)
    kind = given.kind or kind_of(path, head, text)
    if kind != "csv":
        return given.model_copy(update={"kind": kind, "encoding": encoding})
    layout = find_layout(text, given, usual_separator(path))
    header, names = given.header, given.column_names
    if names is None and header is not False and given.skip_lines is None:
        names = names_above(text, layout)
        header = header if names is None else False
    if header is None:
        header = (
            not looks_like_data(layout.rows) if names is None else layout.rows[:1] == [[*names]]
        )
    return given.model_copy(
        update={
            "kind": kind,
            "encoding": encoding,
            "separator": layout.separator,
            "skip_lines": layout.skip_lines,
            "quotes": clear_quotes(layout) if given.quotes is None else given.quotes,
            "header": header,
            "column_names": names,
        }
    )


def clear_quotes(layout: Layout) -> bool | None:
    """Whether quotes enclose cells; None where some do and others do not."""
    if layout.well_formed:
        return True
    cells = (cell for row in layout.rows for cell in row)
    if not layout.quotes and not any(len(c) > 1 and c[0] == c[-1] == '"' for c in cells):
        return False
    return None


def text_of(head: FileHead, encoding: str) -> str:
    """The whole lines of a file's beginning, with `\\n` after each."""
    if is_wide(encoding):
        text = head.content.decode(encoding, errors="ignore").removeprefix("\ufeff")
    else:
        text = bytes(to_utf8(head.content, "utf-8")).decode(encoding, errors="ignore")
    text = re.sub("\r\n?", "\n", text)
    return text if head.whole or "\n" not in text else text[: text.rindex("\n") + 1]


def kind_of(path: Path, head: FileHead, text: str) -> Kind:
    """By the content where that is certain, else by the end of the name."""
    if head.content.startswith(b"PAR1"):
        return "parquet"
    named = ENDINGS.get(ending(path), "csv")
    start = text.lstrip()
    if named == "csv" and (is_object(start.partition("\n")[0]) or re.match(r"\[\s*\{", start)):
        return "jsonl"
    return "jsonl" if named == "jsonl" else "parquet" if named == "parquet" else "csv"


def is_object(line: str) -> bool:
    """Whether a line of text is a JSON object."""
    if not line.startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except json.JSONDecodeError:
        return False


def usual_separator(path: Path) -> str:
    """What the end of a file's name promises."""
    return "\t" if ending(path) == ".tsv" else ","


# --- separators, lines before the table -----------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """One reading of a text: its separator, the lines before the table and the rows after them."""

    separator: str
    skip_lines: int
    rows: list[list[str]]
    quotes: bool
    share: float
    """Of the rows that have as many cells as most."""
    well_formed: bool = True
    """Whether every quote encloses a cell or is doubled within it."""

    @property
    def width(self) -> int:
        """Cells of the first row."""
        return len(self.rows[0]) if self.rows else 0


def find_layout(text: str, given: FormatConfig, usual: str) -> Layout:
    """The reading under which nearly all rows have as many cells as the first."""
    names = [given.separator] if given.separator is not None else list(SEPARATORS)
    layouts = [lay_out(text, separator, given) for separator in names]
    if given.separator is not None:
        return layouts[0]
    likely = [
        layout
        for layout in layouts
        if layout.width > 1
        and layout.share >= 0.9
        and (
            layout.separator != BLANKS
            or not before_table(layout, text)
            or names_above(text, layout) is not None
        )
    ]
    plain = [layout for layout in likely if layout.separator != BLANKS]
    if not plain or all(map(holds_ids_between_blanks, plain)):
        plain = likely
    if not plain:
        fitting = [one for one in layouts if one.separator != BLANKS and one.share >= 0.6]
        return max(fitting, key=lambda one: one.share, default=lay_out(text, usual, given))
    return min(plain, key=lambda one: (one.skip_lines, -one.width, one.separator != usual))


def holds_ids_between_blanks(layout: Layout) -> bool:
    """Whether tabs separate only some of the cells: the first of each row begins with several ids,
    as in `1 1 2<tab>97`."""
    cells = [row[0].split() for row in layout.rows[1:]]
    return (
        layout.separator == "\t"
        and bool(cells)
        and all(len(cell) > 1 and cell[0].isdigit() and cell[1].isdigit() for cell in cells)
    )


def before_table(layout: Layout, text: str) -> int:
    """How many lines before the table are not blank and no comments."""
    lines = text.split("\n")[: layout.skip_lines]
    other = sum(bool(line.strip()) and not line.startswith(COMMENT) for line in lines)
    return other - text.startswith(MATRIX_MARKET)


def lay_out(text: str, separator: str, given: FormatConfig) -> Layout:
    """A text under one separator; quotes that do not enclose every cell are read in the way under
    which more rows have as many cells as most."""
    sample = "\n".join(text.split("\n", 4 * SAMPLE_ROWS)[: 4 * SAMPLE_ROWS])
    if given.quotes is not None:
        return cut(sample, separator, given.skip_lines, quotes=given.quotes)
    if encloses(sample, separator):
        return cut(sample, separator, given.skip_lines, quotes=True)
    ways = [cut(sample, separator, given.skip_lines, quotes=quotes) for quotes in (False, True)]
    return replace(max(ways, key=lambda layout: layout.share), well_formed=False)


def cut(text: str, separator: str, skip_lines: int | None, *, quotes: bool) -> Layout:
    """A text under one separator, its quotes read in one way."""
    skip = lines_before(text, separator, quotes=quotes) if skip_lines is None else skip_lines
    rest = text.split("\n", skip)[skip] if text.count("\n") >= skip else ""
    rows = list(islice(split_rows(rest, separator, quotes=quotes), SAMPLE_ROWS))
    widths = Counter(map(len, rows))
    width, count = widths.most_common(1)[0] if widths else (0, 0)
    return Layout(separator, skip, rows, quotes, count / len(rows) if width > 1 else 0.0)


def lines_before(text: str, separator: str, *, quotes: bool) -> int:
    """Lines before the table: blank ones, comments, and lines that have fewer cells than most."""
    lines = text.split("\n", MAX_LINES_BEFORE_TABLE)
    rows = list(islice(split_rows("\n".join(lines), separator, quotes=quotes), SAMPLE_ROWS))
    width = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    skip = 0
    for line in lines[:-1]:
        cells = next(split_rows(line, separator, quotes=quotes), [])
        comment = line.startswith(COMMENT) and not is_marked_header(
            line, lines[skip + 1], separator
        )
        if cells and not comment and (len(cells) >= width or len(rows) < 3):
            break
        skip += 1
    skip += text.startswith(MATRIX_MARKET)
    return skip if skip < len(lines) - 1 else 0


def is_marked_header(line: str, after: str, separator: str) -> bool:
    """Whether a line that begins as a comment names the columns: `#user_id,item_id`."""
    rows = list(islice(split_rows(f"{line.lstrip('#% ')}\n{after}", separator, quotes=True), 2))
    return len(rows) == 2 and len(rows[0]) == len(rows[1]) > 1 and not after.startswith(COMMENT)


def split_rows(text: str, separator: str, *, quotes: bool) -> Iterator[list[str]]:
    """The rows of a text, blank lines left out; slow, for a file's beginning and for errors.

    A quote within a cell is a character like others; after a backslash so is one within quotes.
    """
    if separator == BLANKS:
        lines = text.split("\n")
        yield from (re.split(r"[ \t]+", line.strip()) for line in lines if line.strip())
        return
    if len(separator) > 1:
        text, separator = text.replace(separator, CONTROL), CONTROL
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        escapechar="\\" if quotes and '\\"' in text else None,
    )
    with contextlib.suppress(csv.Error):  # the rows before it say what is wrong
        yield from filter(None, reader)


# --- header -------------------------------------------------------------------------------------


def names_above(text: str, layout: Layout) -> tuple[str, ...] | None:
    """The names of the columns where the line above the rows names all but one of them: a last one
    that is empty, as where rows end with a separator and the header does not, or a first one that
    numbers the rows, as R writes tables. None for any other line.

    The column without a name is `column_N`, N its place.
    """
    above = [
        line for line in text.split("\n", layout.skip_lines)[: layout.skip_lines] if line.strip()
    ]
    if not above or len(layout.rows) < 2 or names_columns(layout.rows):
        return None
    line = above[-1].lstrip("".join(COMMENT) + " ")
    names = [cell.strip(' "') for cell in next(split_rows(line, layout.separator, quotes=True), [])]
    if all(map(RECBOLE.fullmatch, names)):
        names = [name.rpartition(":")[0] for name in names]
    words = {name for name in names if name and not NUMBER_PATTERN.fullmatch(name)}
    if len(names) != layout.width - 1 or len(words) != len(names):
        return None
    rows = [row for row in layout.rows if len(row) == layout.width]
    numbers = [row[0].strip('"') for row in rows]
    numbered = numbers in ([str(n + first) for n in range(len(rows))] for first in (0, 1))
    if ends_empty(rows) and not numbered:
        return (*names, unused(f"column_{layout.width}", names))
    # A title may have commas, too.
    if numbered and not ends_empty(rows) and not any(" " in name for name in names):
        return (unused("column_1", names), *names)
    return None


def ends_empty(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the last cell of every row is empty."""
    return not any(row[-1].strip() for row in rows)


def names_columns(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row has words where all rows below have digits."""
    return any(
        cell.strip()
        and not re.search(r"\d", cell)
        and all(re.search(r"\d", other) for other in below)
        for cell, *below in zip(*rows, strict=False)
    )


def unused(name: str, names: Sequence[str]) -> str:
    """A name that is not among others."""
    while name in names:
        name += "_"
    return name


def looks_like_data(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row is more like the rows below it than like names of columns.

    A number above numbers, a value that occurs again, and digits in the same places as below speak
    for data; text above numbers speaks for names.
    """
    if len(rows) < 2:
        return False
    votes = 0
    for place, cell in enumerate(rows[0]):
        below = [row[place] for row in rows[1:] if place < len(row) and row[place].strip()]
        if below and cell.strip():
            votes += vote(cell.strip(), [other.strip() for other in below])
    return votes > 0


def vote(cell: str, below: Sequence[str]) -> int:
    """1 for data, -1 for a name, 0 where it is open."""
    if all(NUMBER_PATTERN.fullmatch(other) for other in below):
        return 1 if NUMBER_PATTERN.fullmatch(cell) else -1
    if cell in below:
        return 1
    shape = shape_of(cell)
    alike = sum(shape_of(other) == shape for other in below)
    return 1 if any(map(str.isdigit, cell)) and alike >= 0.5 * len(below) else 0


def shape_of(cell: str) -> str:
    """A cell with 9 for each run of digits: `u12` and `u7` are alike, and so are dates."""
    return re.sub(r"\d+", "9", cell)
