"""The one way to refuse the values of a column: the first wrong row is named."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.errors import DataError, explain


def refuse_rows(
    wrong: NDArray[np.bool_],
    column: pl.Series,
    file: str | None,
    rows: bool,
    problem: str,
    fix: str,
) -> None:
    """Raise where a row is wrong.

    Args:
        wrong: (R,) which rows.
        column: (R,) the values.
        file: where they are from.
        rows: whether the column's rows are the file's, so that the message may name them.
        problem: what is wrong.
        fix: what to do.

    Raises:
        DataError: names file, row, column, the first wrong value and the fix.
    """
    places = np.flatnonzero(wrong)
    if len(places):
        first = int(places[0])
        more = f"; it is the first of {len(places):,} such rows" if len(places) > 1 else ""
        value = column[first]
        raise DataError(
            explain(
                problem + more,
                file=file,
                row=first + 1 if rows else None,
                column=column.name,
                value=value.to_list() if isinstance(value, pl.Series) else value,
                fix=fix,
            )
        )
