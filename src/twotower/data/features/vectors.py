"""Vectors that another program made: a list column, or a .npy file, to an array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.values.row_errors import refuse_rows
from twotower.errors import DataError, explain

LARGEST = 1e15
"""Numbers are cut off at it, so that their squares are finite in float32."""


def flagged(vectors: NDArray[np.floating], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Vectors (R, E) and which are missing (R,) to (R, E + 1) float32; missing ones are 0."""
    encoded = np.zeros((len(vectors), vectors.shape[1] + 1), dtype=np.float32)
    encoded[:, :-1] = np.clip(vectors, -LARGEST, LARGEST)
    encoded[missing, :-1] = 0
    encoded[:, -1] = missing
    return encoded


def to_vectors(
    column: pl.Series, *, dim: int | None = None, file: str | None = None, rows: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A column (R,) of lists of numbers as vectors (R, E) and which rows are missing (R,).

    A null and an empty list are missing; without a single vector, E is `dim` or 1.

    Args:
        column: lists, arrays, or nulls alone.
        dim: the length of all vectors. Default: that of the first.
        file: where they are from, for errors.
        rows: whether the column's rows are the file's, so that an error may name them.

    Raises:
        DataError: no numbers, two lengths, or a number that is null, not finite, or too large for
            float32.
    """
    values = _lists(column, file)
    lengths = values.list.len().fill_null(0).to_numpy().astype(np.int64)
    missing = lengths == 0
    known = np.flatnonzero(~missing)
    if not len(known):
        return np.zeros((len(column), dim or 1), dtype=np.float32), missing
    _check_lengths(lengths, known, column, file, rows, dim)
    width = int(lengths[known[0]])
    flat = values.filter(pl.Series(~missing)).explode().cast(pl.Float64)
    numbers = flat.fill_null(float("nan")).to_numpy().reshape(-1, width)
    wrong = np.zeros(len(column), dtype=np.bool_)
    wrong[known] = ~(np.abs(numbers) <= np.finfo(np.float32).max).all(axis=1)
    refuse_rows(
        wrong,
        column,
        file,
        rows,
        "contains a vector with a number that is missing or not finite",
        "correct the vector, or leave the cell empty",
    )
    vectors = np.zeros((len(column), width), dtype=np.float32)
    vectors[known] = numbers
    return vectors, missing


def _lists(column: pl.Series, file: str | None) -> pl.Series:
    """A column of lists of numbers, whatever kind of lists it came as."""
    if column.dtype == pl.Null:
        return column.cast(pl.List(pl.Float64))
    inner = getattr(column.dtype, "inner", None)
    if inner is None or not (inner.is_numeric() or inner == pl.Null):
        raise DataError(
            explain(
                f"is declared as a vector, but holds values of type {column.dtype}",
                file=file,
                column=column.name,
                fix="write lists of numbers (Parquet, JSON Lines), or name a .npy file with 'file'",
            )
        )
    return column.cast(pl.List(inner)) if isinstance(column.dtype, pl.Array) else column


def _check_lengths(
    lengths: NDArray[np.int64],
    known: NDArray[np.int64],
    column: pl.Series,
    file: str | None,
    rows: bool,
    dim: int | None,
) -> None:
    first = int(known[0])
    expected = dim or int(lengths[first])
    other = known[lengths[known] != expected]
    if not len(other):
        return
    row = int(other[0])
    held = f"row {first + 1} holds" if rows else "another row holds"
    if dim:
        held = "the feature takes"
    raise DataError(
        explain(
            f"contains a vector of {lengths[row]:,} numbers, and {held} {expected:,}",
            file=file,
            row=row + 1 if rows else None,
            column=column.name,
            fix="write vectors of one length, and leave the cell empty where there is none",
        )
    )


def read_vectors(path: str, *, rows: int, table: str, name: str) -> pl.Series:
    """A .npy file as a column of `rows` vectors.

    Args:
        path: of the file, an array (rows, E) of numbers.
        rows: of the table that it belongs to.
        table: that table's name, for errors.
        name: of the column.

    Raises:
        DataError: no such file, no array of numbers, or another number of rows.
    """
    try:
        array = np.load(Path(path), allow_pickle=False)
    except FileNotFoundError:
        raise DataError(explain("no such file", file=path, fix="correct 'file'")) from None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        problem = f"cannot be read as a .npy file: {str(error).partition(chr(10))[0]}"
        raise DataError(explain(problem, file=path, fix="write it with numpy.save")) from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "fiub":
        shape = getattr(array, "shape", None)
        kind = getattr(array, "dtype", type(array).__name__)
        raise DataError(
            explain(
                f"contains no array of numbers (rows, dim), but {kind} of shape {shape}",
                file=path,
                fix="write it with numpy.save",
            )
        )
    if len(array) != rows:
        raise DataError(
            explain(
                f"has {len(array):,} rows, and {table} has {rows:,}",
                file=path,
                fix="write a row for each row of the table, in its order",
            )
        )
    numbers = np.ascontiguousarray(array, dtype=np.float32)
    if not array.shape[1]:
        return pl.Series(name, [None] * rows, dtype=pl.List(pl.Float32))
    return pl.Series(name, numbers, dtype=pl.Array(pl.Float32, array.shape[1]))
