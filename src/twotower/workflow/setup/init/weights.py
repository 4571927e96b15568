"""Detection of weights: the column, its scale, and the threshold of positives; event types."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import polars as pl

from twotower.data.columns import WEIGHT
from twotower.data.values.numbers import DECIMALS, parse_numbers
from twotower.errors import shorten
from twotower.workflow.setup.init.cell_types import as_numbers, as_text, is_flat, mean_words
from twotower.workflow.setup.init.names import (
    AMOUNT,
    FUTURE,
    LABEL,
    OPINION,
    RATING,
    has_word,
    last_word,
    plain,
    words,
)

FEW: Final = 30
"""Maximum number of event types."""
EVENTS: Final = {
    1.0: "view views viewed pv impression click clicks clicked play played listen watch visit "
    "open browse detail",
    3.0: "cart addtocart basket addtobasket fav favorite favourite like liked wishlist bookmark "
    "save share follow comment",
    5.0: "purchase purchased buy bought transaction order ordered sale subscribe checkout install",
}
"""Typical weight -> event types."""
DISLIKES: Final = (
    "dislike disliked remove removed removefromcart removefromwishlist return returned refund "
    "refunded skip skipped unlike downvote hide hidden block blocked report reported unfollow "
    "unsubscribe cancel cancelled canceled delete deleted thumbsdown"
)
"""Event types of negative feedback."""
GOOD: Final = (
    "yes y up thumbsup positive good great excellent perfect amazing love loved favorite liked "
    "like recommended upvote"
)
"""Positive values of a column of ratings in words."""
NOT_GOOD: Final = (
    "no n down thumbsdown negative bad poor terrible awful horrible worst hate hated disliked "
    "dislike downvote notrecommended ok okay neutral average fair meh mixed"
)
"""Negative and neutral values of a column of ratings in words."""


@dataclass(frozen=True)
class Scale:
    """The scale of a weight column.

    Attributes:
        about: description for the config and the terminal.
        min_weight: minimum weight of a positive; None: every weight above 0.
        active: whether any row reaches `min_weight`.
    """

    about: str
    min_weight: float | None = None
    active: bool = True


def weight_columns(log: pl.DataFrame) -> list[str]:
    """The columns that may be weights, likeliest first: ratings, labels, shares, amounts."""
    ranked = [(kind, name) for name in log.columns if (kind := weight_kind(log[name])) is not None]
    return [name for _, name in sorted(ranked, key=lambda entry: entry[0])]


def weight_kind(column: pl.Series) -> int | None:
    """0: our own name, 1: ratings, 2: labels, 3: shares of a whole, 4: amounts; None: no weight.

    A column of our own name is one whatever it holds, so that `check` says what is wrong with it.
    """
    name, numbers = column.name, as_numbers(column)
    if name == WEIGHT:
        return 0
    if counts_the_future(name) or numbers is None or not len(numbers) or column.has_nulls():
        return None
    if has_word(name, RATING) or (is_opinion(name) and is_stars(numbers)):
        return 1
    two = numbers.is_in([-1.0, 0.0, 1.0]).all()
    if two and has_word(name, LABEL):
        return 2
    ends = plain(name).removesuffix("forever").removesuffix("onrecord")
    if has_word(name, "ratio"):
        return 3
    return 4 if has_word(name, AMOUNT) or ends.endswith(("count", "times", "hours")) else None


def is_opinion(name: str) -> bool:
    """Whether a name is that of opinions, and of no code or count of them."""
    coded = {"id", "code", "num", "no", "number", "total"}
    return last_word(name) in OPINION.split() and words(name).isdisjoint(coded)


def is_judgement(name: str) -> bool:
    """Whether a name is that of ratings or labels, which are known only after the interaction."""
    return has_word(name, f"{RATING} {LABEL}")


def unread_weight(column: pl.Series) -> str | None:
    """Why a column that is named as judgements or amounts cannot be the weight; None where it can,
    or where it holds something else."""
    name = column.name
    if not is_flat(column) or column.null_count() == len(column) or counts_the_future(name):
        return None
    text = as_text(column).drop_nulls()
    if as_numbers(column) is None:
        amounts = is_amount(name) and any(
            not parse_numbers(text, sign).has_nulls() for sign in DECIMALS
        )
        if not len(text) or not (amounts or (is_judgement(name) and mean_words(text) < 3)):
            return None
        return f"{shorten(text[0], 40)} is not a number"
    if column.has_nulls() and (is_amount(name) or is_judgement(name)):
        return f"it is missing in {column.null_count():,} of {len(column):,} rows"
    return None


def is_amount(name: str) -> bool:
    """Whether a name is that of an amount, which may also describe an item: a duration."""
    return has_word(name, AMOUNT)


def counts_the_future(name: str) -> bool:
    """Whether a number of this name in the log is an average or a count over interactions."""
    found = words(name)
    totals = {"average", "avg", "mean", "total", "num", "number"}
    counts = found & {"ratings", "reviews", "votes", "rating", "review", "vote"}
    return bool(found & totals and found & set(FUTURE.split())) or (
        bool(counts) and "count" in found
    )


def scale_of(column: pl.Series) -> Scale:
    """Detect the scale of a weight column."""
    numbers = as_numbers(column)
    if numbers is None or not len(numbers):
        return Scale("weights that cannot be read as numbers")
    low, high = float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]
    if numbers.is_in([-1.0, 0.0, 1.0]).all():
        return labels(numbers, low)
    by_value = column.name == WEIGHT or is_opinion(column.name)
    stars = has_word(column.name, RATING) or (by_value and is_stars(numbers))
    if not stars or high > 100 or high <= 1:
        about = f"amounts from {low:g} to {high:g}; every row above 0 is positive"
        return Scale(about if low > 0 else f"{about}, the other rows are not")
    return ratings(numbers, low, high)


def labels(numbers: pl.Series, low: float) -> Scale:
    """Weights of 0 and 1, or of -1 and 1."""
    others = int((numbers <= 0).sum())
    if not others:
        return Scale("every weight is 1")
    worst = "0" if low == 0 else "0 and -1" if (numbers == 0).any() else "-1"
    share = f"{others:,} of {len(numbers):,} rows"
    return Scale(f"1 is positive, {worst} ({share}) is not")


def is_stars(numbers: pl.Series) -> bool:
    """Whether numbers lie on the steps of a scale of 5 or 10, and are ratings by that."""
    steps = ((numbers * 2) == (numbers * 2).round()).all()
    high = numbers.max()
    return bool(steps) and numbers.n_unique() > 3 and high in (5.0, 10.0)


def ratings(numbers: pl.Series, low: float, high: float) -> Scale:
    """Ratings: the threshold follows from the scale, which ends at 5, 10 or 100."""
    unrated = ""
    real = numbers
    if low in (-1.0, 0.0) and 1 < high <= 10:
        real = numbers.filter(numbers > 0)
        count = len(numbers) - len(real)
        unrated = f"; {low:g} means no rating ({count:,} row{'s' if count > 1 else ''})"
    low = float(real.min())  # type: ignore[arg-type]
    if low < 0:
        top, least = (10.0, 5.0) if high <= 10 else (100.0, 50.0)
        about = f"ratings on a scale from -{top:g} to {top:g}"
    else:
        top, least = next(s for s in ((5.0, 4.0), (10.0, 7.0), (100.0, 70.0)) if high <= s[0])
        about = f"ratings on a scale up to {top:g}, here from {low:g} to {high:g}"
    about += f"{unrated}; rows below {least:g} are not positive"
    return Scale(about, least, active=high >= least)


# --- event types ----------------------------------------------------------------------------------


def is_event(column: pl.Series) -> bool:
    """Whether the column holds few different values and no gaps."""
    text = as_text(column)
    return not text.has_nulls() and 0 < text.n_unique() <= FEW


def holds_events(column: pl.Series) -> bool:
    """Whether the values are names of events, whatever the column is called."""
    if column.dtype != pl.String or not is_event(column):
        return False
    found = {plain(name) for name in as_text(column).unique().to_list()}
    known = set(DISLIKES.split()).union(*(listed.split() for listed in EVENTS.values()))
    if is_judgement(column.name):
        known |= {*GOOD.split(), *NOT_GOOD.split()}
    return len(found) >= 2 and found <= known


def event_names(column: pl.Series) -> list[str]:
    """The event types, sorted."""
    return list(as_text(column).drop_nulls().unique().sort().to_list())


def is_dislike(event: str) -> bool:
    """Whether an event type says that a user does not like an item."""
    known = {*DISLIKES.split(), *NOT_GOOD.split()}
    return plain(event) in known or not words(event).isdisjoint(DISLIKES.split())


def usual_weight(event: str) -> float:
    """What an event type usually weighs beside others; 1 where nothing is known of it."""
    found = words(event) | {plain(event)}
    return max((w for w, listed in EVENTS.items() if found & set(listed.split())), default=1.0)


def split_events(events: Iterable[str]) -> tuple[list[str], list[str]]:
    """The event types that are positives, and those that are not."""
    listed = list(events)
    bad = [event for event in listed if is_dislike(event)]
    return [event for event in listed if event not in bad], bad
