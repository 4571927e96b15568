"""Classification of the other interaction columns: attributes of users or items, columns known only
after the interaction, and context."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from twotower.data.columns import INTERACTION_COLUMNS, ITEM_ID, USER_ID
from twotower.workflow.setup.init.cell_types import (
    as_numbers,
    as_text,
    is_flat,
    mean_words,
    numbers_rows,
)
from twotower.workflow.setup.init.columns import Roles
from twotower.workflow.setup.init.names import (
    ABOUT_USERS,
    AFTERWARDS,
    has_word,
    hints,
    is_key,
)
from twotower.workflow.setup.init.times import has_dates, is_clock, is_time
from twotower.workflow.setup.init.weights import (
    counts_the_future,
    is_amount,
    is_judgement,
    unread_weight,
)

GROUPS: Final = 5
"""Users or items with two rows or more that must agree before a column is an attribute."""


@dataclass
class Others:
    """The columns that are none of ours.

    Attributes:
        user: columns that do not vary within a user.
        item: columns that do not vary within an item.
        afterwards: known only after the interaction.
        context: columns that a request may send.
    """

    user: list[str] = field(default_factory=list)
    item: list[str] = field(default_factory=list)
    afterwards: list[str] = field(default_factory=list)
    context: list[str] = field(default_factory=list)


def sort_columns(log: pl.DataFrame, roles: Roles, tables: Collection[str]) -> Others:
    """Sort the columns that have no role; `tables`: the files besides the log."""
    others = Others()
    used = {*roles.columns.values(), *INTERACTION_COLUMNS}
    for name in log.columns:
        column = log[name]
        if name in used or column.null_count() == len(log) or as_text_count(column) == 1:
            continue
        weight = as_numbers(column) is not None and not counts_the_future(name)
        if weight and is_judgement(name):
            others.afterwards.append(name)
            continue
        side = attribute_side(log, name, roles)
        if side is not None and f"{side}s" not in tables:
            getattr(others, side).append(name)
        elif side is None:
            place = kind_of(column)
            if place is not None:
                getattr(others, place).append(name)
    return others


def as_text_count(column: pl.Series) -> int:
    """Different values, missing ones included; 2 for what cannot be counted."""
    return as_text(column).n_unique() if is_flat(column) else 2


def kind_of(column: pl.Series) -> str | None:
    """Where a column that varies within users and items belongs; None: nowhere."""
    name = column.name
    counted = is_amount(name) and as_numbers(column) is not None
    if is_judgement(name) or unread_weight(column) is not None:
        return "afterwards"
    if has_word(name, AFTERWARDS) or counts_the_future(name) or counted:
        return "afterwards"
    if not is_flat(column) or holds_times(column) or is_clock(column) or numbers_rows(column):
        return None
    text = as_text(column).drop_nulls()
    written = mean_words(text) >= 3 and text.n_unique() > 0.5 * len(text)
    if written or hints(name, "text"):
        return "afterwards"  # a title that varies within an item is the review's own
    if is_key(name) and text.n_unique() > 0.2 * len(text):
        return None  # an identifier of the row, of its order or of its session
    return "context"


def holds_times(column: pl.Series) -> bool:
    """Whether a column holds times: the service knows the time of a request by itself."""
    values = column.drop_nulls()
    named = hints(column.name, "date") or column.dtype == pl.String
    return has_dates(values) or (named and is_time(values))


def attribute_side(log: pl.DataFrame, name: str, roles: Roles) -> str | None:
    """ "user" or "item" where a column does not vary within them, else None."""
    if not is_flat(log[name]):
        return None
    values = as_text(log[name])
    counts = values.drop_nulls().unique_counts()
    alike = float(((counts / counts.sum()) ** 2).sum()) if len(counts) else 1.0
    least = 0.95 if alike < 0.9 else 1.0
    shares = {
        side: constant_share(log[roles.columns[ours]], values)
        for side, ours in (("user", USER_ID), ("item", ITEM_ID))
    }
    sides = [side for side, share in shares.items() if share >= least]
    if len(sides) == 2:
        return "user" if has_word(name, ABOUT_USERS) else "item"
    return sides[0] if sides else None


def constant_share(key: pl.Series, values: pl.Series) -> float:
    """The share of ids with two rows or more whose rows have one value; 0 where they are few."""
    frame = pl.DataFrame({"key": as_text(key), "value": values}).drop_nulls()
    groups = frame.group_by("key").agg(pl.len(), distinct=pl.col("value").n_unique())
    groups = groups.filter(pl.col("len") > 1)
    if len(groups) < GROUPS:
        return 0.0
    return float((groups["distinct"] == 1).sum()) / len(groups)
