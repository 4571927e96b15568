"""Which dislikes a ranker may learn from: those that are older than what is held out."""

from __future__ import annotations

import polars as pl

from twotower.data.columns import ITEM_ID, TIMESTAMP, TIMESTAMP_NS, USER_ID
from twotower.data.splits import Parts


def training_dislikes(dislikes: pl.DataFrame, parts: Parts) -> pl.DataFrame:
    """The pairs of a user and an item that training may use as explicit negatives, each once.

    A pair that is in the training part is a positive only. Where the parts were cut by time, a
    dislike counts if it is older than the first row that was cut off (`last_out`: than the first
    one of its user); where they were not, every dislike counts.

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
    """The dislikes before the first held-out row, of the same user with `last_out`."""
    held_out = [part for part in (parts.validation, parts.test) if TIMESTAMP in part.columns]
    if not sum(map(len, held_out)):
        return dislikes
    starts = (
        pl.concat([with_full_time(part) for part in held_out])
        .group_by(USER_ID if parts.method == "last_out" else pl.lit(0).alias("all"))
        .agg(pl.col(FULL_TIME).min().alias("start"))
    )
    rows = with_full_time(dislikes)
    if parts.method == "last_out":
        rows = rows.join(starts, on=USER_ID, how="left", maintain_order="left")
    else:
        rows = rows.with_columns(start=pl.lit(starts["start"].min(), pl.Int128))
    return rows.filter(pl.col("start").is_null() | (pl.col(FULL_TIME) < pl.col("start")))


FULL_TIME = "full_time"


def with_full_time(rows: pl.DataFrame) -> pl.DataFrame:
    """User, item and nanoseconds since 1970 (Int128)."""
    rest = pl.col(TIMESTAMP_NS) if TIMESTAMP_NS in rows.columns else pl.lit(0)
    full = pl.col(TIMESTAMP).cast(pl.Int128) * 1_000_000_000 + rest
    return rows.select(USER_ID, ITEM_ID, full.alias(FULL_TIME))
