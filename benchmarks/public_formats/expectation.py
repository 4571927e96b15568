"""What a format is: the files, and what reading them rightly means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

Column = str | int | None
"""A column by its name, or by its place in a file without a header; None: the file has none."""


@dataclass(frozen=True)
class Understood:
    """A format that is read.

    Attributes:
        interactions, users, items: what `init` is given, names in the folder.
        rows: every row of the log as it is to be understood: `user`, `item`, `time` (nanoseconds
            since 1970 UTC, null where there are no times), `weight` (1 where there are none).
        user_id, item_id, timestamp, weight, event_type: the columns that may be taken for ours;
            several where each is a right answer.
        min_weight: the least and the largest right threshold; None: there must be none.
        features: `side.column` -> what may become of it, words in one string: a feature type, or
            `out`; `log.column` -> `item` or `user` (an attribute of them), `context`, or `out`
            (neither read nor offered).
        num_users, num_items: rows of the users and items files.
        edit: overrides, as `--set` takes them, that a message asks for where the files alone do
            not say enough; `{2}` is the name that the third column of a headerless log got.
        asks: pattern of the message, in the config's comments or the check; `{2}` as in `edit`.
    """

    interactions: str
    rows: pl.DataFrame
    user_id: tuple[Column, ...]
    item_id: tuple[Column, ...]
    timestamp: tuple[Column, ...] = (None,)
    weight: tuple[Column, ...] = (None,)
    event_type: tuple[Column, ...] = (None,)
    min_weight: tuple[float, float] | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    users: str | None = None
    items: str | None = None
    num_users: int | None = None
    num_items: int | None = None
    edit: tuple[str, ...] = ()
    asks: str = ""


@dataclass(frozen=True)
class Refused:
    """A format that is no table of interactions, and must be named as what it is.

    Attributes:
        interactions, users, items: what `init` is given, names in the folder.
        cause: pattern that the message must hold.
    """

    interactions: str
    cause: str
    users: str | None = None
    items: str | None = None


NAME_COLUMNS = "user_id and item_id in column_names"
"""What a message asks for where a log without a header has more columns than are certain."""


def name_columns(*names: str) -> tuple[str, ...]:
    """The edit that names the columns of the log, each by its place."""
    return (f"data.format.interactions.column_names={list(names)}",)


Expectation = Understood | Refused
Format = Callable[[Path], Expectation]
"""Writes the files of a format into a folder and says what is right."""
