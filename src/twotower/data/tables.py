"""The tables of a config, read, mapped to our column names and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from twotower.config import ColumnsConfig, DataConfig, PositiveConfig
from twotower.data.columns import EVENT_TYPE, ITEM_ID, TIMESTAMP, USER_ID, WEIGHT
from twotower.data.readers import read_table
from twotower.data.times import to_seconds
from twotower.errors import DataError, explain, nearest


@dataclass(frozen=True)
class Tables:
    """Checked tables under our column names.

    Attributes:
        interactions: positive rows: `user_id`, `item_id` (Int64 or String, no nulls), and where
            the data has them `timestamp` (Int64 seconds UTC, no nulls), `weight` (Float32),
            `event_type` (String), and context columns under their own names.
        users: `user_id` (unique) and the file's other columns under their own names, or None.
        items: `item_id` (unique) and the other columns, or None.
        test, validation: as `interactions`, from the files of a `given` split, or None.
        notes: what was counted and left out or allowed, one sentence each.
    """

    interactions: pl.DataFrame
    users: pl.DataFrame | None = None
    items: pl.DataFrame | None = None
    test: pl.DataFrame | None = None
    validation: pl.DataFrame | None = None
    notes: tuple[str, ...] = field(default=())


def read_tables(config: DataConfig, *, context: tuple[str, ...] = ()) -> Tables:
    """Read all tables of a config.

    Args:
        config: the `[data]` section, its paths absolute.
        context: columns of the interactions that context features read.

    Raises:
        DataError: names file, row, column, value and fix.
    """
    notes: list[str] = []
    interactions = read_interactions(config.interactions, config, context=context, notes=notes)
    parts = {
        name: read_interactions(source, config, context=context, notes=notes)
        for name, source in (("test", config.split.test), ("validation", config.split.validation))
        if source is not None
    }
    users = read_entities(config.users, USER_ID, config, notes) if config.users else None
    items = read_entities(config.items, ITEM_ID, config, notes) if config.items else None
    frames = {"interactions": interactions, **parts}
    frames |= {} if users is None else {"users": users}
    frames |= {} if items is None else {"items": items}
    frames = agree(agree(frames, USER_ID), ITEM_ID)
    for name, key in (("users", USER_ID), ("items", ITEM_ID)):
        if name in frames:
            notes += lacking(frames["interactions"], frames[name], key)
    return Tables(
        frames["interactions"],
        frames.get("users"),
        frames.get("items"),
        frames.get("test"),
        frames.get("validation"),
        tuple(notes),
    )


# --- interactions -------------------------------------------------------------------------------


def read_interactions(
    source: str,
    config: DataConfig,
    *,
    context: tuple[str, ...] = (),
    notes: list[str] | None = None,
) -> pl.DataFrame:
    """The positive rows of a table of interactions, under our names.

    Raises:
        DataError: names file, row, column, value and fix.
    """
    notes = [] if notes is None else notes
    columns = config.columns
    theirs = {
        USER_ID: columns.user_id,
        ITEM_ID: columns.item_id,
        TIMESTAMP: columns.timestamp,
        WEIGHT: columns.weight,
        EVENT_TYPE: columns.event_type,
    }
    frame = read_table(
        source,
        separator=config.separator,
        columns=lambda names: wanted_columns(source, names, theirs, context),
    )
    frame = rename(frame, theirs)
    frame = frame.with_columns(
        ids(frame[USER_ID], source, columns.user_id), ids(frame[ITEM_ID], source, columns.item_id)
    )
    if TIMESTAMP in frame.columns:
        frame = frame.with_columns(times(frame[TIMESTAMP], source, columns))
    if WEIGHT in frame.columns:
        frame = frame.with_columns(weights(frame[WEIGHT], source, columns))
    frame = positives(frame, config.positive, source, notes)
    return without_duplicates(frame, source, notes)


def wanted_columns(
    source: str, names: list[str], theirs: dict[str, str | None], context: Sequence[str]
) -> list[str]:
    """The columns to read: those mapped, those that have our names, those of context features."""
    claimed: dict[str, str] = {}
    for ours, name in theirs.items():
        if name is None:
            continue
        if name in claimed:
            raise DataError(
                explain(
                    f"stands for both {claimed[name]} and {ours}",
                    file=source,
                    column=name,
                    fix="map each of our columns to a column of its own in [data.columns]",
                )
            )
        claimed[name] = ours
        if name not in names:
            raise DataError(missing_column(source, names, name, ours))
        if name != ours and ours in names and ours not in theirs.values():
            raise DataError(
                explain(
                    f"has both a column {ours!r} and the column {name!r} that [data.columns] "
                    f"maps to it",
                    file=source,
                    fix=f"rename or remove one, or drop {ours} from [data.columns]",
                )
            )
    for name in context:
        if name not in names:
            raise DataError(
                explain(
                    f"no such column{nearest(name, names)}; it has {', '.join(names)}",
                    file=source,
                    column=name,
                    fix="correct the column of the context feature",
                )
            )
    ours_there = [
        ours
        for ours, name in theirs.items()
        if name is None and ours in names and ours not in claimed
    ]
    return list(dict.fromkeys([*claimed, *ours_there, *context]))


def missing_column(source: str, names: list[str], name: str, ours: str) -> str:
    """The words on a column that is not there."""
    return explain(
        f"no such column{nearest(name, names)}; it has {', '.join(names)}",
        file=source,
        column=name,
        fix=f"set data.columns.{ours} to the name that this file uses",
    )


def rename(frame: pl.DataFrame, theirs: dict[str, str | None]) -> pl.DataFrame:
    """Their names to ours; a column that is a context feature, too, is kept under both."""
    mapping = {name: ours for ours, name in theirs.items() if name is not None}
    return frame.with_columns(
        pl.col(name).alias(ours) for name, ours in mapping.items() if name != ours
    ).drop(name for name, ours in mapping.items() if name != ours)


def ids(column: pl.Series, source: str, name: str) -> pl.Series:
    """Ids as integers or text.

    Raises:
        DataError: nulls, or numbers that are not whole.
    """
    if column.dtype == pl.String:
        column = column.set(column.str.strip_chars() == "", None)
    nulls = column.is_null()
    if nulls.any():
        rows = [str(row + 1) for row in nulls.arg_true().head(3)]
        raise DataError(
            explain(
                f"{int(nulls.sum()):,} rows have no id, the first: row {', row '.join(rows)}",
                file=source,
                column=name,
                fix="remove these rows, or fill in their ids",
            )
        )
    if column.dtype.is_integer():
        return column.cast(pl.Int64)
    if column.dtype.is_float():
        broken = (~column.is_finite()) | (column != column.floor())
        if broken.any():
            row = int(broken.arg_true()[0])
            raise DataError(
                explain(
                    "an id must be text or a whole number",
                    file=source,
                    row=row + 1,
                    column=name,
                    value=column[row],
                )
            )
        return column.cast(pl.Int64)
    if isinstance(column.dtype, pl.List | pl.Struct | pl.Array):
        raise DataError(
            explain(
                f"an id must be text or a whole number, and this column holds {column.dtype}",
                file=source,
                column=name,
            )
        )
    return column.cast(pl.String)


def times(column: pl.Series, source: str, columns: ColumnsConfig) -> pl.Series:
    """Seconds since 1970; every row must have a time."""
    name = columns.timestamp or TIMESTAMP
    seconds = to_seconds(column.alias(name), file=source)
    nulls = seconds.is_null()
    if nulls.any():
        raise DataError(
            explain(
                f"{int(nulls.sum()):,} rows have no time, the first: row "
                f"{int(nulls.arg_true()[0]) + 1}",
                file=source,
                column=name,
                fix="remove these rows, or rename the column so that no times are used",
            )
        )
    return seconds.alias(TIMESTAMP)


def weights(column: pl.Series, source: str, columns: ColumnsConfig) -> pl.Series:
    """Float32; every weight a finite number."""
    numbers = column.cast(pl.Float64, strict=False)
    wrong = numbers.is_null() | ~numbers.is_finite()
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise DataError(
            explain(
                "a weight must be a finite number",
                file=source,
                row=row + 1,
                column=columns.weight or WEIGHT,
                value=column[row],
            )
        )
    return numbers.cast(pl.Float32).alias(WEIGHT)


def positives(
    frame: pl.DataFrame, config: PositiveConfig, source: str, notes: list[str]
) -> pl.DataFrame:
    """The rows that count as liking."""
    kept = frame
    if config.min_weight is not None:
        if WEIGHT not in frame.columns:
            raise DataError(
                explain(
                    "data.positive.min_weight needs a weight, and there is no such column",
                    file=source,
                    fix="set data.columns.weight to the column of ratings",
                )
            )
        kept = kept.filter(pl.col(WEIGHT) >= config.min_weight)
        if not len(kept):
            raise DataError(
                explain(
                    f"no row reaches data.positive.min_weight = {config.min_weight}; the "
                    f"largest weight is {frame[WEIGHT].max()!s}",
                    file=source,
                    fix="lower data.positive.min_weight",
                )
            )
    if config.event_types is not None:
        kept = of_types(kept, config.event_types, source)
    if len(kept) < len(frame):
        notes.append(
            f"{source}: {len(frame) - len(kept):,} of {len(frame):,} rows are not positive and "
            "were left out."
        )
    return kept


def of_types(frame: pl.DataFrame, types: tuple[str, ...], source: str) -> pl.DataFrame:
    """The rows of some event types."""
    if EVENT_TYPE not in frame.columns:
        raise DataError(
            explain(
                "data.positive.event_types needs event types, and there is no such column",
                file=source,
                fix="set data.columns.event_type to their column",
            )
        )
    there = frame[EVENT_TYPE].cast(pl.String).unique().drop_nulls().sort().to_list()
    for name in types:
        if name not in there:
            raise DataError(
                explain(
                    f"no row has this event type{nearest(name, there)}; there are "
                    f"{', '.join(there[:10])}",
                    file=source,
                    column=EVENT_TYPE,
                    value=name,
                )
            )
    return frame.filter(pl.col(EVENT_TYPE).cast(pl.String).is_in(list(types)))


def without_duplicates(frame: pl.DataFrame, source: str, notes: list[str]) -> pl.DataFrame:
    """One row a user, item and time (or a user and item, where there are no times)."""
    keys = [name for name in (USER_ID, ITEM_ID, TIMESTAMP) if name in frame.columns]
    kept = frame.unique(subset=keys, keep="first", maintain_order=True)
    if len(kept) < len(frame):
        notes.append(
            f"{source}: {len(frame) - len(kept):,} rows repeat {', '.join(keys)} of another and "
            "were left out."
        )
    return kept


# --- users and items ----------------------------------------------------------------------------


def read_entities(source: str, key: str, config: DataConfig, notes: list[str]) -> pl.DataFrame:
    """A users or items file: ids unique, other columns as they are."""
    name = getattr(config.columns, key)
    frame = read_table(source, separator=config.separator)
    if name not in frame.columns and key in frame.columns:
        name = key  # [data.columns] may name the interactions' column alone
    if name not in frame.columns:
        raise DataError(missing_column(source, frame.columns, name, key))
    if name != key and key in frame.columns:
        frame = frame.drop(key)
    frame = frame.rename({name: key}).with_columns(ids(frame[name], source, name).alias(key))
    distinct = frame.unique(maintain_order=True)
    if len(distinct) < len(frame):
        notes.append(
            f"{source}: {len(frame) - len(distinct):,} rows repeat another to the letter "
            "and were left out."
        )
    refuse_doubles(frame, distinct, key, source, name)
    return distinct


def refuse_doubles(
    frame: pl.DataFrame, distinct: pl.DataFrame, key: str, source: str, name: str
) -> None:
    """Two rows that say different things of one id."""
    doubles = distinct.filter(pl.col(key).is_duplicated())
    if not len(doubles):
        return
    value = doubles[key][0]
    rows = (frame[key] == value).arg_true().to_list()
    raise DataError(
        explain(
            f"{doubles[key].n_unique():,} ids have rows that differ; the first stands in rows "
            f"{rows[0] + 1} and {rows[1] + 1}",
            file=source,
            column=name,
            value=value,
            fix="keep one row an id",
        )
    )


# --- what the tables have to agree on -----------------------------------------------------------


def agree(frames: dict[str, pl.DataFrame], key: str) -> dict[str, pl.DataFrame]:
    """The same type of id in all tables: integers if each of them can be one, else text."""
    of_key = {USER_ID: "users", ITEM_ID: "items"}
    there = {
        name: frame
        for name, frame in frames.items()
        if name == of_key[key] or name not in of_key.values()
    }
    types = {frame[key].dtype for frame in there.values()}
    if len(types) <= 1:
        return frames
    whole = all(is_whole(frame[key]) for frame in there.values())
    dtype = pl.Int64 if whole else pl.String
    return {
        name: frame.with_columns(pl.col(key).cast(dtype)) if name in there else frame
        for name, frame in frames.items()
    }


def is_whole(column: pl.Series) -> bool:
    """Whether every id is an integer, or text that spells one as an integer is written."""
    if column.dtype.is_integer():
        return True
    numbers = column.cast(pl.Int64, strict=False)
    return bool((numbers.is_not_null() & (numbers.cast(pl.String) == column)).all())


def lacking(interactions: pl.DataFrame, table: pl.DataFrame, key: str) -> list[str]:
    """A note on ids of the interactions that the table has no row for."""
    known = interactions[key].unique()
    missing = int(np.count_nonzero(~known.is_in(table[key].implode()).to_numpy()))
    if not missing:
        return []
    kind = "users" if key == USER_ID else "items"
    return [
        f"{missing:,} of {len(known):,} {kind} of the interactions are not in the {kind} file: "
        "their features are missing values."
    ]
