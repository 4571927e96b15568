"""Which rows of the interactions are positives, and which are dislikes. See
docs/decisions/0017-rows.md."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from twotower.config import DataConfig, PositiveConfig, TableName
from twotower.data.columns import EVENT_TYPE, ITEM_ID, TIMESTAMP, TIMESTAMP_NS, USER_ID, WEIGHT
from twotower.data.tables.row_order import distinct_rows
from twotower.errors import DataError, explain, shorten, unknown


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
) -> LearnedRows:
    """Positives and dislikes: rows of other event types are dropped, event types get their weights,
    repeated rows are merged, and the resulting weight decides.

    Args:
        frame: all rows of the table, under our names.
        config: the `[data]` section.
        source: where they are from, for notes and errors.
        notes: a sentence for each kind of dropped rows is appended.
        table: in a test part some event types of the config may not occur.

    Raises:
        DataError: an event type of the config does not occur, or no row is a positive.
    """
    positive = config.positive
    frame = with_event_weights(frame, positive, source, notes, table)
    frame = with_dislikes(of_types(frame, positive, source, notes, table), positive)
    frame = distinct_rows(frame, config, source, notes)
    if WEIGHT not in frame.columns:
        return LearnedRows(frame, frame.clear() if positive.dislikes == "negatives" else None)
    least = pl.lit(positive.min_weight or 0.0, pl.Float32)
    liked = (pl.col(WEIGHT) > 0) & (pl.col(WEIGHT) >= least)
    positives = frame.filter(liked)
    if not len(positives):
        raise DataError(no_positives(frame[WEIGHT], config, source))
    rest = frame.filter(~liked)
    notes += notes_on(rest[WEIGHT], len(frame), positive, source)
    names = [n for n in (USER_ID, ITEM_ID, TIMESTAMP, TIMESTAMP_NS) if n in frame.columns]
    return LearnedRows(positives, rest[names] if positive.dislikes == "negatives" else None)


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


def with_event_weights(
    frame: pl.DataFrame,
    config: PositiveConfig,
    source: str,
    notes: list[str],
    table: TableName,
) -> pl.DataFrame:
    """The rows with the weights of their event types, where the config has some; a row of another
    type has the weight 1."""
    weights = config.event_weights
    if not weights:
        return frame
    there = type_names(frame)
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
    weight = pl.col(EVENT_TYPE).replace_strict(weights, default=1.0, return_dtype=pl.Float32)
    return frame.with_columns(weight.alias(WEIGHT))


def of_types(
    frame: pl.DataFrame,
    config: PositiveConfig,
    source: str,
    notes: list[str],
    table: TableName,
) -> pl.DataFrame:
    """The rows of `data.positive.event_types`, where the config has it."""
    if config.event_types is None:
        return frame
    refuse_unknown_types(config.event_types, type_names(frame), "event_types", source, table)
    wanted = [*config.event_types, *config.negative_event_types]
    kept = frame.filter(pl.col(EVENT_TYPE).is_in(wanted))
    if len(kept) < len(frame):
        notes.append(
            f"{source}: {len(frame) - len(kept):,} of {len(frame):,} rows have an event type that "
            "is not in data.positive.event_types and were dropped."
        )
    return kept


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
    return frame[EVENT_TYPE].unique().drop_nulls().sort().to_list()


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


def notes_on(rest: pl.Series, number: int, config: PositiveConfig, source: str) -> list[str]:
    """Notes on the rows that are not positives: those with weights `rest` of `number` rows."""
    disliked = int((rest <= 0).sum())
    after = "and were dropped (data.positive.dislikes)"
    if config.dislikes == "negatives":
        after = 'but negatives for the ranker (data.positive.dislikes = "negatives")'
    notes = []
    if disliked:
        notes.append(
            f"{source}: {disliked:,} of {number:,} rows have a weight of 0 or below: they are "
            f"dislikes, not positives, {after}."
        )
    if len(rest) > disliked:
        notes.append(
            f"{source}: {len(rest) - disliked:,} of {number:,} rows are below "
            f"data.positive.min_weight = {config.min_weight:g}: they are not positives, {after}."
        )
    return notes


def no_positives(weights: pl.Series, config: DataConfig, source: str) -> str:
    """The error text for a table without positives."""
    positive, columns = config.positive, config.columns
    largest = float(weights.to_numpy().max(initial=0))
    if positive.min_weight is not None and largest > 0:
        return explain(
            f"no row reaches data.positive.min_weight = {positive.min_weight:g}; the largest "
            f"weight is {largest:g}",
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
        f"all {len(weights):,} rows have a weight of 0 or below: they are dislikes, so there are "
        "no positives to learn from",
        file=source,
        column=column,
        fix=fix,
    )
