"""Files that are small on disk and huge in memory are refused before memory is taken for them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import IO, Final

import psutil
import pyarrow.parquet as pq

from twotower.errors import DataError, explain

GIGABYTE: Final = 10**9
ALWAYS_READ: Final = GIGABYTE
"""Bytes in memory that a table may take, however small its file is."""
MOST_TIMES: Final = 1000
"""A table of more bytes than that takes at most so many times those of its file. Tables of real
logs take up to some 100 times: columns with one value take nearly no place in a file."""
WIDTHS: Final = {"BOOLEAN": 1 / 8, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}
"""Bytes of a value in memory; texts have 16 each besides their content."""
WIDTH_OF_TEXT: Final = 16
FIX: Final = "check where the file comes from; if it is right, split it, or use a larger machine"


def available_memory() -> int:
    """Bytes of memory that can be used without swapping."""
    return int(psutil.virtual_memory().available)


def check_claim(
    claimed: float, packed: int, file: str | Path, what: str = "takes", *, times: int = MOST_TIMES
) -> None:
    """Refuse what would not fit into memory, or is out of proportion to its file.

    Args:
        claimed: bytes in memory.
        packed: bytes of the file.
        file: its name.
        what: is done, for the message.
        times: how many times the file's size is in proportion.

    Raises:
        DataError: names the file, both sizes and the limit.
    """
    available = available_memory()
    if claimed > available:
        limit = f"{size(available)} of memory are available"
    elif claimed > ALWAYS_READ and claimed > times * packed:
        limit = f"that is more than {times:,} times its size"
    else:
        return
    raise DataError(
        explain(
            f"{what} {size(claimed)} in memory and has {size(packed)} on disk; {limit}",
            file=file,
            fix=FIX,
        )
    )


def check_parquet(
    source: Path | IO[bytes], packed: int, file: str | Path, columns: Collection[str] | None = None
) -> None:
    """Refuse a Parquet file whose columns would take too much memory by what its footer says.

    Args:
        source: the file.
        packed: bytes of the file on disk.
        file: its name for the message.
        columns: those that are read. Default: all.

    Raises:
        DataError: names the file, the sizes and the fix.
        OSError, ValueError: it is not a Parquet file (errors of PyArrow).
    """
    footer = pq.read_metadata(source)  # type: ignore[no-untyped-call]
    claimed = 0.0
    for group in range(footer.num_row_groups):
        rows = footer.row_group(group)
        for place in range(rows.num_columns):
            column = rows.column(place)
            if not is_among(column.path_in_schema, columns):
                continue
            # Values that are repeated take no place in pages, whose sizes are those of the codes.
            values = column.num_values * WIDTHS.get(column.physical_type, WIDTH_OF_TEXT)
            claimed += max(values, column.total_uncompressed_size)
    check_claim(claimed, packed, file)


def is_among(path: str, columns: Collection[str] | None) -> bool:
    """Whether a column of the file, `name` or `name.list.element`, belongs to some columns; names
    may have dots."""
    if columns is None:
        return True
    words = path.split(".")
    return any(".".join(words[:end]) in columns for end in range(1, len(words) + 1))


def size(number: float) -> str:
    """Bytes, readable."""
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:,.0f} {unit}"
        number /= 1000
    return f"{number:,.1f} GB"
