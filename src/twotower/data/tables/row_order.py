"""The canonical order of interactions, and one row for rows that repeat each other: neither depends
on the order of rows in a file. See docs/decisions/0017-rows.md."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.config import DataConfig
from twotower.data.arrays.workspace import BLOCK
from twotower.data.columns import ITEM_ID, TIMESTAMP, TIMESTAMP_NS, USER_ID, WEIGHT

Rule = Literal["max", "sum", "count", "last"]
Keys = list[NDArray[np.int64]]

FILE_ORDER_COLUMN: Final = "twotower.file_order"
"""An internal column: the place of a row in its file."""
GROUP_COLUMN: Final = "twotower.group"
"""An internal column: the number of the set of rows that repeat each other."""
ONE_ROW: Final = "each set became one row"
RULES: Final = {
    "max": f"{ONE_ROW}, with the largest weight",
    "sum": f"{ONE_ROW}, with the sum of the weights",
    "count": f"{ONE_ROW}, with the number of rows as its weight",
    "last": "the newest row of each user and item was kept",
}


def distinct_rows(frame: pl.DataFrame, config: DataConfig) -> pl.DataFrame:
    """One row per user, item and time (without times: per user and item), in the canonical order:
    by user, time and item. The file order is kept where it replaces times: for a split by
    `last_out` without times.

    Args:
        frame: all rows of some users, under our names.
        config: the `[data]` section; `duplicates` is the rule.
    """
    by_file = keeps_file_order(frame, config)
    if by_file:
        frame = frame.with_row_index(FILE_ORDER_COLUMN)
    ordered = in_order(frame)
    rows = merged(ordered.rows, ordered.is_first, config.duplicates)
    return rows.sort(FILE_ORDER_COLUMN).drop(FILE_ORDER_COLUMN) if by_file else rows


def keeps_file_order(frame: pl.DataFrame, config: DataConfig) -> bool:
    """Whether the order of the file stands for times."""
    return TIMESTAMP not in frame.columns and config.split.method == "last_out"


def note_on_repeats(
    rows: int, kept: int, columns: list[str], config: DataConfig, source: str
) -> str:
    """A sentence on rows that repeated others; `columns` are those of the rows that are left."""
    rule: Rule = config.duplicates
    keys = [name for name in (USER_ID, ITEM_ID, TIMESTAMP) if name in columns]
    keys = keys[:2] if rule == "last" else keys
    became = RULES[rule] if rule != "max" or WEIGHT in columns else ONE_ROW
    return (
        f"{source}: {rows - kept:,} of {rows:,} rows repeat {', '.join(keys)} of another: "
        f'{became} (data.duplicates = "{rule}").'
    )


# --- order --------------------------------------------------------------------------------------


class Ordered(NamedTuple):
    """Rows by user, time and item.

    Attributes:
        rows: T of them.
        is_first: (T,) bool, False where a row has the user, the time and the item of the one
            before it.
    """

    rows: pl.DataFrame
    is_first: NDArray[np.bool_]


def in_order(frame: pl.DataFrame) -> Ordered:
    """Sort rows by user, full time and item. Text is sorted by its UTF-8 bytes."""
    names = [n for n in (USER_ID, TIMESTAMP, TIMESTAMP_NS, ITEM_ID) if n in frame.columns]
    coded = {name: codes(frame[name]) for name in names}
    keys = [found.nums for found in coded.values()]
    whole = packed(keys)
    if whole is not None:
        keys, order = [whole], np.argsort(whole)
    else:
        places = [pl.Series(str(place), key) for place, key in enumerate(keys)]
        by = pl.DataFrame(places)
        order = by.select(pl.arg_sort_by(by.columns)).to_series().to_numpy().astype(np.int64)
    is_first = np.zeros(len(frame), dtype=np.bool_)
    is_first[:1] = True
    for key in keys:
        ordered = key[order]
        is_first[1:] |= ordered[1:] != ordered[:-1]
    # Text is gathered from its few distinct values, several times as fast as from the rows.
    text = {
        name: found.values.gather(found.nums[order]).alias(name)
        for name, found in coded.items()
        if found.values is not None
    }
    rows = frame.drop(text)[order].with_columns(**text).select(frame.columns)
    return Ordered(rows, is_first)


class Codes(NamedTuple):
    """A column as integers in the order of its values.

    Attributes:
        nums: (T,) int64.
        values: of text: the distinct values, which the nums are places of.
    """

    nums: NDArray[np.int64]
    values: pl.Series | None = None


def codes(column: pl.Series) -> Codes:
    """The codes of a column without nulls."""
    values = None
    if column.dtype == pl.String:
        values = column.unique().sort()
        column = column.cast(pl.Enum(values)).to_physical()
    return Codes(column.to_numpy().astype(np.int64), values)


def packed(keys: Keys) -> NDArray[np.int64] | None:
    """Several keys (T,) as one that sorts alike, which is several times as fast to sort by; None
    where they need more than 63 bits together."""
    if not len(keys[0]):
        return keys[0]
    lows = [int(key.min()) for key in keys]
    widths = [(int(key.max()) - low).bit_length() for key, low in zip(keys, lows, strict=True)]
    if sum(widths) > 63:
        return None
    whole = np.zeros(len(keys[0]), dtype=np.int64)
    for key, low, width in zip(keys, lows, widths, strict=True):
        whole <<= width
        whole |= key - low
    return whole


def num_ties(rows: pl.DataFrame) -> int:
    """How many rows in the canonical order share user and full time with another."""
    names = [name for name in (USER_ID, TIMESTAMP, TIMESTAMP_NS) if name in rows.columns]
    if TIMESTAMP not in names or not len(rows):
        return 0
    as_before = np.zeros(len(rows) + 1, dtype=np.bool_)
    for start in range(0, len(rows), BLOCK):
        # With the row before the block, which its first one may be tied to.
        first = max(start - 1, 0)
        block = rows.select(names).slice(first, start + BLOCK - first)
        same = block.select(pl.all_horizontal(pl.col(n) == pl.col(n).shift() for n in names))
        found = same.to_series().fill_null(False).to_numpy()[start - first :]
        as_before[start : start + len(found)] = found
    return int((as_before[:-1] | as_before[1:]).sum())


# --- rows that repeat each other ----------------------------------------------------------------


def merged(rows: pl.DataFrame, is_first: NDArray[np.bool_], rule: Rule) -> pl.DataFrame:
    """One row for each run of rows (T,) that starts where `is_first` is True."""
    if rule == "count" or (rule == "sum" and WEIGHT not in rows.columns):
        rows = counted(rows)
    if not is_first.all():
        group = np.cumsum(is_first) - 1
        repeated = (np.bincount(group) > 1)[group]
        rows = rows.with_columns(pl.Series(GROUP_COLUMN, group))
        single = rows.filter(~repeated)
        merged_rows = one_each(rows.filter(repeated), "max" if rule == "last" else rule)
        rows = pl.concat([single, merged_rows]).sort(GROUP_COLUMN).drop(GROUP_COLUMN)
    if rule == "last":
        rows = rows.unique(subset=[USER_ID, ITEM_ID], keep="last", maintain_order=True)
    return rows


def counted(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the weight 1, dislikes with theirs."""
    one = pl.lit(1.0, pl.Float32)
    if WEIGHT in rows.columns:
        one = pl.when(pl.col(WEIGHT) > 0).then(one).otherwise(pl.col(WEIGHT))
    return rows.with_columns(one.alias(WEIGHT))


