"""The roles of the interaction columns, and the id columns of the other tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import polars as pl

from twotower.data.columns import EVENT_TYPE, ITEM_ID, TIMESTAMP, USER_ID, WEIGHT
from twotower.data.readers.unsupported_shapes import EXPECTED_SHAPE
from twotower.errors import ConfigError, explain, shorten
from twotower.workflow.setup.init.cell_types import as_numbers, as_text, is_flat
from twotower.workflow.setup.init.names import (
    ITEM_TITLES,
    RATING,
    candidates,
    has_word,
    is_key,
    plain,
    rank,
    words,
)
from twotower.workflow.setup.init.times import TimeColumn, clock_note, guess_order, guess_time
from twotower.workflow.setup.init.weights import holds_events, is_event, weight_columns

ENTITIES: Final[tuple[tuple[str, Literal["users", "items"]], ...]] = (
    (USER_ID, "users"),
    (ITEM_ID, "items"),
)
NO_USER: Final = ("na", "nan", "null", "none", "unknown", "-1", "0")
"""User ids that mean that there is no user."""
SAMPLED: Final = 20_000
"""Maximum number of ids of the log that are looked up in another table."""


@dataclass
class Roles:
    """The detected roles of columns.

    Attributes:
        columns: ours -> theirs, for the interactions.
        keys: "users", "items" -> the id column of that table.
        time: the timestamp column, even if it cannot be read.
        gaps: description of rows without a user or an item; None if there are none.
        notes: notes for the user, one sentence each.
    """

    columns: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    time: TimeColumn | None = None
    gaps: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Match:
    """A column of the log and one of another table, with the share of ids found in the table."""

    score: float
    name: str
    key: str
    share: float


def guess_roles(
    log: pl.DataFrame, tables: Mapping[str, pl.DataFrame], sources: Mapping[str, str]
) -> Roles:
    """Detect the roles of columns by their names and values.

    Args:
        log: the interactions.
        tables: "users", "items" -> the table, where there is one.
        sources: table -> its file, for errors.

    Raises:
        ConfigError: no column looks like users, or none like items, or a file has no ids.
    """
    roles = Roles()
    named = {ours: candidates(log.columns, ours) for ours in (USER_ID, ITEM_ID)}
    # The side with a table first: shared ids are the stronger evidence.
    for ours, table in sorted(ENTITIES, key=lambda entity: entity[1] not in tables):
        taken = set(roles.columns.values())
        own = [name for name in named[ours] if name not in taken]
        if ours == ITEM_ID and not own and table not in tables:
            own = stand_ins(log, taken)
        if table in tables:
            find_pair(log, tables[table], ours, table, own, roles, sources)
        elif own:
            roles.columns[ours] = own[0]
    for ours, _ in ENTITIES:
        if ours not in roles.columns:
            problem, fix = no_column(log, ours)
            raise ConfigError(explain(problem, file=sources["interactions"], fix=fix))
    roles.columns = {ours: roles.columns[ours] for ours, _ in ENTITIES}
    if "users" not in tables:
        prefer_session(log, roles)
    if {"session", "visit"} & {plain(roles.columns[USER_ID]).removesuffix("id")}:
        roles.notes.append(
            f"{roles.columns[USER_ID]} is used as the user id: each session counts as one user."
        )
    roles.gaps = find_gaps(log, roles)
    find_optional(with_ids(log, roles), roles)
    return roles


def find_gaps(log: pl.DataFrame, roles: Roles) -> str | None:
    """A description of rows without a user or an item; None if there are none."""
    found = []
    for ours, _ in ENTITIES:
        name = roles.columns[ours]
        missing = as_text(log[name]).null_count()
        if missing and is_flat(log[name]):
            found.append(f"{missing:,} of {len(log):,} rows have no {name}")
    return ", ".join(found) or None


def with_ids(log: pl.DataFrame, roles: Roles) -> pl.DataFrame:
    """The rows with a user and an item: the others are ignored."""
    ids = [roles.columns[ours] for ours, _ in ENTITIES if is_flat(log[roles.columns[ours]])]
    there = [as_text(log[name]).is_not_null() for name in ids]
    return log.filter(*there) if any(not one.all() for one in there) else log


def stand_ins(log: pl.DataFrame, taken: Collection[str]) -> list[str]:
    """Columns that can serve as item ids if none is named so: an `id` that is not a row id, or a
    title."""
    ids = [name for name in log.columns if plain(name) == "id" and name not in taken]
    ids = [name for name in ids if as_text(log[name]).n_unique() < 0.9 * len(log)]
    known = ITEM_TITLES.split()
    titles = [name for name in log.columns if plain(name) in known and name not in taken]
    return ids + sorted(titles, key=lambda name: known.index(plain(name)))


def prefer_session(log: pl.DataFrame, roles: Roles) -> None:
    """Use sessions as users if most rows have no user."""
    user = roles.columns[USER_ID]
    values = as_text(log[user])
    missing = values.is_null() | values.str.to_lowercase().is_in(NO_USER)
    share = float(missing.mean() or 0)  # type: ignore[arg-type]
    sessions = [n for n in log.columns if words(n) & {"session", "sessionid"} and n != user]
    if share > 0.5 and sessions:
        roles.columns[USER_ID] = sessions[0]
        roles.notes.append(
            f"{user} is missing in {share:.0%} of the rows: {sessions[0]} is used as the user id."
        )


def find_optional(log: pl.DataFrame, roles: Roles) -> None:
    """Detect event types, timestamps and weights."""
    taken = set(roles.columns.values())
    free = [name for name in log.columns if name not in taken]
    events = [name for name in candidates(free, EVENT_TYPE) if is_event(log[name])]
    events += [name for name in free if name not in events and holds_events(log[name])]
    if EVENT_TYPE in free:
        events.insert(0, EVENT_TYPE)
    event = events[0] if events else None
    used = {*taken, *([event] if event else [])}
    roles.time = guess_time(log, used) or guess_order(log, roles.columns[USER_ID], used)
    if roles.time is not None:
        roles.columns[TIMESTAMP] = roles.time.name
        taken.add(roles.time.name)
        clock = clock_note(log, roles.time)
        roles.notes += [] if clock is None else [clock]
        if roles.time.is_order:
            roles.notes.append(
                f"{roles.time.name} numbers the rows of each user: it is read as their order, and "
                "the last interactions of each user are held out."
            )
    weights = weight_columns(log.select(name for name in free if name not in {*taken, event}))
    if weights:
        roles.columns[WEIGHT] = weights[1 if weighs_other_things(log, roles, weights) else 0]
    if event is not None:
        roles.columns[EVENT_TYPE] = event


def weighs_other_things(log: pl.DataFrame, roles: Roles, weights: Sequence[str]) -> bool:
    """Whether a column `weight` next to ratings is a physical weight: text with a unit, or constant
    for each user or item."""
    if weights[0] != WEIGHT or len(weights) < 2 or not has_word(weights[1], RATING):
        return False
    column = log[WEIGHT]
    if as_numbers(column) is None:
        return True
    keys = [roles.columns[ours] for ours, _ in ENTITIES]
    values = [log.group_by(key).agg(pl.col(WEIGHT).n_unique())[WEIGHT] for key in keys]
    return column.n_unique() > 1 and any(bool((found == 1).all()) for found in values)


# --- ids in two files ---------------------------------------------------------------------------


def find_pair(
    log: pl.DataFrame,
    table: pl.DataFrame,
    ours: str,
    name: Literal["users", "items"],
    named: Sequence[str],
    roles: Roles,
    sources: Mapping[str, str],
) -> None:
    """Find the id column of a table and the column of the log with the same ids."""
    taken = set(roles.columns.values())
    other = candidates(log.columns, ITEM_ID if ours == USER_ID else USER_ID)[:1]
    free = [
        column
        for column in log.columns
        if column not in taken and is_flat(log[column]) and (column in named or column not in other)
    ]
    match = best_match(log, table, ours, named, free)
    repeated = repeated_key(table, ours, free)
    if repeated is not None and (match is None or match.name not in named):
        raise ConfigError(explain(*repeated, file=sources[name]))
    if match is None:
        problem = f"no column matches the ids in the interactions; it has {listed(table.columns)}"
        fix = f"give a file with one row per {name.removesuffix('s')}, or omit --{name}"
        raise ConfigError(explain(problem, file=sources[name], fix=fix))
    roles.columns[ours], roles.keys[name] = match.name, match.key
    if match.key not in (match.name, ours):
        roles.notes.append(
            f"Column {match.key!r} of the {name} file contains {match.share:.0%} of the ids in "
            f"{match.name!r}."
        )
    elif match.share < 0.5:
        roles.notes.append(
            f"Only {match.share:.0%} of the {name} in the interactions are in the {name} file."
        )


def best_match(
    log: pl.DataFrame, table: pl.DataFrame, ours: str, named: Sequence[str], free: Sequence[str]
) -> _Match | None:
    """The pair of columns with the largest overlap of ids; names break ties."""
    keys = {key: ids for key in table.columns if (ids := key_values(table[key])) is not None}
    values = {name: as_text(log[name]).drop_nulls().unique() for name in free}
    most = max((len(ids) for ids in values.values()), default=0) or 1
    matches = []
    for name, ids in values.items():
        if not len(ids) or (name not in named and len(ids) < 3):
            continue
        sample = ids.head(SAMPLED)
        for key, known in keys.items():
            share = float(sample.is_in(known.implode()).mean() or 0)  # type: ignore[arg-type]
            alike = key in (name, ours)
            if share < 0.5 and not (alike and name in named):
                continue
            score = share + 0.15 * len(ids) / most + 0.3 * alike
            score += 0.3 - 0.002 * named.index(name) if name in named else 0.0
            score += 0.2 * (rank(key, ours) is not None or plain(key) == "id")
            matches.append(_Match(score, name, key, share))
    return max(matches, key=lambda match: match.score, default=None)


def repeated_key(table: pl.DataFrame, ours: str, free: Sequence[str]) -> tuple[str] | None:
    """The problem of an id column with many repeated ids; None if there is none."""
    for name in candidates(table.columns, ours):
        values = as_text(table[name]).drop_nulls()
        if name in free and len(values) and key_values(table[name]) is None:
            row = ours.removesuffix("_id")
            return (
                f"column {name!r} has {values.n_unique():,} different ids in {len(table):,} rows; "
                f"there must be one row per {row}. Pass interactions with --interactions",
            )
    return None


def key_values(column: pl.Series) -> pl.Series | None:
    """The ids of a column that may be a key: few missing values and few duplicates."""
    if not is_flat(column) or column.dtype.is_temporal():
        return None
    text = as_text(column).drop_nulls()
    distinct = text.unique()
    return distinct if len(text) and len(distinct) > 0.9 * len(column) else None


# --- tables of another shape ----------------------------------------------------------------------


def no_column(log: pl.DataFrame, ours: str) -> tuple[str, str]:
    """The problem of a log without users or items, and its fix."""
    names = log.columns
    orders = [name for name in names if words(name) & {"order", "invoice", "basket", "transaction"}]
    orders = [name for name in orders if is_key(name) or len(words(name)) == 1]
    lists = len(names) == 1 and as_text(log[names[0]]).str.contains(r"^\S+([ ,;|]+\S+)+$").all()
    nested = next((column for column in log.get_columns() if holds_records(column)), None)
    if is_matrix(log):
        return matrix_problem(log), EXPECTED_SHAPE
    if lists:
        return "each line contains a list, such as a user and its items", EXPECTED_SHAPE
    if nested is not None:
        return (
            f"column {nested.name!r} contains lists of records: the interactions are nested",
            EXPECTED_SHAPE,
        )
    problem = f"no column looks like {ours}; it has {listed(names)}"
    if ours == ITEM_ID and orders:
        return (
            f"{problem}. It looks like a table of orders without order lines",
            f"join it with the table of order lines on {orders[0]!r}, so that each row is one "
            "product of one order",
        )
    if ours == USER_ID and orders:
        return (
            f"{problem}. It looks like a table of order lines without customers",
            f"join it with the table of orders on {orders[0]!r}, so that each row has a user, or "
            f"set user_id = {orders[0]!r}",
        )
    return problem, f"set {ours} = 'THE COLUMN' under [data.columns] of a twotower.toml of your own"


def holds_records(column: pl.Series) -> bool:
    """Whether cells are lists of records."""
    return isinstance(column.dtype, pl.List) and isinstance(column.dtype.inner, pl.Struct)


def matrix_problem(log: pl.DataFrame) -> str:
    """The problem of a table with one column per item."""
    return f"looks like a user-item matrix with {len(log.columns):,} columns"


def is_matrix(log: pl.DataFrame) -> bool:
    """Whether a table has one column per item: many columns, nearly all numeric."""
    numbers = [name for name in log.columns if as_number_column(log[name])]
    return len(log.columns) >= 20 and len(numbers) > 0.9 * len(log.columns)


def as_number_column(column: pl.Series) -> bool:
    """Whether the first values are numbers or missing."""
    if column.dtype.is_numeric():
        return True
    text = as_text(column).head(100).drop_nulls()
    return is_flat(column) and not text.cast(pl.Float64, strict=False).has_nulls()


def listed(names: Sequence[str], limit: int = 12) -> str:
    """The first names, for a message."""
    more = f", ... ({len(names):,} columns)" if len(names) > limit else ""
    return ", ".join(shorten(name, 24).strip("'\"") for name in names[:limit]) + more
