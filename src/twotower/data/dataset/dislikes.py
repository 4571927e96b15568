"""Dislikes that training may use: those that are older than the held-out rows."""

from __future__ import annotations

from typing import Final

import polars as pl

from twotower.data.columns import ITEM_ID, TIMESTAMP, TIMESTAMP_NS, USER_ID
from twotower.data.dataset.splits import Parts

FULL_TIME: Final = "full_time"


def training_dislikes(dislikes: pl.DataFrame, parts: Parts) -> pl.DataFrame:
    """The pairs of a user and an item that training may use as explicit negatives, each once.

    A pair of the training part is a positive only. Where the parts were cut by time, a dislike
    counts if it is older than every held-out row (`last_out`: than those of its user); where they
    were not, every dislike counts.

    Args:
        dislikes: `user_id`, `item_id` and, where there are any, times.
        parts: as they were cut.

    Returns:
        `user_id` and `item_id`, sorted.
    """
    pairs = [USER_ID, ITEM_ID]
    if TIMESTAMP in dislikes.columns and parts.method != "random":
        dislikes = older(dislikes, parts)
    trained = parts.train.select(pairs).unique()
    return dislikes.select(pairs).unique().join(trained, on=pairs, how="anti").sort(pairs)


def older(dislikes: pl.DataFrame, parts: Parts) -> pl.DataFrame:
    """The dislikes before the first held-out row, or before the first one of their user."""
    timed = [part for part in (parts.validation, parts.test) if TIMESTAMP in part.columns]
    if not sum(map(len, timed)):
        return dislikes
    held_out = pl.concat([with_full_time(part) for part in timed])
    rows, time = with_full_time(dislikes), pl.col(FULL_TIME)
    if parts.method != "last_out":
        return rows.filter(time < held_out[FULL_TIME].min())
    starts = held_out.group_by(USER_ID).agg(time.min().alias("start"))
    rows = rows.join(starts, on=USER_ID, how="left")
    return rows.filter(pl.col("start").is_null() | (time < pl.col("start")))


def with_full_time(rows: pl.DataFrame) -> pl.DataFrame:
    """User, item and nanoseconds since 1970 (Int128)."""
    rest = pl.col(TIMESTAMP_NS).fill_null(0) if TIMESTAMP_NS in rows.columns else pl.lit(0)
    full = pl.col(TIMESTAMP).cast(pl.Int128) * 1_000_000_000 + rest
    return rows.select(USER_ID, ITEM_ID, full.alias(FULL_TIME))
