"""The cells of `benchmarks.robust`: data sets, subsamples and splits that nobody tuned on.

Interactions get the column names of `twotower`, so that a config need not name any. Each subsample
is drawn by seed 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.common import data_folder
from twotower.data.columns import ITEM_ID, TIMESTAMP, USER_ID
from twotower.data.synthetic.shop import generate

Split = Literal["default", "global_time", "last_out", "random", "unknown_users"]
"""`default` is the one that a config without `[data.split]` gets. `unknown_users` holds a tenth of
the users out of training; half of their rows are known when they are asked for, the rest is the
test part."""
UNKNOWN_SHARE = 0.1


@dataclass(frozen=True)
class Frames:
    """The tables of a cell, with the column names of `twotower`.

    Attributes:
        interactions: what is split, or, with a `test` frame, learned from.
        users, items: tables with features, None for none.
        test: the test part where it is given.
        known: rows of the test users that are in no part, but known when the users are asked for.
    """

    interactions: pl.DataFrame
    users: pl.DataFrame | None = None
    items: pl.DataFrame | None = None
    test: pl.DataFrame | None = None
    known: pl.DataFrame | None = None


@dataclass(frozen=True)
class Cell:
    """One row of the table.

    Attributes:
        about: what the data are, in a few words.
        make: reads or generates the tables.
        split: how they are split.
        large: takes many minutes, so that it runs only with `--large`.
    """

    about: str
    make: Callable[[], Frames]
    split: Split = "default"
    large: bool = False


# --- the data sets ----------------------------------------------------------------------------


def ml_100k(likes: bool = False) -> Frames:
    """All ratings as positives, or those of 4 and more."""
    folder = data_folder("ml-100k")
    rows = pl.read_parquet(folder / "interactions.parquet")
    if likes:
        rows = rows.filter(pl.col("rating") >= 4)
    tables = [pl.read_parquet(folder / f"{name}.parquet") for name in ("users", "items")]
    seconds = pl.col(TIMESTAMP).dt.epoch("s")
    return Frames(rows.select(USER_ID, ITEM_ID, seconds), *tables)


def ml_1m() -> Frames:
    """No times."""
    folder = data_folder("ml-1m")
    tables = [pl.read_parquet(folder / f"{name}.parquet") for name in ("users", "items")]
    return Frames(pl.read_parquet(folder / "interactions.parquet"), *tables)


def given(name: str) -> Frames:
    """A LightGCN split: its test part is given, there are no times and no tables."""
    folder = data_folder(name)
    return Frames(
        pl.read_parquet(folder / "train.parquet"), test=pl.read_parquet(folder / "test.parquet")
    )


def beauty() -> Frames:
    """The place in the user's sequence stands for the time."""
    rows = pl.read_parquet(data_folder("amazon-beauty") / "sequences.parquet")
    return Frames(rows.select(USER_ID, ITEM_ID, pl.col("position").cast(pl.Int64).alias(TIMESTAMP)))


def instruments() -> Frames:
    """All reviews as positives."""
    rows = pl.read_parquet(data_folder("amazon-musical-instruments") / "reviews.parquet")
    names = {"reviewerID": USER_ID, "asin": ITEM_ID, "unixReviewTime": TIMESTAMP}
    return Frames(rows.select(*names).rename(names))


def shop(num_users: int, num_items: int, num_interactions: int, seed: int) -> Frames:
    """The synthetic shop."""
    made = generate(
        num_users=num_users, num_items=num_items, num_interactions=num_interactions, seed=seed
    )
    return Frames(made.interactions, made.users, made.items.drop("cover"))


# --- what is done to them ---------------------------------------------------------------------


def some_users(frames: Frames, share: float) -> Frames:
    """All rows of a share of the users."""
    users = frames.interactions[USER_ID].unique().sort()
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.choice(len(users), round(share * len(users)), replace=False))
    kept = pl.col(USER_ID).is_in(users.gather(drawn).implode())
    test = None if frames.test is None else frames.test.filter(kept)
    table = None if frames.users is None else frames.users.filter(kept)
    return replace(frames, interactions=frames.interactions.filter(kept), test=test, users=table)


