"""The synthetic catalogue: what was planted is there, and the best that can be reached is best."""

from __future__ import annotations

import time
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image

from twotower.config import SplitConfig, parse_config
from twotower.data.dataset.splits import Parts, split_interactions
from twotower.data.synthetic.covers import COLOURS
from twotower.data.synthetic.planted_taste import GENRE_SIGNS, GENRES, NUM_DAYS, OLD, SERIES, Taste
from twotower.data.synthetic.shop import (
    START,
    SyntheticShop,
    best_reachable,
    generate,
    generate_interactions,
    write,
)
from twotower.data.synthetic.upper_bound import Visits, best_metrics
from twotower.data.synthetic.words import MOOD_WORDS
from twotower.data.tables.tables import Tables


@pytest.fixture(scope="module")
def catalogue() -> SyntheticShop:
    return generate()


@pytest.fixture(scope="module")
def parts(catalogue: SyntheticShop) -> Parts:
    return split_interactions(Tables(catalogue.interactions), SplitConfig())


def wide(catalogue: SyntheticShop) -> pl.DataFrame:
    return catalogue.interactions.join(catalogue.users, on="user_id").join(
        catalogue.items, on="item_id"
    )


# --- the tables -------------------------------------------------------------------------------


def test_the_numbers_asked_for(catalogue: SyntheticShop) -> None:
    assert len(catalogue.users) == catalogue.users["user_id"].n_unique() == 2000
    assert len(catalogue.items) == catalogue.items["item_id"].n_unique() == 1000
    assert len(catalogue.interactions) == 60_000
    assert set(catalogue.interactions["user_id"]) == set(catalogue.users["user_id"])
    assert set(catalogue.interactions["item_id"]) <= set(catalogue.items["item_id"])


def test_no_pair_twice(catalogue: SyntheticShop) -> None:
    assert not catalogue.interactions.select("user_id", "item_id").is_duplicated().any()


def test_columns(catalogue: SyntheticShop) -> None:
    first = catalogue.users.row(0, named=True), catalogue.items.row(0, named=True)
    assert list(first[0]) == ["user_id", "age", "region", "occupation"]
    assert first[0]["user_id"] == "u00000"
    assert list(first[1]) == [
        *("item_id", "title", "description", "genres"),
        *("price", "release_year", "cover"),
    ]
    assert first[1]["item_id"] == "i00000"
    assert first[1]["cover"] is None
    assert catalogue.interactions.columns == ["user_id", "item_id", "timestamp", "device"]
    assert catalogue.interactions["timestamp"].is_sorted()
    assert catalogue.users.null_count().sum_horizontal().item() == 0


@pytest.mark.parametrize(("users", "items", "rows"), [(4, 4, 4), (30, 10, 75), (5, 400, 500)])
def test_small_and_odd_numbers(users: int, items: int, rows: int) -> None:
    small = generate(num_users=users, num_items=items, num_interactions=rows, seed=3)
    assert len(small.interactions) == rows
    assert small.interactions["user_id"].n_unique() == users
    assert not small.interactions.select("user_id", "item_id").is_duplicated().any()


def test_the_same_seed_gives_the_same_catalogue() -> None:
    def small(seed: int) -> SyntheticShop:
        return generate(num_users=50, num_items=40, num_interactions=300, seed=seed)

    first, again = small(1), small(1)
    for name in ("users", "items", "interactions"):
        assert getattr(first, name).equals(getattr(again, name))
    assert not small(2).interactions.equals(first.interactions)


def test_numbers_that_cannot_be_had() -> None:
    with pytest.raises(ValueError, match="num_items") as caught:
        generate(num_items=3)
    assert str(caught.value) == "The 'num_items' parameter must be at least 4. Got 3 instead."
    with pytest.raises(ValueError, match="num_interactions") as caught:
        generate(num_users=10, num_items=10, num_interactions=26)
    assert str(caught.value) == (
        "The 'num_interactions' parameter must be between num_users (10) and a quarter of all "
        "pairs (25). Got 26 instead."
    )


def test_it_takes_seconds_and_not_minutes() -> None:
    start = time.perf_counter()
    generate()
    assert time.perf_counter() - start < 10  # about 0.7 s on a free core


# --- what is planted --------------------------------------------------------------------------


def sign_of_choices(rows: pl.DataFrame) -> float:
    """The mean sign of the genres of the chosen items: which camp the choosers belong to."""
    signs = dict(zip(GENRES, GENRE_SIGNS.tolist(), strict=True))
    return float(rows["genres"].list.eval(pl.element().replace_strict(signs)).list.mean().mean())  # type: ignore[arg-type]


