"""Detection of tables that do not have one row per interaction."""

from __future__ import annotations

from typing import Final

import polars as pl

from twotower.data.columns import ITEM_ID, USER_ID
from twotower.data.readers.unsupported_shapes import EXPECTED_SHAPE, wrong_interactions
from twotower.errors import DataError, explain, shorten
from twotower.workflow.setup.init.cell_types import as_text, is_flat
from twotower.workflow.setup.init.columns import Roles, is_matrix, matrix_problem
from twotower.workflow.setup.init.sources import Source

IMPRESSIONS: Final = r"^\S+-[01]( \S+-[01])*$"
"""The shown items of a request with whether each was clicked, as MIND writes them."""


def refuse_shape(log: Source) -> None:
    """Raise where the interactions are not one row per interaction.

    Raises:
        DataError: names the shape and what a row should be.
    """
    if log.nameless and is_matrix(log.frame):
        raise DataError(explain(matrix_problem(log.frame), file=log.source, fix=EXPECTED_SHAPE))
    for column in log.frame.get_columns():
        problem = problem_of(column)
        if problem is not None:
            raise DataError(
                explain(problem, file=log.source, column=column.name, fix=EXPECTED_SHAPE)
            )


def refuse_nested_ids(log: Source, roles: Roles) -> None:
    """Raise where a cell of users or items holds an object or a list.

    Raises:
        DataError: names the column and what it holds.
    """
    for ours in (USER_ID, ITEM_ID):
        column = log.frame[roles.columns[ours]]
        problem = nested_ids(column)
        if problem is not None:
            raise DataError(
                explain(problem, file=log.source, column=column.name, fix=EXPECTED_SHAPE)
            )


def nested_ids(column: pl.Series) -> str | None:
    """Words on a column of ids whose cells hold more than one value; None for others."""
    if isinstance(column.dtype, pl.Struct):
        return (
            f"contains an object ({', '.join(f.name for f in column.dtype.fields[:4])}), not an id"
        )
    if not is_flat(column):
        return (
            f"contains values of type {column.dtype}, not ids" if column.dtype.is_nested() else None
        )
    text = as_text(column).drop_nulls().head(1000)
    listed = text.filter(text.str.contains(r"^\[.*\]$"))
    if len(text) and len(listed) > 0.5 * len(text):
        return f"contains a list in each row, such as {shorten(listed[0], 40)}"
    return None


def refuse_lists(log: Source) -> None:
    """Raise where the users or items of a text file were not found because its cells hold several
    of them.

    Raises:
        DataError: names where they are.
    """
    if log.frame.width > 3 or any(dtype != pl.String for dtype in log.frame.dtypes):
        return
    problem = wrong_interactions(log.source, log.format.model_copy(update={"column_names": None}))
    if problem is not None:
        raise DataError(problem)


def problem_of(column: pl.Series) -> str | None:
    """What a column says that a row is, where it is not an interaction."""
    if not is_flat(column):
        return None
    text = as_text(column).drop_nulls().head(1000)
    if not len(text):
        return None
    listed = text.str.contains(IMPRESSIONS)
    if listed.all() and text.str.contains(" ", literal=True).any():
        value = shorten(text.filter(text.str.contains(" ", literal=True))[0], 40)
        return f"contains a list of impressions in each row, such as {value}"
    return None
