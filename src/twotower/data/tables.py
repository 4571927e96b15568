"""The tables of a config, read, mapped to our column names and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from twotower.config import ColumnsConfig, DataConfig, PositiveConfig
from twotower.data.columns import EVENT_TYPE, ITEM_ID, TIMESTAMP, USER_ID, WEIGHT
from twotower.data.exclusions import without_users
from twotower.data.ids import agree, ids, lacking
from twotower.data.readers import read_table
from twotower.data.times import to_seconds
from twotower.data.vectors import read_vectors
from twotower.errors import DataError, explain, unknown, without_password


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


def read_tables(
    config: DataConfig,
    *,
    context: tuple[str, ...] = (),
    vectors: Mapping[str, Mapping[str, str]] | None = None,
) -> Tables:
    """Read all tables of a config.

    Args:
        config: the `[data]` section, its paths absolute.
        context: columns of the interactions that context features read.
        vectors: "users", "items" -> column -> .npy file whose rows are that table's.

    Raises:
        DataError: names file, row, column, value and fix.
    """
    notes: list[str] = []
    interactions = read_interactions(
        config.interactions, config, context=context, notes=notes, all_types=True
    )
    parts = {
        name: read_interactions(source, config, context=context, notes=notes)
        for name, source in (("test", config.split.test), ("validation", config.split.validation))
        if source is not None
    }
    vectors = vectors or {}
    users, items = (
        read_entities(source, key, config, notes, vectors.get(name)) if source else None
        for source, key, name in (
            (config.users, USER_ID, "users"),
            (config.items, ITEM_ID, "items"),
        )
    )
    frames = {"interactions": interactions, **parts}
    frames |= {} if users is None else {"users": users}
    frames |= {} if items is None else {"items": items}
    frames = without_users(frames, config, notes)
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
    all_types: bool = False,
) -> pl.DataFrame:
    """The positive rows of a table of interactions, under our names.

    Args:
        source: the file, the folder or the URI.
        config: the `[data]` section.
        context: columns that context features read.
        notes: gets a sentence for whatever is left out.
        all_types: whether each of `data.positive.event_types` must occur; a test part may lack
            some.

    Raises:
        DataError: names file, row, column, value and fix.
    """
    notes = [] if notes is None else notes
    shown = without_password(source)
    names: dict[str, str] = {}

    def pick(there: list[str]) -> list[str]:
        names.update(find_columns(shown, there, config.columns, context))
        return list(dict.fromkeys(names.values()))

    frame = read_table(source, separator=config.separator, columns=pick)
    frame = frame.select(pl.col(theirs).alias(ours) for ours, theirs in names.items())
    for ours, check in (
        (USER_ID, ids),
        (ITEM_ID, ids),
        (TIMESTAMP, times),
        (WEIGHT, weights),
        (EVENT_TYPE, event_types),
    ):
        if ours in names:
            column = frame[ours].alias(names[ours])
            frame = frame.with_columns(check(column, shown, names[ours]).alias(ours))
    frame = positives(frame, config.positive, shown, notes, all_types=all_types)
    return without_duplicates(frame, shown, notes)


def find_columns(
    source: str, there: list[str], columns: ColumnsConfig, context: Sequence[str]
) -> dict[str, str]:
    """The columns to read, ours -> theirs: those mapped, those that have our names, and those of
    context features (under their own names)."""
    mapped: dict[str, str | None] = columns.model_dump()
    refuse_double_claims(source, mapped)
    names = {}
    for ours, theirs in mapped.items():
        found = find_column(source, there, ours, theirs, mapped)
        if found is not None:
            names[ours] = found
    for name in context:
        if name not in there and name not in names:
            raise DataError(
                missing_column(source, there, name, "correct the column of the context feature")
            )
        names.setdefault(name, name)
    return names


def find_column(
    source: str, there: list[str], ours: str, theirs: str | None, mapped: dict[str, str | None]
) -> str | None:
    """The name that one of our columns has in a table; None where it is optional and not there."""
    free = ours in there and ours not in [name for name in mapped.values() if name != theirs]
    if theirs is None:
        return ours if free else None
    if theirs in there:
        if free and theirs != ours:
            raise DataError(
                explain(
                    f"has both {theirs!r}, which [data.columns] says is our {ours}, and a column "
                    f"{ours!r}",
                    file=source,
                    fix=f"remove {ours} from [data.columns], or rename one of the columns",
                )
            )
        return theirs
    if free and ours in (USER_ID, ITEM_ID):
        return ours  # [data.columns] may name another table's column
    fix = f"set data.columns.{ours} to the name that this table uses"
    raise DataError(missing_column(source, there, theirs, fix))


def refuse_double_claims(source: str, mapped: dict[str, str | None]) -> None:
    """Two of our columns that are mapped to one of theirs."""
    claimed: dict[str, str] = {}
    for ours, theirs in mapped.items():
        if theirs in claimed:
            raise DataError(
                explain(
                    f"[data.columns] says that it is both our {claimed[theirs]} and our {ours}",
                    file=source,
                    column=theirs,
                    fix="map each of our columns to a column of its own",
                )
            )
        if theirs is not None:
            claimed[theirs] = ours


def missing_column(source: str, there: list[str], name: str, fix: str) -> str:
    """The words on a column that is not there."""
    return explain(
        unknown("no such column", name, there),
        file=source,
        column=name,
        fix=fix,
    )


def times(column: pl.Series, source: str, name: str) -> pl.Series:
    """Seconds since 1970; every row must have a time."""
    seconds = to_seconds(column, file=source)
    refuse_gaps(seconds.is_null(), source, name, "time", "no times are used")
    return seconds


def weights(column: pl.Series, source: str, name: str) -> pl.Series:
    """Float32; every weight a finite number."""
    refuse_gaps(column.is_null(), source, name, "weight", "no weights are used")
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean)):
        problem = f"a weight must be a number, and this column holds {column.dtype}"
        raise DataError(explain(problem, file=source, column=name))
    numbers = column.cast(pl.Float64, strict=False).cast(pl.Float32)
    wrong = numbers.is_null() | ~numbers.is_finite()
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise DataError(
            explain(
                "a weight must be a finite number",
                file=source,
                row=row + 1,
                column=name,
                value=column[row],
                fix="correct the value, or remove the row",
            )
        )
    return numbers


def refuse_gaps(wrong: pl.Series, source: str, name: str, what: str, otherwise: str) -> None:
    """Rows without a value; the first is named."""
    if wrong.any():
        raise DataError(
            explain(
                f"{int(wrong.sum()):,} of {len(wrong):,} rows have no {what}",
                file=source,
                row=int(wrong.arg_true()[0]) + 1,
                column=name,
                fix=f"fill in or remove these rows, or rename the column so that {otherwise}",
            )
        )


def event_types(column: pl.Series, source: str, name: str) -> pl.Series:
    """Event types as text; rows may be without one."""
    if column.dtype in (pl.Object, pl.Binary) or column.dtype.is_nested():
        problem = f"an event type must be text, and this column holds {column.dtype}"
        raise DataError(explain(problem, file=source, column=name))
    return column.cast(pl.String)


# --- which rows are learned from ----------------------------------------------------------------


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


# --- users and items ----------------------------------------------------------------------------


def read_entities(
    source: str,
    key: str,
    config: DataConfig,
    notes: list[str],
    vectors: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """A users or items file: ids unique, other columns as they are.

    Args:
        source: the file, the folder or the URI.
        key: `user_id` or `item_id`.
        config: the `[data]` section.
        notes: gets a sentence for whatever is left out.
        vectors: column -> .npy file with a row for each row of the table.

    Raises:
        DataError: names file, row, column, value and fix.
    """
    frame = read_table(source, separator=config.separator)
    source = without_password(source)
    frame = with_vectors(frame, source, vectors or {})
    theirs = getattr(config.columns, key)
    name = find_column(source, frame.columns, key, theirs, {key: theirs})
    assert name is not None
    frame = frame.rename({name: key}).with_columns(ids(frame[name], source, name).alias(key))
    distinct = frame.unique(maintain_order=True)
    if len(distinct) < len(frame):
        notes.append(
            f"{source}: {len(frame) - len(distinct):,} rows repeat another to the letter and were "
            "left out."
        )
    refuse_doubles(frame, distinct, key, source, name)
    return distinct


def with_vectors(frame: pl.DataFrame, source: str, vectors: Mapping[str, str]) -> pl.DataFrame:
    """The table with columns that .npy files hold for its rows."""
    for name, path in vectors.items():
        if name in frame.columns:
            raise DataError(
                explain(
                    f"has this column, and {path} is to be read as it",
                    file=source,
                    column=name,
                    fix="give the feature another name, or remove its 'file'",
                )
            )
        column = read_vectors(path, rows=len(frame), table=source, name=name)
        frame = frame.with_columns(column)
    return frame


def refuse_doubles(
    frame: pl.DataFrame, distinct: pl.DataFrame, key: str, source: str, name: str
) -> None:
    """Two rows that say different things of one id."""
    doubles = distinct.filter(pl.col(key).is_duplicated())
    if not len(doubles):
        return
    value = doubles[key][0]
    first, *others = (frame[key] == value).arg_true().to_list()
    other = next(row for row in others if frame.row(row) != frame.row(first))
    number = doubles[key].n_unique()
    raise DataError(
        explain(
            f"{number:,} id{'s have' if number > 1 else ' has'} rows that differ; the first, "
            f"{value!r}, stands in rows {first + 1} and {other + 1}",
            file=source,
            column=name,
            fix="keep one row an id",
        )
    )