def test_taste_is_an_exclusive_or_of_age_and_region(catalogue: SyntheticShop) -> None:
    rows = wide(catalogue)
    young, northern = pl.col("age") < OLD, pl.col("region").is_in(["north", "east"])
    base = sign_of_choices(rows)
    for one_camp in (young & northern, ~young & ~northern):
        assert sign_of_choices(rows.filter(one_camp)) > base + 0.25
    for other_camp in (young & ~northern, ~young & northern):
        assert sign_of_choices(rows.filter(other_camp)) < base - 0.25


def test_neither_age_nor_region_alone_tells_the_camp(catalogue: SyntheticShop) -> None:
    taste = catalogue.taste
    young, northern = taste.users.age < OLD, np.isin(taste.users.region, (0, 1))
    camps = np.where(young == northern, 1, -1)
    assert abs(np.corrcoef(camps, taste.users.age)[0, 1]) < 0.1
    for region in range(4):
        assert abs(camps[taste.users.region == region].mean()) < 0.15


def test_popularity_has_a_long_tail(catalogue: SyntheticShop) -> None:
    counts = catalogue.interactions["item_id"].value_counts()["count"].sort(descending=True)
    assert counts.head(100).sum() / 60_000 > 0.25
    assert counts[500:].sum() / 60_000 < 0.25


def test_only_the_description_tells_the_mood(catalogue: SyntheticShop) -> None:
    moods = catalogue.taste.items.mood.tolist()
    for mood, text in zip(moods, catalogue.items["description"], strict=True):
        words = set(text.lower().replace(",", "").replace(".", "").split())
        found = [len(words & set(mood_words)) for mood_words in MOOD_WORDS]
        assert found[mood] == 3
        assert sum(found) == 3
    numbers = catalogue.items.select("price", "release_year").to_numpy()
    assert np.abs(np.corrcoef(numbers.T, moods)[2, :2]).max() < 0.1


def test_users_like_moods_and_looks_of_their_own(catalogue: SyntheticShop) -> None:
    taste = catalogue.taste
    users = catalogue.interactions["user_id"].str.slice(1).cast(pl.Int64).to_numpy()
    items = catalogue.interactions["item_id"].str.slice(1).cast(pl.Int64).to_numpy()
    assert taste.users.mood[users, taste.items.mood[items]].mean() > 0.4  # 0 by chance
    assert taste.users.look[users, taste.items.look[items]].mean() > 0.4


def test_genres_come_and_go(catalogue: SyntheticShop) -> None:
    rows = wide(catalogue).explode("genres")
    half = START + NUM_DAYS * 86_400 // 2
    early, late = (
        rows.filter(pl.col("timestamp") < half)["genres"].value_counts(normalize=True),
        rows.filter(pl.col("timestamp") >= half)["genres"].value_counts(normalize=True),
    )
    both = early.join(late, on="genres")
    ratio = both["proportion_right"] / both["proportion"]
    assert float(ratio.max()) > 1.5  # type: ignore[arg-type]
    assert float(ratio.min()) < 0.7  # type: ignore[arg-type]


def test_the_device_matters(catalogue: SyntheticShop) -> None:
    rows = wide(catalogue).explode("genres")
    share = {
        device: dict(
            rows.filter(pl.col("device") == device)["genres"]
            .value_counts(normalize=True)
            .iter_rows()
        )
        for device in ("desktop", "phone")
    }
    ratios = [share["phone"][genre] / share["desktop"][genre] for genre in GENRES]
    assert max(ratios) / min(ratios) > 1.3


def test_series_have_four_parts_in_the_order_of_their_arrival(catalogue: SyntheticShop) -> None:
    items = catalogue.taste.items
    first = np.setdiff1d(np.arange(1000), items.next_part[items.next_part >= 0])
    starts = first[items.next_part[first] >= 0]
    assert len(starts) == 125
    parts = [starts]
    while (items.next_part[parts[-1]] >= 0).any():
        parts.append(items.next_part[parts[-1]])
    series = np.stack(parts, axis=1)
    assert series.shape == (125, 4)
    assert len(np.unique(series)) == 500
    assert (np.diff(items.arrival[series], axis=1) >= 0).all()


def test_who_has_taken_a_part_takes_the_next_one_and_not_the_one_before(
    catalogue: SyntheticShop,
) -> None:
    following = catalogue.taste.items.next_part
    rows = catalogue.interactions.select(
        pl.col("user_id"),
        item=pl.col("item_id").str.slice(1).cast(pl.Int64),
        place=pl.int_range(pl.len()),
    )
    rows = rows.with_columns(next_item=pl.Series(following)[rows["item"].to_list()])
    both = rows.join(rows, left_on=["user_id", "next_item"], right_on=["user_id", "item"])
    assert len(both) > 3000
    assert (both["place"] < both["place_right"]).mean() > 0.8  # type: ignore[operator]


