"""How the times of a column are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

from twotower.config import TimeUnit
from twotower.errors import DataError, shorten

TimeKind = Literal["datetime", "iso", "unix", "order", "calendar", "date", "year", "month", "excel"]


@dataclass(frozen=True)
class TimeFormat:
    """One reading of a column's times.

    Attributes:
        kind: `datetime` (the column's own type), `iso` (ISO 8601 text), `unix` (numbers since
            1970), `order` (numbers so small that they say no more than what came first),
            `calendar` (numbers such as 20240501), `date` (other dates in text), or `year`, `month`
            and `excel` (numbers that are read only where the config says so).
        unit: of numbers.
        format: of dates, in strptime's codes.
    """

    kind: TimeKind
    unit: TimeUnit | None = None
    format: str | None = None


class UnclearTimesError(DataError):
    """Times that have several readings, or one that is not certain.

    Attributes:
        readings: all that fit every value.
    """

    def __init__(self, message: str, readings: list[TimeFormat]) -> None:
        super().__init__(message)
        self.readings = readings


def name_rows(wrong: pl.Series, column: pl.Series, problem: str) -> str:
    """`2 of 9 timestamps PROBLEM; row 3: 'x', row 5: 'y'`, with the first three rows."""
    rows = wrong.fill_null(False).arg_true().to_list()
    examples = ", ".join(f"row {row + 1}: {shorten(column[row], 40)}" for row in rows[:3])
    return f"{len(rows):,} of {len(column):,} timestamps {problem}; {examples}"
