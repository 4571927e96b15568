"""Which rows of the interactions are learned from."""

from __future__ import annotations

import math

import polars as pl

from twotower.config import PositiveConfig
from twotower.data.columns import EVENT_TYPE, ITEM_ID, TIMESTAMP, USER_ID, WEIGHT
from twotower.errors import DataError, explain, unknown


def positives(
    frame: pl.DataFrame,
    config: PositiveConfig,
    source: str,
    notes: list[str],
    *,
    all_types: bool = False,
) -> pl.DataFrame:
    """The rows that count as liking."""
    kept = frame
    if config.event_types is not None:
        kept = of_types(kept, config.event_types, source, all_types=all_types)
    if config.min_weight is not None:
        kept = of_weight(kept, config.min_weight, source)
    if len(kept) < len(frame):
        notes.append(
            f"{source}: {len(frame) - len(kept):,} of {len(frame):,} rows are not positive and "
            "were left out."
        )
    return kept


def of_weight(frame: pl.DataFrame, min_weight: float, source: str) -> pl.DataFrame:
    """The rows of at least some weight."""
    if WEIGHT not in frame.columns:
        raise DataError(
            explain(
                "data.positive.min_weight needs a weight, and there is no such column",
                file=source,
                fix="set data.columns.weight to the column of ratings",
            )
        )
    kept = frame.filter(pl.col(WEIGHT) >= pl.lit(min_weight, pl.Float32))
    if not len(kept):
        largest = float(frame[WEIGHT].to_numpy().max(initial=-math.inf))
        raise DataError(
            explain(
                f"no row reaches data.positive.min_weight = {min_weight:g}; the largest weight is "
                f"{largest:g}",
                file=source,
                fix="lower data.positive.min_weight",
            )
        )
    return kept


def of_types(
    frame: pl.DataFrame, types: tuple[str, ...], source: str, *, all_types: bool
) -> pl.DataFrame:
    """The rows of some event types."""
    if EVENT_TYPE not in frame.columns:
        raise DataError(
            explain(
                "data.positive.event_types needs event types, and there is no such column",
                file=source,
                fix="set data.columns.event_type to their column",
            )
        )
    there = frame[EVENT_TYPE].unique().drop_nulls().sort().to_list()
    unknown_types = [name for name in types if name not in there]
    if unknown_types and (all_types or len(unknown_types) == len(types)):
        problem = f"no row has the event type {unknown_types[0]!r}"
        raise DataError(
            explain(
                unknown(problem, unknown_types[0], there),
                file=source,
                column=EVENT_TYPE,
                fix="correct data.positive.event_types",
            )
        )
    return frame.filter(pl.col(EVENT_TYPE).is_in(list(types)))


def without_duplicates(frame: pl.DataFrame, source: str, notes: list[str]) -> pl.DataFrame:
    """One row a user, item and time (or a user and item, where there are no times)."""
    keys = [name for name in (USER_ID, ITEM_ID, TIMESTAMP) if name in frame.columns]
    kept = frame.unique(subset=keys, keep="first", maintain_order=True)
    if len(kept) < len(frame):
        notes.append(
            f"{source}: {len(frame) - len(kept):,} rows repeat {', '.join(keys)} of another "
            "and were left out."
        )
    return kept
