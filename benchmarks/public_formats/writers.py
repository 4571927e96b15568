"""Text files as other programs write them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal


def write_lines(
    path: Path, lines: Iterable[str], *, encoding: str = "utf-8", end: str = "\n"
) -> None:
    """Lines, the last one ended, too."""
    path.write_bytes("".join(line + end for line in lines).encode(encoding))


def write_joined(
    path: Path,
    rows: Iterable[Sequence[object]],
    separator: str,
    *,
    header: Sequence[str] = (),
    encoding: str = "utf-8",
    end: str = "\n",
) -> None:
    """Cells joined by a separator and never quoted."""
    table = [*([header] if header else []), *rows]
    write_lines(path, (separator.join(map(str, row)) for row in table), encoding=encoding, end=end)


def write_csv(
    path: Path,
    rows: Iterable[Sequence[object]],
    *,
    header: Sequence[str] = (),
    separator: str = ",",
    all_quoted: bool = False,
    encoding: str = "utf-8",
    end: str = "\n",
) -> None:
    """A CSV file whose cells are quoted where they have to be, or all of them."""
    path.write_bytes(
        csv_text(rows, header=header, separator=separator, all_quoted=all_quoted, end=end).encode(
            encoding
        )
    )


def csv_text(
    rows: Iterable[Sequence[object]],
    *,
    header: Sequence[str] = (),
    separator: str = ",",
    all_quoted: bool = False,
    end: str = "\n",
) -> str:
    """The text of a CSV file."""
    buffer = io.StringIO()
    quoting: Literal[0, 1] = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    writer = csv.writer(buffer, delimiter=separator, quoting=quoting, lineterminator=end)
    if header:
        writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def write_json_lines(path: Path, objects: Iterable[Mapping[str, Any]]) -> None:
    """An object a line."""
    write_lines(path, (json.dumps(row, ensure_ascii=False) for row in objects))


def names(text: str) -> list[str]:
    """The names of columns, written between blanks."""
    return text.split()
