"""`twotower init`: write a `twotower.toml` from data files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import polars as pl

from twotower.atomic import write_text
from twotower.data.columns import EVENT_TYPE, ITEM_ID, TIMESTAMP, USER_ID, WEIGHT
from twotower.errors import ConfigError, explain
from twotower.workflow.setup.init.attributes import Others, sort_columns
from twotower.workflow.setup.init.columns import ENTITIES, Roles, guess_roles, with_ids
from twotower.workflow.setup.init.config_lines import (
    column_lines,
    context_lines,
    data_lines,
    feature_lines,
    history_lines,
    positive_lines,
)
from twotower.workflow.setup.init.features import guess_feature
from twotower.workflow.setup.init.guess import Guess
from twotower.workflow.setup.init.shapes import refuse_lists, refuse_nested_ids, refuse_shape
from twotower.workflow.setup.init.sources import Source, look
from twotower.workflow.setup.init.toml import comment
from twotower.workflow.setup.init.unnamed_columns import Naming, examples, name_entities, name_log
from twotower.workflow.setup.init.weights import unread_weight

CONFIG_NAME: Final = "twotower.toml"
Side = Literal["user", "item"]


@dataclass(frozen=True)
class Written:
    """The result of `init`.

    Attributes:
        path: path of the config.
        notes: notes on what was detected, one sentence each.
    """

    path: Path
    notes: tuple[str, ...]


def write_config(folder: Path, interactions: str, users: str | None, items: str | None) -> Written:
    """Write `folder/twotower.toml`: columns and features as they look, each guess commented.

    Args:
        folder: made if it is not there; the config names files relative to it.
        interactions: file, folder or URI, relative to the working directory.
        users: the same of the users table, or None.
        items: the same of the items table, or None.

    Raises:
        ConfigError: the file is there already or cannot be written, or no column looks like users
            or items.
        DataError: a table cannot be read, or is not a table of interactions.
    """
    path = folder / CONFIG_NAME
    if path.exists():
        fix = "choose another folder, or move the file away"
        raise ConfigError(explain("already exists and is not overwritten", file=path, fix=fix))
    named: dict[str, str | None] = {
        "interactions": interactions,
        "users": users,
        "items": items,
    }
    sources = {name: look(source) for name, source in named.items() if source is not None}
    text, notes = describe(folder, sources)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except (OSError, UnicodeEncodeError) as error:
        fix = "make room, or name another folder"
        raise ConfigError(explain(f"cannot be written: {error}", file=path, fix=fix)) from None
    return Written(path, tuple(dict.fromkeys(notes)))


def describe(folder: Path, sources: Mapping[str, Source]) -> tuple[str, list[str]]:
    """The text of the config, and the notes for the terminal."""
    log = sources["interactions"]
    refuse_shape(log)
    notes = [note for source in sources.values() for note in source.notes]
    head = ["# Written by `twotower init`. Review and correct its guesses."]
    if log.nameless:
        naming = name_columns(log, notes)
        if not naming.certain:
            refuse_lists(log)
            text = [*head, *unnamed_lines(folder, sources, log, naming)]
            return "\n".join(text) + "\n", notes
    name_entity_columns(sources)
    tables = {name: source.frame for name, source in sources.items() if name != "interactions"}
    try:
        roles = guess_roles(
            log.frame, tables, {name: source.source for name, source in sources.items()}
        )
    except ConfigError:
        refuse_lists(log)
        raise
    refuse_nested_ids(log, roles)
    rows = with_ids(log.frame, roles)
    others = sort_columns(rows, roles, tables.keys())
    guesses = {
        "user": entity_guesses("user", sources, roles, others, rows),
        "item": entity_guesses("item", sources, roles, others, rows),
    }
    derived = {
        side: [n for n, g in guesses[side].items() if g.active and n in getattr(others, side)]
        for side in guesses
    }
    positive, said = positive_lines(roles, rows)
    notes += [*roles.notes, *said, *attribute_notes(roles, others, derived)]
    lines = [*head, *data_lines(sources, folder, roles, derived), *column_lines(roles), *positive]
    for side, found in guesses.items():
        for name, guess in found.items():
            lines += feature_lines(side, name, guess, list(found))
    unread = unread_notes(roles, rows, others)
    features = any(guess.active for found in guesses.values() for guess in found.values())
    lines += history_lines(has_times=TIMESTAMP in roles.columns, has_features=features)
    lines += context_lines(others, unread)
    return "\n".join(lines) + "\n", [*notes, *unread]


def unread_notes(roles: Roles, log: pl.DataFrame, others: Others) -> list[str]:
    """Notes on columns that look like weights but cannot be used, if there is no weight or event
    type."""
    if WEIGHT in roles.columns or EVENT_TYPE in roles.columns:
        return []
    reasons = {name: unread_weight(log[name]) for name in others.afterwards}
    return [
        f"{name} looks like a weight but cannot be used: {reason}. Every row counts as positive "
        f"unless it has a number in every row and is set as weight in [data.columns]."
        for name, reason in reasons.items()
        if reason is not None
    ]


def attribute_notes(roles: Roles, others: Others, derived: Mapping[str, list[str]]) -> list[str]:
    """Notes on timestamps that cannot be read and on the other columns of the log."""
    notes = [] if roles.gaps is None else [f"{roles.gaps}: they are ignored."]
    if roles.time is None:
        notes.append("No timestamp column found: held-out rows are sampled at random.")
    elif roles.time.problem is not None:
        notes.append(
            f"The timestamps in {roles.time.name!r} cannot be read: {roles.time.problem}. Set "
            f"data.time_format or data.time_unit in the config; `check` fails until then."
        )
    for side, names in derived.items():
        if names:
            features = f"{side} feature{'' if len(names) == 1 else 's'}"
            notes.append(f"Interaction columns used as {features}: {', '.join(names)}.")
    if others.afterwards:
        notes.append(
            f"Not used as features, since they are known only after the interaction: "
            f"{', '.join(others.afterwards)}."
        )
    return notes


# --- files without a header -----------------------------------------------------------------------


def name_columns(log: Source, notes: list[str]) -> Naming:
    """Name the columns of a log without a header."""
    naming = name_log(log.frame)
    log.rename(naming.names)
    if naming.certain:
        notes.append(
            f"{log.source} has no header; its columns were detected as {', '.join(naming.names)}."
        )
    else:
        notes.append(
            f"{log.source} has no header, and it is unclear which columns are users and items: "
            "name them in the config; `check` fails until then. First row: "
            f"{examples(log.frame)}."
        )
    return naming


def name_entity_columns(sources: Mapping[str, Source]) -> None:
    """Name the columns of users and items files without a header."""
    log = sources["interactions"].frame
    for ours, table in ENTITIES:
        source = sources.get(table)
        if source is not None and source.nameless:
            ids = log[ours] if ours in log.columns else pl.Series(ours, [], dtype=pl.String)
            source.rename(name_entities(source.frame, ours, ids))
            source.notes.append(f"{source.source} has no header; its columns are numbered.")


def unnamed_lines(
    folder: Path, sources: Mapping[str, Source], log: Source, naming: Naming
) -> list[str]:
    """The config of a log whose users or items have to be named by hand."""
    there = [ours for ours, _ in ENTITIES if ours in naming.names]
    columns = naming.items or log.frame.columns
    lines = data_lines(sources, folder, Roles(), {})
    lines += ["", "[data.columns]  # ours = theirs"]
    lines += comment(f"It is unclear which column is which. First row: {examples(log.frame)}.")
    for ours, _ in ENTITIES:
        if ours not in there:
            others = ", ".join(f'"{name}"' for name in columns[1:])
            lines.append(f'# {ours} = "{columns[0]}"' + (f"  # or {others}" if others else ""))
    has_times = TIMESTAMP in naming.names
    return [*lines, *history_lines(has_times=has_times, has_features=len(sources) > 1)]


# --- features -------------------------------------------------------------------------------------


def entity_guesses(
    side: Side, sources: Mapping[str, Source], roles: Roles, others: Others, log: pl.DataFrame
) -> dict[str, Guess]:
    """Column -> guess, of the file of a side, or of the columns of the log that describe it."""
    table = "users" if side == "user" else "items"
    ours = USER_ID if side == "user" else ITEM_ID
    source = sources.get(table)
    if source is not None:
        hidden = {ours, roles.keys[table]}
        return {
            column.name: guess_feature(column)
            for column in source.frame
            if column.name not in hidden
        }
    names: list[str] = getattr(others, side)
    rows = log.group_by(roles.columns[ours], maintain_order=True).agg(
        pl.col(name).drop_nulls().first() for name in names
    )
    return {name: guess_feature(rows[name]) for name in names}
