"""The lines of the `twotower.toml` that `init` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from twotower.data.columns import EVENT_TYPE, TIMESTAMP, WEIGHT
from twotower.workflow.setup.init.attributes import Others
from twotower.workflow.setup.init.columns import Roles
from twotower.workflow.setup.init.guess import Guess
from twotower.workflow.setup.init.sources import Source, relative
from twotower.workflow.setup.init.toml import comment, key_of, names_of, one_line, quoted, value_of
from twotower.workflow.setup.init.weights import event_names, scale_of, split_events, usual_weight

MOST_EVENTS = 10
"""Maximum number of event types listed in a comment."""


def data_lines(
    sources: Mapping[str, Source], folder: Path, roles: Roles, derived: Mapping[str, Sequence[str]]
) -> list[str]:
    """`[data]` with its formats."""
    lines = ["", "[data]"]
    lines += [f"{name} = {quoted(relative(s.source, folder))}" for name, s in sources.items()]
    for side, names in derived.items():
        if names:
            lines.append(f"{side}s_from_interactions = {value_of(list(names))}")
    if roles.gaps is not None:
        lines.append(f'missing_ids = "leave_out"  # {one_line(roles.gaps)}')
    if roles.time is not None and roles.time.problem is not None:
        lines += comment(f"{roles.time.name!r} cannot be read as times: {roles.time.problem}.")
        lines += comment("Set their format or correct the file; `check` fails until then:")
        for reading in roles.time.readings:
            key, value = (
                ("unit", reading.unit) if reading.format is None else ("format", reading.format)
            )
            lines.append(f"# time_{key} = {value_of(value)}")
        if not roles.time.readings:
            lines.append('# time_format = "%Y-%m-%d"  # or time_unit = "s", "ms", "us", "ns"')
    for name, source in sources.items():
        settings = source.format.model_dump(exclude_none=True)
        if settings:
            lines += ["", f"[data.format.{name}]  # detected from the file"]
            lines += [f"{key} = {value_of(value)}" for key, value in settings.items()]
    return lines


def column_lines(roles: Roles) -> list[str]:
    """`[data.columns]`, if a column name differs from the standard name."""
    lines = [
        f"{ours} = {quoted(theirs)}" for ours, theirs in roles.columns.items() if ours != theirs
    ]
    for table, key in roles.keys.items():
        ours = "user_id" if table == "users" else "item_id"
        if key not in (roles.columns[ours], ours):
            lines.append(f"{table}_key = {quoted(key)}")
    lines = ["", "[data.columns]  # ours = theirs", *lines] if lines else []
    if roles.time is not None and roles.time.is_order:
        lines += ["", f"[data.split]  # {one_line(roles.time.name)} is an order, not a time"]
        lines.append('method = "last_out"')
    if TIMESTAMP not in roles.columns:
        lines += ["", "# No timestamp column found: held-out rows are sampled at random."]
    return lines


def positive_lines(roles: Roles, log: pl.DataFrame) -> tuple[list[str], list[str]]:
    """`[data.positive]` if there are weights or event types, and notes for the terminal."""
    lines: list[str] = []
    notes: list[str] = []
    weight, event = roles.columns.get(WEIGHT), roles.columns.get(EVENT_TYPE)
    if weight is not None:
        scale = scale_of(log[weight])
        notes.append(f"{weight} is the weight: {scale.about}.")
        lines += comment(notes[-1])
        if scale.min_weight is not None:
            mark = "" if scale.active else "# "
            lines.append(f"{mark}min_weight = {scale.min_weight:g}")
    if event is not None:
        more, sentence = event_lines(event_names(log[event]), event)
        lines += more
        notes.append(sentence)
    return (["", "[data.positive]", *lines] if lines else []), notes


def event_lines(events: Sequence[str], column: str) -> tuple[list[str], str]:
    """`event_types` and `event_weights`; only negative event types are excluded."""
    good, bad = split_events(events)
    some = ", ".join(map(repr, events[:MOST_EVENTS])) + (
        ", ..." if len(events) > MOST_EVENTS else ""
    )
    sentence = f"{column} is the event type: {some}"
    if bad and good:
        sentence += f"; {', '.join(map(repr, bad))} {'is' if len(bad) == 1 else 'are'} not positive"
    lines = comment(f"{sentence}.")
    mark = "" if bad and good else "# "
    lines.append(f"{mark}event_types = {value_of(good or list(events))}  # the positives")
    weights = ", ".join(f"{key_of(name)} = {usual_weight(name):g}" for name in good or events)
    lines.append(f"# event_weights = {{{weights}}}  # instead of a weight column")
    return [one_line(line) for line in lines], f"{sentence}."


def feature_lines(side: str, name: str, guess: Guess, taken: Sequence[str]) -> list[str]:
    """The section of a feature, commented out if inactive; `taken`: names of other columns."""
    column, name = name, feature_name(name, taken)
    settings = feature_settings(name, column, guess)
    section = f"[features.{side}.{key_of(name)}]"
    body = [f"{key} = {value_of(value)}" for key, value in settings.items()]
    if guess.active:
        return ["", f"{section}  # {one_line(guess.reason)}", *body]
    return ["", f"# Not used: {one_line(guess.reason)}.", *(f"# {b}" for b in [section, *body])]


def feature_name(column: str, taken: Sequence[str]) -> str:
    """The name of a column's feature: its own, unless that is the id's or the history's."""
    name = column
    while name in ("id", "history") or (name != column and name in taken):
        name += "_column"
    return name


def feature_settings(name: str, column: str, guess: Guess) -> dict[str, Any]:
    """The keys of a feature's section."""
    settings = {"type": "", **guess.feature.model_dump(exclude_defaults=True)}
    return settings if name == column else {**settings, "column": column}


def history_lines(*, has_times: bool, has_features: bool) -> list[str]:
    """`[features.user.history]`, commented out where ids alone do as well: docs/experiments.md,
    "Histories without times"."""
    order = "in order of time" if has_times else "as a set: no timestamps"
    lines = [
        f"[features.user.history]  # the user's latest interactions, {order}",
        'type = "history"',
        'encoder = "attention"  # or mean, transformer',
    ]
    if has_times or has_features:
        return ["", *lines]
    reason = (
        "Not used: without timestamps and features, ids alone learn as much in a fraction of the "
        "time. New interactions count all the same."
    )
    return ["", *comment(reason), *(f"# {line}" for line in lines)]


def context_lines(others: Others, unread: Sequence[str]) -> list[str]:
    """A comment on the other columns of the interactions, which may be context features; `unread`:
    notes on columns that look like weights."""
    lines = [line for sentence in unread for line in ("", *comment(sentence))]
    if others.afterwards:
        lines += [
            "",
            *comment(
                f"Not used as features, since they are known only after the interaction: "
                f"{names_of(others.afterwards)}."
            ),
        ]
    if others.context:
        lines += [
            "",
            f"# Other columns of the interactions: {names_of(others.context)}.",
            "# A column that is known at request time, such as a device, can be a context feature:",
            "# [features.context.NAME]",
            '# type = "category"',
        ]
    return lines
