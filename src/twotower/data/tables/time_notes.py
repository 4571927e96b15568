"""Notes on the times of interactions that are legal but doubtful, or were recognised."""

from __future__ import annotations

import time
from typing import Final

import polars as pl

from twotower.data.values.times import SECONDS_PER_DAY, Times

EARLIEST_PLAUSIBLE: Final = 631_152_000
"""1990-01-01: hardly a log of interactions is older."""
MAX_CLOCK_OFFSET: Final = 2 * SECONDS_PER_DAY
"""Times so far in the future are not the clock of another time zone."""


def time_notes(times: Times, source: str, column: str, *, declared: bool) -> list[str]:
    """A sentence for each doubtful property of the times of a table.

    Args:
        times: as read.
        source: where they are from.
        column: its name there.
        declared: whether the config declares their format.
    """
    place = f"{source}, column {column!r}"
    seconds = times.seconds
    low, high = seconds.min(), seconds.max()
    if not isinstance(low, int) or not isinstance(high, int):
        return []
    if times.written.kind == "order":
        return [
            f"{place}: whole numbers from {low:,} to {high:,} are read as an order; dates and ages "
            "cannot be derived from them."
        ]
    notes = []
    if times.written.format is not None and not declared:
        first, last = pl.from_epoch(pl.Series([low, high]), time_unit="s").dt.date().to_list()
        notes.append(
            f"{place}: read as {times.written.format}, from {first} to {last} "
            "(data.time_format declares it)."
        )
    early = int((seconds < EARLIEST_PLAUSIBLE).sum())
    if early:
        all_early = early == seconds.count() and times.written.kind == "unix" and not declared
        fix = " Set data.time_format or data.time_unit if they mean other times." * all_early
        notes.append(f"{place}: {early:,} of {len(seconds):,} times are before 1990.{fix}")
    late = int((seconds > time.time() + MAX_CLOCK_OFFSET).sum())
    if late:
        notes.append(
            f"{place}: {late:,} of {len(seconds):,} times are in the future; a split by time tests "
            "on them."
        )
    return notes