def test_taking_a_part_raises_the_next_and_closes_its_own(catalogue: SyntheticShop) -> None:
    taste = catalogue.taste
    part = int(np.flatnonzero(taste.items.next_part >= 0)[0])
    following = int(taste.items.next_part[part])
    before = taste.affinity(np.array([3, 4]))
    after = before.copy()
    taste.take(after, np.array([1]), np.array([part]))
    assert after[1, part] == 0
    assert after[1, following] == pytest.approx(before[1, following] * np.exp(SERIES), rel=1e-5)
    changed = np.argwhere(after != before).tolist()
    assert sorted(changed) == sorted([[1, part], [1, following]])


def test_nothing_is_chosen_before_it_has_arrived(catalogue: SyntheticShop) -> None:
    items = catalogue.interactions["item_id"].str.slice(1).cast(pl.Int64).to_numpy()
    days = (catalogue.interactions["timestamp"].to_numpy() - START) // 86_400
    assert (days >= catalogue.taste.items.arrival[items]).all()
    assert days.min() >= 0
    assert days.max() < NUM_DAYS


def test_a_split_by_time_has_cold_users_and_cold_items(parts: Parts) -> None:
    for column in ("user_id", "item_id"):
        known = set(parts.train[column]) | set(parts.validation[column])
        cold = [value not in known for value in parts.test[column]]
        assert 0.02 < np.mean(cold) < 0.2


# --- covers and files -------------------------------------------------------------------------


def test_covers_show_the_colour(tmp_path: Path) -> None:
    drawn = generate(tmp_path, num_users=20, num_items=30, num_interactions=60)
    looks = drawn.taste.items.look
    for cover, look in zip(drawn.items["cover"], looks, strict=True):
        image = np.asarray(Image.open(tmp_path / cover), dtype=np.float64)
        assert image.shape == (64, 64, 3)
        coloured = image[image.max(axis=2) - image.min(axis=2) > 30]
        distances = np.abs(np.array(COLOURS) - coloured.mean(axis=0)).sum(axis=1)
        assert distances.argmin() == look // 2
        # Of its bounding box a rectangle fills all and an ellipse pi / 4.
        rows, columns = np.nonzero(image.max(axis=2) - image.min(axis=2) > 30)
        filled = len(rows) / ((np.ptp(rows) + 1) * (np.ptp(columns) + 1))
        assert (filled > 0.9) == (look % 2 == 1)


def test_write(tmp_path: Path) -> None:
    small = generate(num_users=20, num_items=30, num_interactions=60)
    text = write(small, tmp_path / "shop")
    files = sorted(path.name for path in (tmp_path / "shop").iterdir())
    assert files == ["interactions.parquet", "items.parquet", "users.parquet"]
    assert pl.read_parquet(tmp_path / "shop" / "interactions.parquet").equals(small.interactions)
    config = parse_config(tomllib.loads(text))
    for side, table in (("user", small.users), ("item", small.items)):
        for name, feature in config.features.enabled(side).items():  # type: ignore[arg-type]
            assert feature.type == "id" or name in table.columns
    assert write(small, tmp_path / "shop", covers=True) == text
    with_covers = pl.read_parquet(tmp_path / "shop" / "items.parquet")
    assert all((tmp_path / "shop" / cover).is_file() for cover in with_covers["cover"])


# --- the best reachable -----------------------------------------------------------------------


