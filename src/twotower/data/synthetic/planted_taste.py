"""The planted taste of the synthetic catalogue: how likely each item is a user's next one.

    P(i | u, t, c, seen) is proportional to exp(a_ui + b_ti + c_ci + d_i(seen)), and 0 for items
    that have not arrived by day t or that u has seen.

a_ui, what a user makes of an item, is the sum of

- popularity: a long tail over items;
- an interaction of age, region and genre: the young in the north and the east like what the old in
  the south and the west like. Both signs of each feature alone average out, so that no model that
  is linear in the features can represent it (an exclusive or);
- the mood of the item, which shows only in the words of its description;
- the look of its cover, which shows only in the image;
- price and release year, by occupation and age;
- factors of the single user and the single item, which only ids can learn.

b_ti is the drift: genres come and go, and an item is liked best in its first weeks. c_ci is the
context: what a device in the daytime or in the evening is good for. d_i(seen) is what was begun:
half of the items are parts of a series, which no column shows, and a user who has chosen a part
wants the next one, but not the one before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Nums = NDArray[np.int64]

NUM_DAYS = 180
GENRES = ("action", "comedy", "crime", "drama", "fantasy", "history", "romance", "science")
GENRE_SIGNS = np.array([1, -1, 1, -1, 1, -1, -1, 1], dtype=np.float32)
"""Which of the two camps of the exclusive or likes a genre."""
REGIONS = ("north", "east", "south", "west")
REGION_SIGNS = np.array([1, 1, -1, -1], dtype=np.float32)
OCCUPATIONS = ("student", "teacher", "engineer", "nurse", "artist", "retired")
THRIFT = np.array([1.0, 0.2, -0.6, 0.0, 0.4, -0.2], dtype=np.float32)
"""How much an occupation dislikes a high price."""
OLD = 40
"""The age at which taste turns."""
NUM_MOODS = 5
NUM_COLOURS = 3
NUM_SHAPES = 2
NUM_LOOKS = NUM_COLOURS * NUM_SHAPES
NUM_CONTEXTS = 4
"""Device (desktop, phone) x time of day (day, evening): 2 * phone + evening."""

POPULARITY, EXCLUSIVE_OR, MOOD, LOOK, BILINEAR, IDIOSYNCRATIC = 0.7, 1.8, 0.9, 0.9, 0.3, 0.7
DRIFT, NOVELTY, CONTEXT = 1.2, 1.5, 0.7
NOVELTY_DAYS = 15.0
SERIES, SERIES_SHARE, NUM_PARTS = 3.0, 0.5, 4
"""What is added to the next part's logit, the share of items in a series, the parts of each."""


@dataclass(frozen=True)
class UserTraits:
    """What is true of the users, (U,) or (U, ...) each; some of it is in no table."""

    age: Nums
    region: Nums
    occupation: Nums
    mood: Floats
    look: Floats
    factors: Floats

    @staticmethod
    def draw(num_users: int, rng: np.random.Generator) -> UserTraits:
        """Random users: `mood` (U, 5) and `look` (U, 6) are how much they like each."""
        region = rng.integers(len(REGIONS), size=num_users)
        occupation = rng.integers(len(OCCUPATIONS), size=num_users)
        age = np.clip(rng.normal(OLD, 15, num_users), 16, 85).astype(np.int64)
        return UserTraits(
            age=age,
            region=region,
            occupation=occupation,
            mood=_tastes(occupation, len(OCCUPATIONS), NUM_MOODS, rng),
            look=_tastes(region, len(REGIONS), NUM_LOOKS, rng),
            factors=rng.normal(size=(num_users, 4)).astype(np.float32),
        )


def _tastes(group: Nums, num_groups: int, width: int, rng: np.random.Generator) -> Floats:
    """(U, width): a taste of the group plus one of the single user, of deviation 1 together."""
    shared = rng.normal(0, 0.7, (num_groups, width))
    own = rng.normal(0, 0.7, (len(group), width))
    return (shared[group] + own).astype(np.float32)


@dataclass(frozen=True)
class ItemTraits:
    """What is true of the items, (N,) or (N, ...) each."""

    popularity: Floats
    genres: Floats
    mood: Nums
    look: Nums
    price: Floats
    release_year: Nums
    factors: Floats
    arrival: Nums
    next_part: Nums

    @staticmethod
    def draw(num_items: int, rng: np.random.Generator) -> ItemTraits:
        """Random items: `genres` (N, 8) is 1 for each of 1 to 3 genres, `arrival` the day,
        `next_part` the item that goes on where this one ends, or -1."""
        ranks = rng.permutation(num_items) + 1
        number = rng.integers(1, 4, num_items)
        order = np.argsort(rng.random((num_items, len(GENRES))), axis=1)
        arrival = arrivals(num_items, 0.7, rng)
        age = np.where(arrival > 0, 0, rng.geometric(0.08, num_items))
        return ItemTraits(
            popularity=(-POPULARITY * np.log(ranks / num_items)).astype(np.float32),
            genres=(order < number[:, None]).astype(np.float32),
            mood=rng.integers(NUM_MOODS, size=num_items),
            look=rng.integers(NUM_LOOKS, size=num_items),
            price=np.round(np.exp(rng.normal(2.3, 0.6, num_items)), 2).astype(np.float32),
            release_year=np.maximum(2024 - age, 1950),
            factors=rng.normal(size=(num_items, 4)).astype(np.float32),
            arrival=arrival,
            next_part=_next_parts(arrival, rng),
        )

    @property
    def genre_sign(self) -> Floats:
        """(N,) the mean sign of the item's genres, of deviation about 0.75."""
        return self.genre_shares @ GENRE_SIGNS

    @property
    def genre_shares(self) -> Floats:
        """(N, 8) the weight of each genre; an item's sum to 1."""
        shares: Floats = self.genres / self.genres.sum(axis=1, keepdims=True)
        return shares