def some_rows(frames: Frames, share: float) -> Frames:
    """A share of the rows of all users, so that each has few; of the test part, too."""
    rng = np.random.default_rng(0)

    def drawn(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.filter(pl.Series(rng.random(len(rows)) < share))

    rows = drawn(frames.interactions)
    if frames.test is None:
        return replace(frames, interactions=rows)
    known = pl.col(USER_ID).is_in(rows[USER_ID].unique().implode())
    return replace(frames, interactions=rows, test=drawn(frames.test).filter(known))


def most_popular(frames: Frames, number: int) -> Frames:
    """The rows of the most popular items alone."""
    counts = frames.interactions[ITEM_ID].value_counts().sort("count", ITEM_ID, descending=True)
    kept = pl.col(ITEM_ID).is_in(counts[ITEM_ID].head(number).implode())
    items = None if frames.items is None else frames.items.filter(kept)
    return replace(frames, interactions=frames.interactions.filter(kept), items=items)


def skewed(frames: Frames, share: float) -> Frames:
    """A share of the rows, drawn in proportion to the popularity of their items, so that few items
    have most of them."""
    rows = frames.interactions
    counts: NDArray[np.float64] = rows.select(pl.len().over(ITEM_ID)).to_series().to_numpy() * 1.0
    drawn = np.random.default_rng(0).choice(
        len(rows), round(share * len(rows)), replace=False, p=counts / counts.sum()
    )
    return replace(frames, interactions=rows[np.sort(drawn)])


def sessions(frames: Frames, length: int) -> Frames:
    """Each user's rows cut into anonymous sessions of a few items, which begin at drawn hours of a
    year and have a minute between two rows."""
    place = pl.int_range(pl.len()).over(USER_ID)
    ordered = frames.interactions.sort(USER_ID, TIMESTAMP)
    rows = ordered.select(
        (pl.struct(USER_ID, place // length).rank("dense") - 1).alias(USER_ID),
        ITEM_ID,
        (place % length).cast(pl.Int64).alias("place"),
    )
    hours = np.random.default_rng(0).integers(365 * 24, size=rows[USER_ID].n_unique())
    start = pl.Series(1_700_000_000 + 3600 * hours).gather(rows[USER_ID])
    times = start + 60 * rows["place"]
    return Frames(rows.drop("place").with_columns(times.alias(TIMESTAMP)))


def hold_users_out(frames: Frames) -> Frames:
    """A tenth of the users as test users, of whom the first half of the rows is known: in order of
    time, or at random without times. Users with a single row are not drawn."""
    rng = np.random.default_rng(0)
    rows = frames.interactions
    order = TIMESTAMP if TIMESTAMP in rows.columns else "order"
    rows = rows.with_columns(order=rng.permutation(len(rows))).sort(USER_ID, order)
    users = rows.filter(pl.len().over(USER_ID) > 1)[USER_ID].unique().sort()
    drawn = np.sort(rng.choice(len(users), round(UNKNOWN_SHARE * len(users)), replace=False))
    held_out = pl.col(USER_ID).is_in(users.gather(drawn).implode())
    is_known = pl.int_range(pl.len()).over(USER_ID) < pl.len().over(USER_ID) // 2
    rows = rows.with_columns(is_known=is_known).drop("order")
    return replace(
        frames,
        interactions=rows.filter(~held_out).drop("is_known"),
        known=rows.filter(held_out & pl.col("is_known")).drop("is_known"),
        test=rows.filter(held_out & ~pl.col("is_known")).drop("is_known"),
    )


CELLS: dict[str, Cell] = {
    "ml-100k-time": Cell("MovieLens 100k, all ratings", ml_100k),
    "ml-100k-likes-time": Cell("ratings of 4 and more", lambda: ml_100k(likes=True)),
    "ml-100k-likes-last": Cell("the same", lambda: ml_100k(likes=True), "last_out"),
    "ml-100k-users-30": Cell("30 % of the users", lambda: some_users(ml_100k(), 0.3), "random"),
    "ml-100k-unknown": Cell(
        "the same, unknown users asked", lambda: some_users(ml_100k(), 0.3), "unknown_users"
    ),
    "ml-100k-users-10": Cell("10 % of the users", lambda: some_users(ml_100k(), 0.1), "last_out"),
    "ml-100k-rows-10": Cell("10 % of the rows", lambda: some_rows(ml_100k(), 0.1), "random"),
    "ml-100k-rows-3": Cell("3 % of the rows", lambda: some_rows(ml_100k(), 0.03), "random"),
    "ml-100k-items-100": Cell("the 100 most popular items", lambda: most_popular(ml_100k(), 100)),
    "ml-1m-users-3": Cell("MovieLens 1M, 3 % of the users", lambda: some_users(ml_1m(), 0.03)),
    "ml-1m-users-10": Cell("10 % of the users", lambda: some_users(ml_1m(), 0.1)),
    "ml-1m-rows-1": Cell("1 % of the rows", lambda: some_rows(ml_1m(), 0.01)),
    "ml-1m-rows-3": Cell("3 % of the rows", lambda: some_rows(ml_1m(), 0.03)),
    "ml-1m-skewed": Cell("5 % of the rows, of popular items", lambda: skewed(ml_1m(), 0.05)),
    "ml-1m-unknown": Cell(
        "10 % of the users, unknown ones asked",
        lambda: some_users(ml_1m(), 0.1),
        "unknown_users",
    ),
    "gowalla-users-1": Cell(
        "gowalla, 1 % of the users", lambda: some_users(given("gowalla"), 0.01)
    ),
    "gowalla-users-3": Cell("3 % of the users", lambda: some_users(given("gowalla"), 0.03)),
    "gowalla-rows-1": Cell("1 % of the rows", lambda: some_rows(given("gowalla"), 0.01)),
    "yelp-users-3": Cell("yelp2018, 3 % of the users", lambda: some_users(given("yelp2018"), 0.03)),
    "yelp-rows-1": Cell("1 % of the rows", lambda: some_rows(given("yelp2018"), 0.01)),
    "beauty-users-10": Cell(
        "Amazon Beauty, 10 % of the users", lambda: some_users(beauty(), 0.1), "last_out"
    ),
    "beauty-sessions": Cell(
        "10 % of the users, cut into sessions of up to 5",
        lambda: sessions(some_users(beauty(), 0.1), 5),
        "last_out",
    ),
    "beauty-unknown": Cell(
        "the same, unknown sessions asked",
        lambda: sessions(some_users(beauty(), 0.1), 5),
        "unknown_users",
    ),
    "instruments-time": Cell("Amazon Musical Instruments", instruments),
    "instruments-last": Cell("the same", instruments, "last_out"),
    "shop": Cell("synthetic shop", lambda: shop(1000, 600, 30_000, 300)),
    "shop-small": Cell("a small one", lambda: shop(300, 150, 6_000, 301)),
    "shop-sparse": Cell("few rows a user", lambda: shop(3000, 1500, 15_000, 302)),
    "shop-few-items": Cell("60 items", lambda: shop(1500, 60, 15_000, 303)),
    "gowalla-users-10": Cell(
        "10 % of the users of gowalla", lambda: some_users(given("gowalla"), 0.1), large=True
    ),
    "gowalla-rows-10": Cell(
        "10 % of the rows", lambda: some_rows(given("gowalla"), 0.1), large=True
    ),
    "yelp-rows-10": Cell(
        "yelp2018, 10 % of the rows", lambda: some_rows(given("yelp2018"), 0.1), large=True
    ),
    "beauty-users-30": Cell(
        "30 % of the users of Beauty",
        lambda: some_users(beauty(), 0.3),
        "last_out",
        large=True,
    ),
    "beauty": Cell("Amazon Beauty", beauty, "last_out", large=True),
    "ml-1m": Cell("MovieLens 1M", ml_1m, large=True),
    "gowalla": Cell("gowalla", lambda: given("gowalla"), large=True),
    "yelp2018": Cell("yelp2018", lambda: given("yelp2018"), large=True),
}
"""Name -> cell, as they are run."""