class Flat(Taste):
    """A taste that is the same for everybody at all times: these weights."""

    weights_of_items: NDArray[np.float32] = np.array([4, 3, 2, 1], dtype=np.float32)

    def __init__(self) -> None:
        pass

    def affinity(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.tile(self.weights_of_items, (len(users), 1))

    def take(
        self,
        affinity: NDArray[np.float32],
        rows: NDArray[np.int64],
        items: NDArray[np.int64],
    ) -> None:
        affinity[rows, items] = 0

    def weights(
        self,
        affinity: NDArray[np.float32],
        days: NDArray[np.int64],
        contexts: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        return affinity


def metrics(
    visits: list[tuple[int, int]], seen: list[tuple[int, int]], k: int
) -> tuple[list[float], list[float]]:
    user, item = np.array(visits, dtype=np.int64).T
    nothing = np.zeros(len(visits), dtype=np.int64)
    before = np.array(seen, dtype=np.int64).reshape(-1, 2).T
    recall, ndcg = best_metrics(
        Flat(), Visits(user, item, nothing, nothing), k, seen=(before[0], before[1])
    )
    return recall.tolist(), ndcg.tolist()


def test_best_metrics_by_hand() -> None:
    # All rank 0, 1, 2, 3. User 5 wants 1 (place 2) and 3 (place 4), user 7 wants 0 (place 1).
    recall, ndcg = metrics([(5, 3), (7, 0), (5, 1)], [], 2)
    assert recall == [0.5, 1.0]
    second = 1 / np.log2(3)
    assert ndcg == pytest.approx([second / (1 + second), 1.0])


def test_best_metrics_leave_out_what_was_seen() -> None:
    # User 5 has seen 0 and 2: 1 comes first and 3 second; what others have seen does not matter.
    recall, ndcg = metrics([(5, 3), (7, 1)], [(5, 0), (5, 2), (6, 1), (9, 1)], 2)
    assert recall == [1.0, 1.0]
    assert ndcg == pytest.approx([1 / np.log2(3), 1 / np.log2(3)])


def test_best_metrics_with_k_beyond_the_catalogue() -> None:
    recall, ndcg = metrics([(5, 3), (5, 2)], [], 50)
    assert recall == [1.0]
    expected = (1 / np.log2(4) + 1 / np.log2(5)) / (1 + 1 / np.log2(3))
    assert ndcg == pytest.approx([expected])


def test_the_truth_beats_popularity_and_the_truth_without_its_interaction(
    catalogue: SyntheticShop, parts: Parts
) -> None:
    best = best_reachable(catalogue, parts.test, 10)
    users = catalogue.taste.users
    everyone_young = replace(users, age=np.full_like(users.age, 20))
    no_camps = replace(catalogue, taste=replace(catalogue.taste, users=everyone_young))
    same = replace(
        users,
        mood=np.zeros_like(users.mood),
        look=np.zeros_like(users.look),
        factors=np.zeros_like(users.factors),
    )
    alike = replace(catalogue, taste=replace(catalogue.taste, users=same))
    items = catalogue.taste.items
    single = replace(items, next_part=np.full_like(items.next_part, -1))
    no_series = replace(catalogue, taste=replace(catalogue.taste, items=single))
    assert 0.25 < best["recall@10"] < 0.4
    assert best_reachable(no_camps, parts.test, 10)["recall@10"] < 0.7 * best["recall@10"]
    assert best_reachable(alike, parts.test, 10)["ndcg@10"] < 0.7 * best["ndcg@10"]
    assert best_reachable(no_series, parts.test, 10)["ndcg@10"] < 0.93 * best["ndcg@10"]


def test_seen_defaults_to_all_that_is_not_tested(catalogue: SyntheticShop, parts: Parts) -> None:
    known = pl.concat([parts.train, parts.validation])
    assert best_reachable(catalogue, parts.test, 5) == best_reachable(
        catalogue, parts.test, 5, known
    )
    nothing = best_reachable(catalogue, parts.test, 5, known.clear())
    assert nothing["recall@5"] < best_reachable(catalogue, parts.test, 5)["recall@5"]


def test_best_reachable_needs_rows_of_the_catalogue(catalogue: SyntheticShop) -> None:
    unknown = pl.DataFrame({"user_id": ["u00000"], "item_id": ["i99999"]})
    with pytest.raises(ValueError, match="'test'") as caught:
        best_reachable(catalogue, unknown, 10)
    assert str(caught.value) == (
        "The 'test' parameter must be rows of the catalogue's interactions, at least one. Got 1 "
        "rows, 0 of them known, instead."
    )


# --- for speed --------------------------------------------------------------------------------


def test_generate_interactions() -> None:
    rows = generate_interactions(100_000, 1000, 500, seed=1)
    assert rows.schema == {"user_id": pl.Int64, "item_id": pl.Int64, "timestamp": pl.Int64}
    assert len(rows) == 100_000
    assert rows["timestamp"].is_sorted()
    assert set(rows["user_id"]) <= set(range(1000))
    assert set(rows["item_id"]) <= set(range(500))
    # Zipf: the share of the most frequent item is log 2 / log 501 = 11%.
    counts = rows["item_id"].value_counts()["count"].sort(descending=True)
    assert 0.10 < counts[0] / 100_000 < 0.125
    # Users: sqrt(1 / 1000) = 3%.
    assert 0.028 < int(rows["user_id"].value_counts()["count"].max()) / 100_000 < 0.035  # type: ignore[arg-type]
    assert generate_interactions(100_000, 1000, 500, seed=1).equals(rows)
    assert len(generate_interactions(0, 10, 10)) == 0