def arrivals(number: int, share_present: float, rng: np.random.Generator) -> Nums:
    """(number,) the day of each arrival; `share_present` of them, rounded up, on day 0."""
    days = rng.integers(1, NUM_DAYS, number)
    days[rng.permutation(number)[: math.ceil(share_present * number)]] = 0
    return days


def _next_parts(arrival: Nums, rng: np.random.Generator) -> Nums:
    """(N,) the next part of the series of each item, in the order of their arrivals, or -1."""
    following = np.full(len(arrival), -1, dtype=np.int64)
    number = int(SERIES_SHARE * len(arrival)) // NUM_PARTS
    series = rng.permutation(len(arrival))[: number * NUM_PARTS].reshape(number, NUM_PARTS)
    series = np.take_along_axis(series, np.argsort(arrival[series], axis=1, kind="stable"), axis=1)
    following[series[:, :-1]] = series[:, 1:]
    return following


@dataclass(frozen=True)
class Taste:
    """The true probabilities, as factors: exact, and small enough to keep.

    Attributes:
        users: traits of U users.
        items: traits of N items.
        by_day: (NUM_DAYS, N) exp of the drift, 0 before the item's arrival.
        by_context: (4, N) exp of the context's effect.
        mood, look: how much an item's mood and the look of its cover count.
    """

    users: UserTraits
    items: ItemTraits
    by_day: Floats
    by_context: Floats
    mood: float = field(default=MOOD, kw_only=True)
    look: float = field(default=LOOK, kw_only=True)

    @staticmethod
    def draw(
        num_users: int,
        num_items: int,
        rng: np.random.Generator,
        *,
        mood: float = MOOD,
        look: float = LOOK,
    ) -> Taste:
        """Random users, items, trends."""
        users, items = UserTraits.draw(num_users, rng), ItemTraits.draw(num_items, rng)
        by_day, by_context = _by_day(items, rng), _by_context(items, rng)
        return Taste(users, items, by_day, by_context, mood=mood, look=look)

    def affinity(self, users: Nums) -> Floats:
        """exp(a_ui) of the users (B,) for all items: (B, N) float32."""
        affinity: Floats = np.exp(sum(self.effects(users).values())).astype(np.float32)
        return affinity

    def effects(self, users: Nums) -> dict[str, Floats]:
        """What a_ui is the sum of, for the users (B,): name -> (B, N), `popularity` (N,)."""
        who, what = self.users, self.items
        camp = np.where(who.age[users] < OLD, 1, -1) * REGION_SIGNS[who.region[users]]
        age, year = _standard(who.age)[users], _standard(what.release_year)
        thrift, price = THRIFT[who.occupation[users]], _standard(np.log(what.price))
        return {
            "popularity": what.popularity,
            "camp": EXCLUSIVE_OR * np.outer(camp, what.genre_sign),
            "mood": self.mood * who.mood[users][:, what.mood],
            "look": self.look * who.look[users][:, what.look],
            "price and year": -BILINEAR * (np.outer(age, year) + np.outer(thrift, price)),
            "factors": IDIOSYNCRATIC * who.factors[users] @ what.factors.T / 2,
        }

    def take(self, affinity: Floats, rows: Nums, items: Nums) -> None:
        """Tell `affinity` (B, N) that its `rows` (S,) have taken `items` (S,), no pair twice: each
        one's next part is wanted more, the item itself not again."""
        following = self.items.next_part[items]
        begun = following >= 0
        affinity[rows[begun], following[begun]] *= np.float32(math.exp(SERIES))
        affinity[rows, items] = 0

    def weights(self, affinity: Floats, days: Nums, contexts: Nums) -> Floats:
        """Probabilities but for their sum, of B requests for all items: (B, N) float32.

        Args:
            affinity: (B, N) as `affinity` gives it, after `take` of what was seen.
            days, contexts: (B,) when and in which context each request is made.
        """
        result: Floats = affinity * self.by_day[days]
        result *= self.by_context[contexts]
        return result


def _standard(values: NDArray[np.generic]) -> Floats:
    numbers = values.astype(np.float64)
    standard: Floats = (numbers - numbers.mean()) / max(float(numbers.std()), 1e-9)
    return standard.astype(np.float32)


def _by_day(items: ItemTraits, rng: np.random.Generator) -> Floats:
    days = np.arange(NUM_DAYS)[:, None]
    phases = rng.uniform(0, 2 * np.pi, len(GENRES))
    waves = np.sin(2 * np.pi * days / (1.5 * NUM_DAYS) + phases)
    trend = waves @ items.genre_shares.T
    age = days - items.arrival
    fresh = np.where(items.arrival > 0, np.exp(-np.maximum(age, 0) / NOVELTY_DAYS), 0)
    weights = np.exp(DRIFT * trend + NOVELTY * fresh)
    return np.where(age >= 0, weights, 0).astype(np.float32)


def _by_context(items: ItemTraits, rng: np.random.Generator) -> Floats:
    effects = rng.normal(0, CONTEXT, (NUM_CONTEXTS, len(GENRES)))
    return np.exp(effects @ items.genre_shares.T).astype(np.float32)