def one_each(rows: pl.DataFrame, rule: Rule) -> pl.DataFrame:
    """Of each group the row of the largest weight, with the weight of the rule; among equal weights
    the first by the other columns. Its place in the file is that of the group's first row."""
    given = (USER_ID, ITEM_ID, TIMESTAMP, TIMESTAMP_NS, WEIGHT, GROUP_COLUMN, FILE_ORDER_COLUMN)
    others = [name for name in rows.columns if name not in given]
    by, updates = [GROUP_COLUMN, *others], []
    if WEIGHT in rows.columns:
        by = [GROUP_COLUMN, WEIGHT, *others]
        weight = pl.col(WEIGHT).cast(pl.Float64)
        positive = (pl.col(WEIGHT) > 0).sum()
        new = {
            "max": weight.max(),
            "sum": weight.sum(),
            "count": pl.when(positive > 0).then(positive).otherwise(weight.max()),
        }[rule]
        updates.append(new.cast(pl.Float32).alias(WEIGHT))
    if FILE_ORDER_COLUMN in rows.columns:
        updates.append(pl.col(FILE_ORDER_COLUMN).min())
    # Sums are taken in this order, too: those of floats depend on it.
    ordered = rows.sort(by, descending=[name == WEIGHT for name in by])
    best = ordered.unique(GROUP_COLUMN, keep="first", maintain_order=True)
    updated = ordered.group_by(GROUP_COLUMN, maintain_order=True).agg(updates)
    return best.with_columns(updated.drop(GROUP_COLUMN))
