"""A small made-up log with a planted preference, which every format writes in its own way."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

USERS = 60
ITEMS = 40
GROUPS = 4
"""User u and item i like each other where u and i are equal modulo this."""
ROWS_A_USER = 22
FIRST_SECOND = 1_325_420_000
"""2012-01-01; the log covers about two years."""


@dataclass(frozen=True)
class Log:
    """T = 1,320 rows, sorted by user and time; every user and every item occurs.

    Attributes:
        user: (T,) from 0 to 59.
        item: (T,) from 0 to 39; each at most once a user, unless the log was made with repeats.
        seconds: (T,) since 1970, increasing within a user.
        stars: (T,) from 1 to 5, high where user and item are of one group.
        rng: for the columns that a format has beside these.
    """

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    seconds: NDArray[np.int64]
    stars: NDArray[np.int64]
    rng: np.random.Generator

    def __len__(self) -> int:
        return len(self.user)

    def rows(
        self,
        users: Sequence[str],
        items: Sequence[str],
        *,
        nanoseconds: Sequence[int] | None = None,
        weight: Sequence[float] | None = None,
    ) -> pl.DataFrame:
        """The rows as they are to be understood: (T,) `user`, `item`, `time`, `weight`.

        Args:
            users: (60,) how the file spells the id of each user.
            items: (40,) the same of the items.
            nanoseconds: (T,) since 1970, where the file has times.
            weight: (T,) where the file has weights.
        """
        size = len(self)
        return pl.DataFrame(
            {
                "user": [users[user] for user in self.user],
                "item": [items[item] for item in self.item],
                "time": [None] * size if nanoseconds is None else list(nanoseconds),
                "weight": [1.0] * size if weight is None else list(map(float, weight)),
            },
            schema={"user": pl.String, "item": pl.String, "time": pl.Int64, "weight": pl.Float64},
        )

    def nanoseconds(self, *, unit: int = 1_000_000_000, plus: Sequence[int] = ()) -> list[int]:
        """(T,) the times in nanoseconds; `plus` (T,) is added in units of `unit` nanoseconds."""
        later = list(plus) or [0] * len(self)
        return [int(s) * 10**9 + int(p) * unit for s, p in zip(self.seconds, later, strict=True)]


def make_log(seed: int, *, repeats: bool = False) -> Log:
    """A log; with `repeats`, a user meets an item several times."""
    rng = np.random.default_rng(seed)
    users, items, seconds, stars = [], [], [], []
    for user in range(USERS):
        liked = np.arange(ITEMS) % GROUPS == user % GROUPS
        chances = np.where(liked, 5.0, 1.0)
        chosen = rng.choice(ITEMS, ROWS_A_USER, replace=repeats, p=chances / chances.sum())
        first = FIRST_SECOND + int(rng.integers(0, 300 * 86_400))
        steps = rng.integers(600, 30 * 86_400, ROWS_A_USER)
        users += [user] * ROWS_A_USER
        items += chosen.tolist()
        seconds += (first + np.cumsum(steps)).tolist()
        high = rng.choice([3, 4, 5], ROWS_A_USER, p=[0.15, 0.4, 0.45])
        low = rng.choice([1, 2, 3, 4], ROWS_A_USER, p=[0.25, 0.3, 0.3, 0.15])
        stars += np.where(liked[chosen], high, low).tolist()
    return Log(np.array(users), np.array(items), np.array(seconds), np.array(stars), rng)


def hexadecimal(number: int, length: int) -> str:
    """An id in the shape of a hash, the same for the same number."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:length]


ADJECTIVES = ("Silent", "Broken", "Golden", "Last", "Hidden", "Crimson", "Little", "Endless")
NOUNS = ("River", "Harbour", "Winter", "Garden", "Engine")


def title(item: int) -> str:
    """A title for each of the 40 items, all different."""
    return f"{ADJECTIVES[item % 8]} {NOUNS[item // 8]}"


def text_of(row: int) -> str:
    """A review of some words, with commas and quotes."""
    return ("Great, would buy again.", 'Not what "they" promised...', "It's okay; fine")[row % 3]


def quadruples(log: Log) -> list[tuple[int, int, int, int]]:
    """User, item, stars and second of each row, as Python's integers."""
    columns = (log.user, log.item, log.stars, log.seconds)
    return list(zip(*(column.tolist() for column in columns), strict=True))
