"""Ids that may not be those of a user or an item: placeholders, one with too many rows, blanks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

import numpy as np
import polars as pl

from twotower.data.arrays.workspace import BLOCK
from twotower.data.columns import ITEM_ID, USER_ID

PLACEHOLDER: Final = (
    r"^(na|n/a|#n/a|<na>|nan|\(?null\)?|none|nil|undefined|unknown|anonymous|anon|guest|missing|"
    r"empty|\\n|-+|\?+|-1)$"
)
"""Placeholders that programs write for a missing id, in lower case."""
ROUNDED: Final = r"^-?[0-9]([.,][0-9]+)?[eE][+][0-9]{2,}$"
"""How spreadsheets write a long number: 1.23457E+15."""
MIN_IDS: Final = 10
"""Fewest ids for which one of them can have too many rows."""
OUTLIER_FACTOR: Final = 10
"""An id has too many rows if it has this many times the mean of the others ..."""
OUTLIER_SHARE: Final = {USER_ID: 0.1, ITEM_ID: 0.25}
"""... and this share of all rows: popular items have more than active users."""
HEAVY_USER_SHARE: Final = 0.3
"""A user with this share of the rows has too many already with ..."""
HEAVY_USER_FACTOR: Final = 4
"""... this many times the mean of the others: among few users no one can have ten times as many."""
MAX_NAMED_IDS: Final = 3


def suspicious_ids(frames: Mapping[str, pl.DataFrame], key: str, source: str) -> list[str]:
    """A note for each kind of suspicious id.

    Args:
        frames: the checked tables by name; shares are those of `interactions`.
        key: `user_id` or `item_id`.
        source: the file of the interactions, for the notes.
    """
    rows = frames["interactions"]
    counts = _counts(rows[key]).sort("rows", key, descending=[True, False])
    notes = [
        _note(source, key, found, len(rows), what)
        for found, what in (
            (_placeholders(counts, key), "may stand for a missing value"),
            (_too_many(counts, key), "has far more rows than the others"),
            (_alone(counts), "is the only one"),
        )
        if len(found)
    ]
    others = [frame[key] for frame in frames.values() if key in frame.columns and frame is not rows]
    notes += _rounded(counts, key, source)
    return notes + _blanks([counts[key], *others], key, source)


def _counts(ids: pl.Series) -> pl.DataFrame:
    """The distinct ids and the `rows` of each, by the quickest way: grouping tens of millions of
    rows takes seconds."""
    if ids.is_sorted():
        runs = ids.rle().struct.unnest()
        return runs.select(pl.col("value").alias(ids.name), pl.col("len").alias("rows"))
    if ids.dtype == pl.Int64:
        lowest, highest = cast(int, ids.min()), cast(int, ids.max())
        if highest - lowest < len(ids):
            counts = np.zeros(highest - lowest + 1, dtype=np.int64)
            for start in range(0, len(ids), BLOCK):
                values = ids.slice(start, BLOCK).to_numpy() - lowest
                counts += np.bincount(values, minlength=len(counts))
            there = np.flatnonzero(counts)
            return pl.DataFrame({ids.name: there + lowest, "rows": counts[there]})
    return ids.to_frame().group_by(ids.name).len("rows")


def _placeholders(counts: pl.DataFrame, key: str) -> pl.DataFrame:
    """Rows of `counts` whose id is a placeholder; -1 is one where no other id is negative."""
    ids = counts[key]
    if ids.dtype == pl.String:
        plain = ids.str.strip_chars().str.to_lowercase()
        return counts.filter(plain.str.contains(PLACEHOLDER))
    negative = counts.filter(ids < 0)
    return negative.filter(negative[key] == -1) if len(negative) == 1 else negative.clear()


def _too_many(counts: pl.DataFrame, key: str) -> pl.DataFrame:
    """Rows of `counts` whose id has too many; the first one alone can have ten times the mean of
    the others."""
    total, most = int(counts["rows"].sum()), counts.head(1)
    if len(counts) < MIN_IDS or len(_placeholders(most, key)):
        return most.clear()
    largest = int(most["rows"][0])
    times = largest * (len(counts) - 1) / max(total - largest, 1)
    is_large = largest >= OUTLIER_SHARE[key] * total and times >= OUTLIER_FACTOR
    is_heavy = key == USER_ID and largest >= HEAVY_USER_SHARE * total and times >= HEAVY_USER_FACTOR
    return most if is_large or is_heavy else most.clear()


def _alone(counts: pl.DataFrame) -> pl.DataFrame:
    """The single row of `counts`, where all rows of the interactions have one id."""
    alone = len(counts) == 1 and int(counts["rows"][0]) >= MIN_IDS
    return counts if alone else counts.clear()


def _note(source: str, key: str, found: pl.DataFrame, total: int, what: str) -> str:
    kind = "user" if key == USER_ID else "item"
    named = ", ".join(
        f"{raw!r} ({rows:,} of {total:,} rows, {rows / total:.1%})"
        for raw, rows in found.head(MAX_NAMED_IDS).iter_rows()
    )
    more = f" and {len(found) - MAX_NAMED_IDS:,} more" if len(found) > MAX_NAMED_IDS else ""
    remedy = "name it in the table data.exclude_users, or " if kind == "user" else ""
    return (
        f"{source}, column {key!r}: {kind} {named}{more} {what}. If it is not "
        f"{'a user' if kind == 'user' else 'an item'}, {remedy}remove its rows."
    )


def _rounded(counts: pl.DataFrame, key: str, source: str) -> list[str]:
    """A note on long numbers that a spreadsheet has rounded."""
    if counts[key].dtype != pl.String:
        return []
    found = counts.filter(pl.col(key).str.contains(ROUNDED))
    if not len(found):
        return []
    what = "id such as {} looks" if len(found) == 1 else "ids such as {} look"
    return [
        f"{source}, column {key!r}: {len(found):,} {what.format(repr(found[key][0]))} like long "
        "numbers that a spreadsheet has rounded: several ids may have been merged. Export the ids "
        "as text."
    ]


def _blanks(there: Sequence[pl.Series], key: str, source: str) -> list[str]:
    """A note on ids that differ from another only in surrounding blanks, in any of the tables."""
    if there[0].dtype != pl.String:
        return []
    ids = pl.concat([column.unique().alias("id") for column in there]).unique()
    pairs = ids.to_frame().with_columns(pl.col("id").str.strip_chars().alias("stripped"))
    if (pairs["id"] == pairs["stripped"]).all():
        return []
    alike = pairs.filter(pl.struct("stripped").is_duplicated()).sort("stripped", "id")
    if not len(alike):
        return []
    one, other = alike["id"][0], alike["id"][1]
    number = len(alike) - alike["stripped"].n_unique()
    kind = "user" if key == USER_ID else "item"
    return [
        f"{source}, column {key!r}: {number:,} id{'s differ' if number > 1 else ' differs'} from "
        f"another only in surrounding blanks, such as {one!r} and {other!r}: each counts as a "
        f"separate {kind}. Remove the blanks if they are the same {kind}."
    ]
