"""A synthetic shop with planted, non-linear preferences, and the best metrics that a model can
reach.

`planted_taste.py` describes the preferences. Users and items arrive over time, so that a split by
time has cold users and cold items.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.atomic import replace_file
from twotower.data.columns import ITEM_ID, TIMESTAMP, USER_ID
from twotower.data.synthetic.covers import draw_covers
from twotower.data.synthetic.planted_taste import (
    GENRES,
    LOOK,
    MOOD,
    NUM_DAYS,
    OCCUPATIONS,
    REGIONS,
    ItemTraits,
    Nums,
    Taste,
    UserTraits,
    arrivals,
)
from twotower.data.synthetic.upper_bound import ROWS_PER_CHUNK, Visits, best_metrics
from twotower.data.synthetic.words import descriptions, titles
from twotower.data.values.times import SECONDS_PER_DAY

START = 1_704_067_200
"""The first second of the log: 2024-01-01 UTC."""
EVENING = 18
"""The hour at which the evening begins."""
DEVICES = ("desktop", "phone")


@dataclass(frozen=True)
class SyntheticShop:
    """The tables of a shop, and the probabilities they were drawn from.

    Attributes:
        users: `user_id` ("u00012"), `age`, `region`, `occupation`.
        items: `item_id` ("i00042"), `title`, `description`, `genres` (list), `price`,
            `release_year`, `cover` (path of a PNG relative to the catalogue's folder, or null).
        interactions: `user_id`, `item_id`, `timestamp` (seconds), `device`, in the order of time;
            no pair occurs twice.
        taste: the true probabilities, in the order of the rows of `users` and `items`.
        seed: of the random generator.
    """

    users: pl.DataFrame
    items: pl.DataFrame
    interactions: pl.DataFrame
    taste: Taste
    seed: int


def generate(
    folder: Path | None = None,
    *,
    num_users: int = 2000,
    num_items: int = 1000,
    num_interactions: int = 60_000,
    seed: int = 0,
    mood: float = MOOD,
    look: float = LOOK,
) -> SyntheticShop:
    """Generate a shop. Time and memory grow with `num_interactions * num_items`.

    Args:
        folder: covers are written to `folder/covers/*.png`; None for no covers.
        num_users: each has at least one interaction.
        num_items: an item may have none.
        num_interactions: between `num_users` and a quarter of all pairs.
        seed: the same seed and numbers give the same catalogue.
        mood: how much the mood of an item counts, which shows only in its description.
        look: how much the look of an item counts, which shows only in its cover.

    Raises:
        ValueError: a number is out of range.
    """
    _check_numbers(num_users, num_items, num_interactions)
    rng = np.random.default_rng(seed)
    taste = Taste.draw(num_users, num_items, rng, mood=mood, look=look)
    requests = _draw_requests(num_users, num_items, num_interactions, rng)
    items_chosen = _choose(taste, requests, rng)
    catalogue = SyntheticShop(
        users=_user_table(taste.users),
        items=_item_table(taste.items, rng),
        interactions=_interaction_table(requests, items_chosen),
        taste=taste,
        seed=seed,
    )
    return catalogue if folder is None else _with_covers(catalogue, folder)


def _check_numbers(num_users: int, num_items: int, num_interactions: int) -> None:
    for name, value in (("num_users", num_users), ("num_items", num_items)):
        if value < 4:
            raise ValueError(f"The '{name}' parameter must be at least 4. Got {value} instead.")
    largest = num_users * num_items // 4
    if not num_users <= num_interactions <= largest:
        raise ValueError(
            f"The 'num_interactions' parameter must be between num_users ({num_users}) and a "
            f"quarter of all pairs ({largest}). Got {num_interactions} instead."
        )


# --- requests: user and time -------------------------------------------------------------------


@dataclass(frozen=True)
class _Requests:
    """Visits (T,), sorted by user and then by time."""

    user: Nums
    place: Nums
    seconds: Nums
    context: Nums

    @property
    def day(self) -> Nums:
        return self.seconds // SECONDS_PER_DAY


def _draw_requests(
    num_users: int, num_items: int, number: int, rng: np.random.Generator
) -> _Requests:
    arrival = arrivals(num_users, 0.75, rng)
    activity = rng.lognormal(0, 0.9, num_users) * (1 - arrival / NUM_DAYS)
    counts = _counts(activity, number, num_items // 2, rng)
    user = np.repeat(np.arange(num_users), counts)
    day = np.floor(arrival[user] + rng.random(number) * (NUM_DAYS - arrival[user]))
    hour = np.clip(rng.normal(17, 4.5, number), 0, 23.99)
    seconds = (day * SECONDS_PER_DAY + hour * 3600).astype(np.int64)
    seconds = seconds[np.lexsort((seconds, user))]
    evening = seconds % SECONDS_PER_DAY >= EVENING * 3600
    on_phone = rng.random(number) < np.where(evening, 0.7, 0.35)
    place = np.arange(number) - np.repeat(np.cumsum(counts) - counts, counts)
    return _Requests(user, place, seconds, 2 * on_phone + evening)


def _counts(
    activity: NDArray[np.float64], number: int, limit: int, rng: np.random.Generator
) -> Nums:
    """(U,) visits of each user: at least 1, at most `limit`, `number` in all."""
    counts = np.ones(len(activity), dtype=np.int64)
    while (left := number - int(counts.sum())) > 0:
        room = np.where(counts < limit, activity, 0)
        counts = np.minimum(counts + rng.multinomial(left, room / room.sum()), limit)
    return counts


# --- choices of items -------------------------------------------------------------------------


def _choose(taste: Taste, requests: _Requests, rng: np.random.Generator) -> Nums:
    """The item of each visit (T,), drawn from the true probabilities without repetition.

    The first choices of all users are drawn together, then all second choices, and so on.
    """
    chosen = np.empty(len(requests.user), dtype=np.int64)
    uniform = rng.random(len(requests.user))
    num_users = len(taste.users.age)
    for start in range(0, num_users, ROWS_PER_CHUNK):
        here = np.flatnonzero((requests.user >= start) & (requests.user < start + ROWS_PER_CHUNK))
        affinity = taste.affinity(np.arange(start, min(start + ROWS_PER_CHUNK, num_users)))
        here = here[np.argsort(requests.place[here], kind="stable")]
        steps = np.flatnonzero(np.diff(requests.place[here])) + 1
        for rows in np.split(here, steps):
            users = requests.user[rows] - start
            weights = taste.weights(affinity[users], requests.day[rows], requests.context[rows])
            chosen[rows] = _draw(weights, uniform[rows])
            taste.take(affinity, users, chosen[rows])
    return chosen


def _draw(weights: NDArray[np.float32], uniform: NDArray[np.float64]) -> Nums:
    """One item per row of `weights` (B, N), by inverse transform sampling."""
    totals = np.cumsum(weights, axis=1, dtype=np.float64)
    places: Nums = (totals <= (uniform * totals[:, -1])[:, None]).sum(axis=1)
    return places


# --- tables -----------------------------------------------------------------------------------


def _ids(letter: str, nums: Nums) -> pl.Series:
    return pl.Series(nums).cast(pl.String).str.zfill(5).str.replace("^", letter)


def _user_table(traits: UserTraits) -> pl.DataFrame:
    return pl.DataFrame(
        {
            USER_ID: _ids("u", np.arange(len(traits.age))),
            "age": traits.age,
            "region": np.array(REGIONS)[traits.region],
            "occupation": np.array(OCCUPATIONS)[traits.occupation],
        }
    )


def _item_table(traits: ItemTraits, rng: np.random.Generator) -> pl.DataFrame:
    number = len(traits.price)
    return pl.DataFrame(
        {
            ITEM_ID: _ids("i", np.arange(number)),
            "title": titles(number, rng),
            "description": descriptions(traits.mood, rng),
            "genres": [[GENRES[g] for g in np.flatnonzero(row)] for row in traits.genres],
            "price": traits.price,
            "release_year": traits.release_year,
            "cover": pl.Series([None] * number, dtype=pl.String),
        }
    )


def draw_new_items(folder: Path, number: int, *, seed: int) -> tuple[ItemTraits, pl.DataFrame]:
    """New items without interactions, to test a trained model on.

    Args:
        folder: covers are written to `folder/covers/*.png`.
        number: of items.
        seed: the same seed and number give the same items.

    Returns:
        Their true properties, and their rows with the columns of `SyntheticShop.items`.
    """
    rng = np.random.default_rng(seed)
    traits = ItemTraits.draw(number, rng)
    table = _item_table(traits, rng).with_columns(_ids("n", np.arange(number)).alias(ITEM_ID))
    return traits, _draw_covers(table, traits, folder, seed)


def _interaction_table(requests: _Requests, items: Nums) -> pl.DataFrame:
    return pl.DataFrame(
        {
            USER_ID: _ids("u", requests.user),
            ITEM_ID: _ids("i", items),
            TIMESTAMP: requests.seconds + START,
            "device": np.array(DEVICES)[requests.context // 2],
        }
    ).sort(TIMESTAMP, maintain_order=True)


def _with_covers(catalogue: SyntheticShop, folder: Path) -> SyntheticShop:
    items = _draw_covers(catalogue.items, catalogue.taste.items, folder, catalogue.seed)
    return replace(catalogue, items=items)


def _draw_covers(table: pl.DataFrame, traits: ItemTraits, folder: Path, seed: int) -> pl.DataFrame:
    names = [f"{item}.png" for item in table[ITEM_ID]]
    draw_covers(names, traits.look, folder / "covers", seed=seed)
    return table.with_columns(pl.Series("cover", [f"covers/{name}" for name in names]))


# --- files ------------------------------------------------------------------------------------

CONFIG = """\
# A synthetic shop: the young in the north and the east like what the old in the south and the west
# like, so that no model that is linear in the features can learn it.

[data]
interactions = "interactions.parquet"
users = "users.parquet"
items = "items.parquet"

[features.user.age]
type = "number"

[features.user.region]
type = "category"

[features.user.occupation]
type = "category"

[features.item.id]
dropout = 0.1

[features.item.genres]
type = "categories"

[features.item.price]
type = "number"
log = true

[features.item.release_year]
type = "number"

# The device matters, too, if each request sends it:
# [features.context.device]
# type = "category"

# Half of the items belong to series, which users follow in order. Only a history shows this:
# [features.user.history]
# type = "history"

[evaluation]
k = 10
"""


def write(catalogue: SyntheticShop, folder: Path, *, covers: bool = False) -> str:
    """Write users.parquet, items.parquet and interactions.parquet into `folder`.

    Args:
        catalogue: as `generate` gives it.
        folder: created if it does not exist.
        covers: also write covers/*.png and add their paths to the items file.

    Returns:
        The text of a `twotower.toml` for these files, to be written into the same folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if covers:
        catalogue = _with_covers(catalogue, folder)
    for name in ("users", "items", "interactions"):
        table: pl.DataFrame = getattr(catalogue, name)
        with replace_file(folder / f"{name}.parquet") as aside:
            table.write_parquet(aside)
    return CONFIG


# --- the best possible metrics ----------------------------------------------------------------


def best_reachable(
    catalogue: SyntheticShop, test: pl.DataFrame, k: int, seen: pl.DataFrame | None = None
) -> dict[str, float]:
    """recall@k and ndcg@k of the ranking by the true probabilities; no model is trained.

    For each user of the test part all items are ranked by the mean, over the user's test rows, of
    the probability that the item is the choice at that row's time and on its device, given the
    seen items, with the series that they began: P(i | u, t, c, seen). Items of `seen` are excluded
    from the user's ranking. This ranking has the largest expected number of hits, given the
    preferences, the history and the times of the requests of every user. recall@k = hits /
    relevant items, ndcg@k with binary gains, both as means over the users of the test part.

    Args:
        catalogue: the shop that the rows are from.
        test: rows with `user_id`, `item_id` of the catalogue's interactions.
        k: cut-off.
        seen: rows with `user_id`, `item_id` that are known at the beginning of the test part; None
            for all interactions of the catalogue that are not in `test`.

    Raises:
        ValueError: a test row is not one of the catalogue's interactions, or there is no test row.
    """
    pairs = [USER_ID, ITEM_ID]
    if seen is None:
        seen = catalogue.interactions.join(test, on=pairs, how="anti")
    rows = test.select(pairs).join(catalogue.interactions, on=pairs, how="inner").sort(USER_ID)
    if len(rows) != len(test) or not len(rows):
        raise ValueError(
            "The 'test' parameter must be rows of the catalogue's interactions, at least one. "
            f"Got {len(test)} rows, {len(rows)} of them known, instead."
        )
    day, context = _when(rows)
    visits = Visits(_nums(rows[USER_ID]), _nums(rows[ITEM_ID]), day, context)
    recall, ndcg = best_metrics(
        catalogue.taste, visits, k, seen=(_nums(seen[USER_ID]), _nums(seen[ITEM_ID]))
    )
    return {f"recall@{k}": float(recall.mean()), f"ndcg@{k}": float(ndcg.mean())}


def _nums(ids: pl.Series) -> Nums:
    return ids.str.slice(1).cast(pl.Int64).to_numpy()


def _when(rows: pl.DataFrame) -> tuple[Nums, Nums]:
    seconds = rows[TIMESTAMP].to_numpy() - START
    return seconds // SECONDS_PER_DAY, contexts_of(rows)


def contexts_of(rows: pl.DataFrame) -> Nums:
    """(T,) of interactions: 2 * phone + evening."""
    seconds = rows[TIMESTAMP].to_numpy() - START
    evening = seconds % SECONDS_PER_DAY >= EVENING * 3600
    phone = (rows["device"] == DEVICES[1]).to_numpy()
    contexts: Nums = 2 * phone.astype(np.int64) + evening
    return contexts


# --- for measuring speed ----------------------------------------------------------------------


def generate_interactions(
    num_rows: int, num_users: int, num_items: int, seed: int = 0
) -> pl.DataFrame:
    """Generate many rows fast, without preferences, for speed measurements.

    Items follow Zipf's law with exponent 1, users follow it with exponent 1/2. Pairs may occur
    more than once.

    Returns:
        `user_id`, `item_id`, `timestamp` (seconds, non-decreasing), all Int64, `num_rows` rows.
    """
    rng = np.random.default_rng(seed)
    user = np.floor(num_users * rng.random(num_rows) ** 2).astype(np.int64)
    item = np.floor((num_items + 1.0) ** rng.random(num_rows)).astype(np.int64) - 1
    return pl.DataFrame(
        {
            USER_ID: rng.permutation(num_users)[user],
            ITEM_ID: rng.permutation(num_items)[np.minimum(item, num_items - 1)],
            TIMESTAMP: START + np.arange(num_rows) * NUM_DAYS * SECONDS_PER_DAY // max(num_rows, 1),
        }
    )
