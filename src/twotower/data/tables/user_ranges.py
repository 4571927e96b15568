"""The rows of a table that is larger than memory, some users at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.arrays.workspace import BLOCK, Workspace, blocks_of
from twotower.data.columns import USER_ID

SAMPLE: Final = 1_000_000
"""Rows whose users show where to cut."""


def user_ranges(frame: pl.DataFrame, work: Workspace) -> Iterator[pl.DataFrame]:
    """All rows, some users at a time, by their ids; about a block of rows at once, where no user
    has more. The rows of a user stay together and in their order.

    Two passes over the frame: each block of it is cut by ranges of users, then each range is put
    together from all blocks.
    """
    cuts = cuts_between_users(frame, -(-len(frame) // BLOCK))
    ranges: list[list[pl.DataFrame]] = [[] for _ in range(len(cuts) + 1)]
    for block in blocks_of(frame):
        number = range_of(block[USER_ID], cuts)
        ends = np.cumsum(np.bincount(number, minlength=len(ranges)))
        by_range = work.kept([block[np.argsort(number, kind="stable")]])
        for place, end in enumerate(ends):
            start = ends[place - 1] if place else 0
            ranges[place].append(by_range.slice(start, end - start))
    # The last use of what was cut: each range is forgotten before the next one.
    for place in range(len(ranges)):
        parts, ranges[place] = ranges[place], []
        if sum(map(len, parts)):
            yield pl.concat(parts)


def cuts_between_users(frame: pl.DataFrame, number: int) -> pl.Series:
    """Ids that cut the users into `number` ranges of about as many rows: a range starts at each of
    them."""
    every = max(1, len(frame) // SAMPLE)
    sample = frame[USER_ID].gather_every(every).sort()
    places = np.arange(1, number) * len(sample) // number
    return sample.gather(places).unique().sort()


def range_of(users: pl.Series, cuts: pl.Series) -> NDArray[np.uint16]:
    """The range (T,) that each user is in."""
    if users.dtype == pl.Int64:
        places = np.searchsorted(cuts.to_numpy(), users.to_numpy(), side="right")
    else:
        places = cuts.search_sorted(users, side="right").to_numpy()
    return places.astype(np.uint16)
