"""Tables in memory: Polars, pandas, PyArrow and Hugging Face, each as a Polars frame.

None of these libraries but Polars and PyArrow is imported here: who has a pandas frame has pandas.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl
import pyarrow as pa

from twotower.config import TableName
from twotower.data.readers.read_table import decoded, first_line
from twotower.data.values.spelling import spell
from twotower.errors import DataError, explain, shorten

if TYPE_CHECKING:
    import datasets
    import pandas as pd

TableLike: TypeAlias = "pl.DataFrame | pl.LazyFrame | pd.DataFrame | pa.Table | datasets.Dataset"
"""What `to_polars` takes; any other table with the Arrow PyCapsule interface is fine, too."""

CELLS = (str, int, float, bool)
"""Types of single values, which can be spelled as text."""


def frame_name(table: TableName) -> str:
    """What notes and errors call a table in memory."""
    return f"{table} frame"


def to_polars(table: TableLike, name: TableName) -> pl.DataFrame:
    """A table in memory as the reader of a Parquet file would give it.

    The index of a pandas frame is ignored, and its NaN, NaT and NA are missing values. Columns of
    categories become text. A column of Python objects of several types, such as integers and text,
    becomes text.

    Args:
        table: see `TableLike`; a lazy frame is collected.
        name: which table it is; errors call it "interactions frame".

    Raises:
        TypeError: it is not a table.
        DataError: it has no rows, two columns of one name, or a column that cannot be read.
    """
    shown = frame_name(name)
    if isinstance(table, pl.LazyFrame):
        table = table.collect()
    if isinstance(table, pl.DataFrame):
        frame = table
    elif is_pandas(table):
        frame = from_arrow(arrow_of_pandas(table, shown), shown)
    else:
        frame = from_arrow(arrow_of(table, name), shown)
    if not len(frame):
        raise DataError(explain("has no rows", file=shown, fix="give a table with data"))
    return frame.select(decoded(column) for column in frame)


def is_pandas(table: Any) -> bool:
    """Whether a table is a pandas frame."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(table, pandas.DataFrame)


def arrow_of(table: Any, name: TableName) -> pa.Table:
    """A PyArrow or Hugging Face table, or whatever else hands out Arrow data."""
    if hasattr(table, "with_format") and hasattr(table, "column_names"):
        return arrow_of_hugging_face(table, frame_name(name))
    if not hasattr(table, "__arrow_c_stream__"):
        hint = "; Dataset.read reads files" if isinstance(table, str) else ""
        raise TypeError(
            f"The {name!r} parameter must be a Polars, pandas or PyArrow table, or a Hugging "
            f"Face dataset. Got {type(table).__name__} instead{hint}."
        )
    return pa.table(table)


def arrow_of_hugging_face(table: Any, name: str) -> pa.Table:
    """The rows of a `datasets.Dataset`, as its selection and its order say."""
    if isinstance(table, dict):
        splits = ", ".join(table)
        raise DataError(
            explain(
                f"is a DatasetDict, of the splits {splits}",
                file=name,
                fix=f"give one of them, such as dataset[{next(iter(table), 'train')!r}]",
            )
        )
    if not hasattr(table, "__len__"):
        raise DataError(
            explain(
                "is a streamed dataset, whose rows are not in memory",
                file=name,
                fix="load it without streaming=True",
            )
        )
    rows: pa.Table = table.with_format("arrow")[:]
    return rows


# --- columns ----------------------------------------------------------------------------------


def from_arrow(table: pa.Table, name: str) -> pl.DataFrame:
    """An Arrow table as a frame, categories as their values."""
    refuse_double_names(table.column_names, name)
    return pl.DataFrame(
        [
            from_arrow_column(column, label, name)
            for label, column in zip(table.column_names, table.columns, strict=True)
        ]
    )


def from_arrow_column(column: pa.ChunkedArray, label: str, name: str) -> pl.Series:
    """One column; Polars knows no categories but those of text."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        return pl.Series(label, column)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise DataError(
            explain(
                f"holds values of type {column.type}, which cannot be read: {first_line(error)}",
                file=name,
                column=label,
                fix="leave the column out, or convert it to text or numbers",
            )
        ) from None


def arrow_of_pandas(frame: pd.DataFrame, name: str) -> pa.Table:
    """The columns of a pandas frame, without its index."""
    labels = [str(label) for label in frame.columns]
    refuse_double_names(labels, name)
    columns = [
        arrow_column(frame.iloc[:, place], label, name) for place, label in enumerate(labels)
    ]
    return pa.table(columns, names=labels)


def arrow_column(column: pd.Series[Any], label: str, name: str) -> pa.ChunkedArray:
    """A pandas column; one of objects of several types as text."""
    try:
        array = pa.Array.from_pandas(column)
    except (pa.ArrowException, OverflowError, TypeError):
        array = pa.array(spelled_cells(column, label, name), pa.string())
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def spelled_cells(column: pd.Series[Any], label: str, name: str) -> list[str | None]:
    """The cells of a column of objects as text.

    Raises:
        DataError: a cell is not a single value.
    """
    texts = []
    for row, (value, missing) in enumerate(zip(column, column.isna(), strict=True), start=1):
        if not missing and not isinstance(value, CELLS):
            raise DataError(
                explain(
                    f"holds Python objects of several types, and this {type(value).__name__} is "
                    "not text, a number or a truth value",
                    file=name,
                    row=row,
                    column=label,
                    value=value,
                    fix="give the column values of one type",
                )
            )
        texts.append(None if missing else spell(value))
    return texts


def refuse_double_names(names: list[str], table: str) -> None:
    """Two columns of one name.

    Raises:
        DataError: names the first one.
    """
    doubles = [name for name, count in Counter(names).items() if count > 1]
    if doubles:
        raise DataError(
            explain(
                f"has {names.count(doubles[0])} columns of the name {shorten(doubles[0])}",
                file=table,
                fix="rename or drop all of them but one",
            )
        )
