"""Detection of the columns of a file without a header, by their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from twotower.data.columns import EVENT_TYPE, ITEM_ID, TIMESTAMP, USER_ID
from twotower.workflow.setup.init.attributes import constant_share
from twotower.workflow.setup.init.cell_types import as_numbers, as_text, is_flat, mean_words
from twotower.workflow.setup.init.times import has_dates, is_time
from twotower.workflow.setup.init.weights import holds_events

RATING_VALUES: Final = 21
"""A scale of ratings has at most so many steps: 0 to 10 by halves."""

MAX_SHOWN_CELLS: Final = 7
"""Columns that a message shows."""
MANY_ROWS: Final = 100
"""Rows from which on an item occurs more than once."""


@dataclass
class Naming:
    """Names for the columns of interactions.

    Attributes:
        names: one a column; `column_1` and so on where nothing is recognised.
        items: the columns that may be the items, where that is not certain; else empty.
    """

    names: list[str]
    items: list[str] = field(default_factory=list)

    @property
    def certain(self) -> bool:
        """Whether users and items are known."""
        return USER_ID in self.names and ITEM_ID in self.names


def name_log(frame: pl.DataFrame) -> Naming:
    """Names by what the columns hold: times, types of events, ratings, amounts, then ids.

    The first column of ids is the users', as in nearly every public file. The items are what is
    left when columns that describe them are set aside.
    """
    naming = Naming([f"column_{number}" for number in range(1, len(frame.columns) + 1)])
    columns = frame.get_columns()
    rest = [n for n, column in enumerate(columns) if as_text(column).n_unique() > 1]

    def claim(place: int | None, name: str) -> None:
        if place is not None:
            naming.names[place] = name
            rest.remove(place)

    claim(next((n for n in rest if looks_like_time(columns[n])), None), TIMESTAMP)
    claim(next((n for n in rest if holds_events(columns[n])), None), EVENT_TYPE)
    if len(rest) > 2:
        later = reversed(rest[1:])
        claim(next((n for n in later if looks_like_rating(columns[n])), None), "rating")
    if len(rest) > 2 and "rating" not in naming.names:
        claim(next((n for n in rest if looks_like_amount(columns, n, rest)), None), "weight")
    ids = [n for n in rest if may_be_ids(columns[n])]
    if len(ids) < 2:
        return naming
    user, items = ids[0], item_places(columns, ids)
    codes = [is_product_code(columns[n]) for n in (user, *items)]
    if codes == [True, False]:
        user, items = items[0], [user]  # Amazon's files begin with the item
    naming.names[user] = USER_ID
    if len(items) == 1:
        naming.names[items[0]] = ITEM_ID
    else:
        naming.items = [naming.names[n] for n in items]
    return naming


def item_places(columns: Sequence[pl.Series], ids: Sequence[int]) -> list[int]:
    """The columns that may be the items: without those that a user or another column decides, and
    those with far fewer values."""
    user, *others = ids
    counts = {n: as_text(columns[n]).n_unique() for n in ids}
    rows = len(columns[user])
    if rows >= MANY_ROWS:  # nearly a value a row: the key of a review, or a time
        others = [n for n in others if counts[n] < 0.9 * rows] or others
    left = []
    for n in others:
        finer = [m for m in others if m != n and (counts[m], -m) > (counts[n], -n)]
        decided = any(
            constant_share(columns[m], as_text(columns[n])) >= 0.95 for m in [user, *finer]
        )
        if not decided:
            left.append(n)
    most = max((counts[n] for n in left), default=0)
    return [n for n in left if counts[n] > most / 4] or list(others)


def may_be_ids(column: pl.Series) -> bool:
    """Whether values are all there, and no numbers with a fraction."""
    if not is_flat(column) or column.has_nulls() or column.dtype.is_temporal():
        return False
    return not (has_fraction(column) or is_text(column))


def is_product_code(column: pl.Series) -> bool:
    """Whether all values are numbers of Amazon's products or of books."""
    text = as_text(column).drop_nulls()
    return bool(text.str.contains(r"^(B[0-9A-Z]{9}|\d{9}[\dX])$").all())


def name_entities(frame: pl.DataFrame, key: str, ids: pl.Series) -> list[str]:
    """Names for the columns of users or items: the one that holds most of the ids of the log is the
    key, the others are numbered, but for what is recognised."""
    names = [f"column_{number}" for number in range(1, len(frame.columns) + 1)]
    known = as_text(ids).drop_nulls().unique()
    shares = []
    for column in frame.get_columns():
        text = as_text(column).drop_nulls()
        unique = text.n_unique() > 0.9 * len(frame)
        shares.append(float(known.is_in(text.implode()).mean() or 0) if unique else 0.0)  # type: ignore[arg-type]
    if max(shares, default=0.0) > 0:
        names[shares.index(max(shares))] = key
    return names


def looks_like_time(column: pl.Series) -> bool:
    """Dates, or numbers that are seconds or milliseconds of the last decades."""
    if not is_time(column):
        return has_dates(column)
    return column.n_unique() > RATING_VALUES or len(column) <= RATING_VALUES


def looks_like_rating(column: pl.Series) -> bool:
    """Few numbers on the steps of a scale of 5 or 10."""
    numbers = as_numbers(column)
    if numbers is None or not len(numbers) or column.has_nulls():
        return False
    low, high = float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]
    steps = bool(((numbers * 2) == (numbers * 2).round()).all())
    scale = low >= -1 and high in range(2, 11)
    return steps and scale and numbers.n_unique() <= RATING_VALUES


def looks_like_amount(columns: Sequence[pl.Series], place: int, rest: Sequence[int]) -> bool:
    """The last column, numbers from 1 on or with a fraction, one for each pair of ids before it."""
    numbers = as_numbers(columns[place])
    if numbers is None or not len(numbers) or place != rest[-1] or columns[place].has_nulls():
        return False
    before = [as_text(columns[n]).alias(str(n)) for n in rest[:-1] if may_be_ids(columns[n])]
    if len(before) < 2 or not (numbers > 0).any():  # degrees west
        return False
    decided = any(constant_share(key, as_text(columns[place])) >= 0.95 for key in before)
    single = pl.DataFrame(before).n_unique() > 0.95 * len(numbers)
    return not decided and (has_fraction(columns[place]) or (single and float(numbers.min()) >= 1))  # type: ignore[arg-type]


def has_fraction(column: pl.Series) -> bool:
    """Whether the values are numbers, and some have a fraction."""
    numbers = as_numbers(column)
    return numbers is not None and not (numbers == numbers.round()).all()


def is_text(column: pl.Series) -> bool:
    """Whether the values are sentences."""
    return mean_words(as_text(column)) > 6


def examples(frame: pl.DataFrame) -> str:
    """The first value of the first columns, for a comment."""
    cells = [as_text(column).drop_nulls() for column in frame.get_columns()[:MAX_SHOWN_CELLS]]
    more = f", ... ({frame.width} columns)" if frame.width > MAX_SHOWN_CELLS else ""
    return ", ".join(f"{cell.name} = {cell[0][:24]!r}" for cell in cells if len(cell)) + more
