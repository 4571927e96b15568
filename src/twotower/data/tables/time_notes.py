"""Notes on the times of interactions that are legal but doubtful, or were recognised."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from twotower.data.values.time_format import TimeFormat
from twotower.data.values.times import SECONDS_PER_DAY, Times

EARLIEST_PLAUSIBLE: Final = 631_152_000
"""1990-01-01: hardly a log of interactions is older."""
MAX_CLOCK_OFFSET: Final = 2 * SECONDS_PER_DAY
"""Times so far in the future are not the clock of another time zone."""


@dataclass(frozen=True)
class TimeSummary:
    """What notes say of the times of a table, or of a piece of it.

    Attributes:
        written: the format they were read from.
        low, high: the first and the last, in seconds; None without a time.
        rows, known: how many rows there are, and how many have a time.
        early, late: how many are before 1990, and in the future.
    """

    written: TimeFormat
    low: int | None
    high: int | None
    rows: int
    known: int
    early: int
    late: int

    @staticmethod
    def of(times: Times) -> TimeSummary:
        """Of times as read."""
        seconds = times.seconds
        low, high = seconds.min(), seconds.max()
        return TimeSummary(
            times.written,
            low if isinstance(low, int) else None,
            high if isinstance(high, int) else None,
            len(seconds),
            seconds.count(),
            int((seconds < EARLIEST_PLAUSIBLE).sum()),
            int((seconds > time.time() + MAX_CLOCK_OFFSET).sum()),
        )

    def merge(self, other: TimeSummary) -> TimeSummary:
        """Of both together."""
        lows = [low for low in (self.low, other.low) if low is not None]
        highs = [high for high in (self.high, other.high) if high is not None]
        return TimeSummary(
            self.written,
            min(lows, default=None),
            max(highs, default=None),
            self.rows + other.rows,
            self.known + other.known,
            self.early + other.early,
            self.late + other.late,
        )

    def as_unix(self) -> TimeSummary:
        """The same of numbers that are not all so small that they are only an order."""
        return replace(self, written=replace(self.written, kind="unix"))


def time_notes(found: TimeSummary, source: str, column: str, *, declared: bool) -> list[str]:
    """A sentence for each doubtful property of the times of a table.

    Args:
        found: what there is to say of them.
        source: where they are from.
        column: its name there.
        declared: whether the config declares their format.
    """
    place = f"{source}, column {column!r}"
    low, high = found.low, found.high
    if low is None or high is None:
        return []
    if found.written.kind == "order":
        return [
            f"{place}: whole numbers from {low:,} to {high:,} are read as an order; dates and ages "
            "cannot be derived from them."
        ]
    notes = []
    if found.written.format is not None and not declared:
        first, last = pl.from_epoch(pl.Series([low, high]), time_unit="s").dt.date().to_list()
        notes.append(
            f"{place}: read as {found.written.format}, from {first} to {last} "
            "(data.time_format declares it)."
        )
    if found.early:
        all_early = found.early == found.known and found.written.kind == "unix" and not declared
        fix = " Set data.time_format or data.time_unit if they mean other times." * all_early
        notes.append(f"{place}: {found.early:,} of {found.rows:,} times are before 1990.{fix}")
    if found.late:
        notes.append(
            f"{place}: {found.late:,} of {found.rows:,} times are in the future; a split by time "
            "tests on them."
        )
    return notes
