"""Which rows of the interactions are positives, and which are dislikes. See
docs/decisions/0017-rows.md."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.config import DataConfig, PositiveConfig, TableName
from twotower.data.arrays.workspace import Workspace, distinct
from twotower.data.columns import EVENT_TYPE, ITEM_ID, TIMESTAMP, TIMESTAMP_NS, USER_ID, WEIGHT
from twotower.data.tables.row_order import distinct_rows, keeps_file_order, note_on_repeats
from twotower.data.tables.user_ranges import user_ranges
from twotower.errors import DataError, explain, shorten, unknown

LARGE_WEIGHT: Final = 10.0
"""Ratings and weights of event types are hardly above; play counts and quantities are."""


class LearnedRows(NamedTuple):
    """The rows of a table in the canonical order.

    Attributes:
        positives: with all columns.
        dislikes: user, item and time of the rows that are not positives because of their weight;
            None where the config drops them.
    """

    positives: pl.DataFrame
    dislikes: pl.DataFrame | None


def learned_rows(
    frame: pl.DataFrame,
    config: DataConfig,
    source: str,
    notes: list[str],
    *,
    table: TableName = "interactions",
    work: Workspace | None = None,
) -> LearnedRows:
    """Positives and dislikes: rows of other event types are dropped, event types get their weights,
    repeated rows are merged, and the resulting weight decides.

    Args:
        frame: all rows of the table, under our names.
        config: the `[data]` section.
        source: where they are from, for notes and errors.
        notes: a sentence for each kind of dropped rows is appended.
        table: in a test part some event types of the config may not occur.
        work: a frame that is larger than memory is worked on there, some users at a time.

    Raises:
        DataError: an event type of the config does not occur, or no row is a positive.
    """
    notes += checked_types(frame, config.positive, source, table)
    if work is None or not work.is_large(len(frame)):
        found, counts = chosen_rows(frame, config)
    else:
        refuse_file_order(frame, config, source)
        positives = work.sink(table)
        dislikes = work.sink("dislikes" if table == "interactions" else None)
        counts = RowCounts()
        for some in user_ranges(frame, work):
            part, more = chosen_rows(some, config)
            counts = counts.add(more)
            positives.add(part.positives)
            if part.dislikes is not None:
                dislikes.add(part.dislikes)
        is_kept = config.positive.dislikes == "negatives"
        found = LearnedRows(positives.frame(), dislikes.frame() if is_kept else None)
    notes += notes_on_counts(counts, found.positives.columns, config, source)
    if counts.large and table == "interactions":
        notes.append(note_on_large_weights(counts, source))
    if WEIGHT in found.positives.columns and not len(found.positives):
        raise DataError(no_positives(counts, config, source))
    return found


class RowCounts(NamedTuple):
    """Of the rows of a table, or of some users.

    Attributes:
        rows: all.
        typed: those of the event types of the config.
        distinct: those that are left of these, each once.
        disliked: those of these with a weight of 0 or below.
        below: those of these with a weight above 0, but too low for a positive.
        large: positives with a weight above `LARGE_WEIGHT`.
        largest: of all weights; 0 without one above it.
    """

    rows: int = 0
    typed: int = 0
    distinct: int = 0
    disliked: int = 0
    below: int = 0
    large: int = 0
    largest: float = 0.0

    def add(self, other: RowCounts) -> RowCounts:
        """Of both together."""
        return RowCounts(
            self.rows + other.rows,
            self.typed + other.typed,
            self.distinct + other.distinct,
            self.disliked + other.disliked,
            self.below + other.below,
            self.large + other.large,
            max(self.largest, other.largest),
        )


def chosen_rows(frame: pl.DataFrame, config: DataConfig) -> tuple[LearnedRows, RowCounts]:
    """The positives and dislikes among all rows of some users, and how many rows there were."""
    positive = config.positive
    rows = len(frame)
    frame = of_types(with_event_weights(frame, positive), positive)
    typed = len(frame)
    frame = distinct_rows(with_dislikes(frame, positive), config)
    counts = RowCounts(rows, typed, len(frame))
    is_kept = positive.dislikes == "negatives"
    if WEIGHT not in frame.columns:
        return LearnedRows(frame, frame.clear() if is_kept else None), counts
    least = pl.lit(positive.min_weight or 0.0, pl.Float32)
    liked = (pl.col(WEIGHT) > 0) & (pl.col(WEIGHT) >= least)
    rest = frame.filter(~liked)
    disliked = int((rest[WEIGHT] <= 0).sum())
    large = int((frame[WEIGHT] > LARGE_WEIGHT).sum())
    largest = float(frame[WEIGHT].to_numpy().max(initial=0))
    counts = RowCounts(rows, typed, len(frame), disliked, len(rest) - disliked, large, largest)
    names = [n for n in (USER_ID, ITEM_ID, TIMESTAMP, TIMESTAMP_NS) if n in frame.columns]
    return LearnedRows(frame.filter(liked), rest[names] if is_kept else None), counts


def refuse_file_order(frame: pl.DataFrame, config: DataConfig, source: str) -> None:
    """Refuse a table that is larger than memory where its order stands for times.

    Raises:
        DataError: names the source.
    """
    if keeps_file_order(frame, config):
        raise DataError(
            explain(
                f"{len(frame):,} rows without times are more than data.max_rows_in_memory, and "
                "last_out needs the order of their file, which is lost beyond that",
                file=source,
                fix="set [data.split] method = 'random', or raise data.max_rows_in_memory",
            )
        )


def is_positive(event_type: str | None, weight: float | None, config: PositiveConfig) -> bool:
    """Whether a single event is a positive, as a row of the interactions would be."""
    if event_type in config.negative_event_types:
        return False
    if config.event_types is not None and event_type not in config.event_types:
        return False
    if config.event_weights:
        weight = config.event_weights.get(event_type or "", 1.0)
    if weight is None:
        return config.min_weight is None
    return weight > 0 and weight >= (config.min_weight or 0)


# --- event types --------------------------------------------------------------------------------


def checked_types(
    frame: pl.DataFrame, config: PositiveConfig, source: str, table: TableName
) -> list[str]:
    """Notes on event types whose weight is not declared, and on weights that are not used.

    Raises:
        DataError: a type of the config does not occur.
    """
    weights = config.event_weights
    if not weights and config.event_types is None:
        return []
    there, notes = type_names(frame), []
    if weights:
        refuse_unknown_types(tuple(weights), there, "event_weights", source, table)
        kept = there if config.event_types is None else list(config.event_types)
        named = {*weights, *config.negative_event_types}
        others = [name for name in there if name in kept and name not in named]
        if others:
            listed = ", ".join(map(shorten, others[:5])) + (", ..." if len(others) > 5 else "")
            notes.append(
                f"{source}: rows of the event types {listed} have the weight 1, as "
                "data.positive.event_weights does not list them."
            )
        if WEIGHT in frame.columns:
            notes.append(
                f"{source}: the weight column is not used, because data.positive.event_weights "
                "replaces it."
            )
    if config.event_types is not None:
        refuse_unknown_types(config.event_types, there, "event_types", source, table)
    return notes


def with_event_weights(frame: pl.DataFrame, config: PositiveConfig) -> pl.DataFrame:
    """The rows with the weights of their event types, where the config has some; a row of another
    type has the weight 1."""
    weights = config.event_weights
    if not weights:
        return frame
    weight = pl.col(EVENT_TYPE).replace_strict(weights, default=1.0, return_dtype=pl.Float32)
    return frame.with_columns(weight.alias(WEIGHT))


def of_types(frame: pl.DataFrame, config: PositiveConfig) -> pl.DataFrame:
    """The rows of `data.positive.event_types`, where the config has it."""
    if config.event_types is None:
        return frame
    wanted = [*config.event_types, *config.negative_event_types]
    return frame.filter(pl.col(EVENT_TYPE).is_in(wanted))


def with_dislikes(frame: pl.DataFrame, config: PositiveConfig) -> pl.DataFrame:
    """The rows with a weight of 0 where their event type is a dislike."""
    if not config.negative_event_types or EVENT_TYPE not in frame.columns:
        return frame
    disliked = pl.col(EVENT_TYPE).is_in(list(config.negative_event_types)).fill_null(False)
    weight = pl.col(WEIGHT) if WEIGHT in frame.columns else pl.lit(1.0)
    lowered = pl.when(disliked).then(pl.lit(0.0)).otherwise(weight)
    return frame.with_columns(lowered.cast(pl.Float32).alias(WEIGHT))


def type_names(frame: pl.DataFrame) -> list[str]:
    """The event types of a table, sorted."""
    names: list[str] = distinct(frame[EVENT_TYPE]).to_list()
    return names


def refuse_unknown_types(
    types: tuple[str, ...], there: list[str], key: str, source: str, table: TableName
) -> None:
    """Event types of the config that do not occur: any in the training table, all in a part."""
    absent = [name for name in types if name not in there]
    if absent and (table == "interactions" or (key == "event_types" and len(absent) == len(types))):
        problem = f"no row has the event type {absent[0]!r}"
        raise DataError(
            explain(
                unknown(problem, absent[0], there),
                file=source,
                column=EVENT_TYPE,
                fix=f"correct data.positive.{key}",
            )
        )


# --- weights ------------------------------------------------------------------------------------


def notes_on_counts(
    counts: RowCounts, columns: list[str], config: DataConfig, source: str
) -> list[str]:
    """Notes on rows of other event types, on repeated rows, and on those that are not positives;
    `columns` are those of the positives."""
    notes = []
    if counts.typed < counts.rows:
        notes.append(
            f"{source}: {counts.rows - counts.typed:,} of {counts.rows:,} rows have an event type "
            "that is not in data.positive.event_types and were dropped."
        )
    if counts.distinct < counts.typed:
        notes.append(note_on_repeats(counts.typed, counts.distinct, columns, config, source))
    after = "and were dropped (data.positive.dislikes)"
    if config.positive.dislikes == "negatives":
        after = 'but negatives for the ranker (data.positive.dislikes = "negatives")'
    if counts.disliked:
        notes.append(
            f"{source}: {counts.disliked:,} of {counts.distinct:,} rows have a weight of 0 or "
            f"below: they are dislikes, not positives, {after}."
        )
    if counts.below:
        notes.append(
            f"{source}: {counts.below:,} of {counts.distinct:,} rows are below "
            f"data.positive.min_weight = {config.positive.min_weight:g}: they are not positives, "
            f"{after}."
        )
    return notes


def note_on_large_weights(counts: RowCounts, source: str) -> str:
    """What rows with a weight above `LARGE_WEIGHT` count for."""
    limit, largest = f"{LARGE_WEIGHT:g}", np.float32(counts.largest)
    return (
        f"{source}: {counts.large:,} of {counts.distinct:,} rows have a weight above {limit}, "
        f"{largest:,.7g} at most. Training counts a weight w above {limit} as "
        f"{limit} (1 + ln(w / {limit})), {largest:,.7g} as {float(damped(largest)):,.3g}, so that "
        "a few rows do not outvote all others. To learn from weights as they are, divide them all "
        f"so that the largest is {limit}."
    )


def damped(weights: NDArray[np.float32] | np.float32) -> NDArray[np.float32]:
    """Weights up to `LARGE_WEIGHT` c as they are, larger ones w as c (1 + ln(w / c)): a few rows of
    many thousand plays would outvote all others."""
    times = np.maximum(weights / np.float32(LARGE_WEIGHT), 1)
    return np.where(times > 1, LARGE_WEIGHT * (1 + np.log(times)), weights).astype(np.float32)


def no_positives(counts: RowCounts, config: DataConfig, source: str) -> str:
    """The error text for a table without positives."""
    positive, columns = config.positive, config.columns
    if positive.min_weight is not None and counts.largest > 0:
        return explain(
            f"no row reaches data.positive.min_weight = {positive.min_weight:g}; the largest "
            f"weight is {counts.largest:g}",
            file=source,
            fix="lower data.positive.min_weight",
        )
    column, fix = columns.weight or WEIGHT, "set data.columns.weight to another column"
    if positive.event_weights:
        column = columns.event_type or EVENT_TYPE
        fix = "give a type a weight above 0 in data.positive.event_weights"
    elif columns.weight is None:
        fix += ", or rename the column so that no weights are used"
    else:
        fix += ", or remove it where every row is a positive"
    return explain(
        f"all {counts.distinct:,} rows have a weight of 0 or below: they are dislikes, so there "
        "are no positives to learn from",
        file=source,
        column=column,
        fix=fix,
    )
