"""The cuts: complete, disjoint, near their fractions, and honest about time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.config import SplitConfig, SplitMethod
from twotower.data.dataset.splits import Parts, repeats, split_interactions
from twotower.data.tables.tables import Tables
from twotower.errors import DataError


def log(users: list[Any], times: list[int] | None = None) -> pl.DataFrame:
    """Interactions of these users, each with an item of its own, numbered in the file's order."""
    frame = pl.DataFrame({"user_id": users, "item_id": range(len(users))})
    return frame if times is None else frame.with_columns(pl.Series("timestamp", times))


def split(frame: pl.DataFrame, **config: Any) -> Parts:
    return split_interactions(Tables(frame), SplitConfig(**config))


def items(part: pl.DataFrame) -> list[int]:
    return part["item_id"].to_list()


@st.composite
def logs(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 30)), min_size=20))
    return log([user for user, _ in rows], [time for _, time in rows])


FRACTIONS = st.floats(0.05, 0.5)


def nearest_point(times: list[int], fraction: float) -> int:
    """Rows at or after the point in time that leaves nearest to a fraction of them, the earlier of
    two that do, by trying every one but the first."""
    points = sorted(set(times))[1:]
    left = [sum(time >= point for time in times) for point in points]
    return min(left, key=lambda rows: abs(rows - fraction * len(times)))


@given(st.lists(st.integers(0, 25), min_size=2, max_size=60), st.floats(0.01, 0.99))
def test_a_cut_in_time_is_the_nearest_of_all_points(times: list[int], fraction: float) -> None:
    if len(set(times)) < 2:
        return
    parts = split(log([1] * len(times), times), test_fraction=fraction, validation_fraction=0)
    assert len(parts.test) == nearest_point(times, fraction)


# --- every method -----------------------------------------------------------------------------


@given(logs(), st.sampled_from(["global_time", "last_out", "random"]), FRACTIONS, FRACTIONS)
def test_parts_are_disjoint_complete_and_in_the_files_order(
    frame: pl.DataFrame, method: SplitMethod, test: float, validation: float
) -> None:
    try:
        parts = split(frame, method=method, test_fraction=test, validation_fraction=validation)
    except DataError:
        return
    together = [items(parts.train), items(parts.validation), items(parts.test)]
    assert all(together)
    assert all(part == sorted(part) for part in together)
    assert sorted(chain(*together)) == items(frame)
    assert parts.train.columns == parts.validation.columns == parts.test.columns == frame.columns


def test_default_method_is_given_then_time_then_random() -> None:
    timed, plain = log([1] * 20, list(range(20))), log([1] * 20)
    assert split(timed).method == "global_time"
    assert split(plain).method == "random"
    with_test = Tables(timed, test=log([1], [30]))
    assert split_interactions(with_test, SplitConfig(test="t.csv")).method == "given"


@pytest.mark.parametrize("method", ["global_time", "last_out", "random"])
def test_no_validation_part_where_none_is_asked_for(method: SplitMethod) -> None:
    frame = log([1, 1, 2, 2] * 10, list(range(40)))
    parts = split(frame, method=method, validation_fraction=0)
    assert len(parts.validation) == 0
    assert parts.validation.schema == frame.schema
    assert len(parts.train) + len(parts.test) == 40


# --- global_time ------------------------------------------------------------------------------


def test_global_time_takes_the_latest_rows() -> None:
    times = [5, 1, 9, 3, 7, 2, 8, 4, 6, 0]
    parts = split(log([1] * 10, times), test_fraction=0.2, validation_fraction=0.25)
    assert parts.test["timestamp"].to_list() == [9, 8]
    assert parts.validation["timestamp"].to_list() == [7, 6]
    assert parts.train["timestamp"].to_list() == [5, 1, 3, 2, 4, 0]


def test_global_time_cuts_at_the_time_nearest_to_the_fraction() -> None:
    # The last times hold 1 row, then 3 rows together: 2 would part rows of equal time.
    times = [0, 1, 2, 3, 4, 5, 6, 8, 8, 9]
    assert len(split(log([1] * 10, times), test_fraction=0.3).test) == 3
    assert len(split(log([1] * 10, times), test_fraction=0.12).test) == 1


@given(logs(), FRACTIONS, FRACTIONS)
def test_global_time_never_tests_before_it_trains(
    frame: pl.DataFrame, test: float, validation: float
) -> None:
    try:
        parts = split(
            frame, method="global_time", test_fraction=test, validation_fraction=validation
        )
    except DataError:
        return
    ends = [(part["timestamp"].min(), part["timestamp"].max()) for part in _in_time(parts)]
    assert ends[0][1] < ends[1][0]  # type: ignore[operator]
    assert ends[1][1] < ends[2][0]  # type: ignore[operator]
    # The cut misses the fraction by less than the largest group of equal times.
    largest = int(frame["timestamp"].value_counts()["count"].max())  # type: ignore[arg-type]
    assert abs(len(parts.test) - test * len(frame)) <= largest


def _in_time(parts: Parts) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    return parts.train, parts.validation, parts.test


@given(logs(), st.randoms(use_true_random=False))
def test_global_time_does_not_depend_on_the_order_of_rows(frame: pl.DataFrame, chance: Any) -> None:
    order = list(range(len(frame)))
    chance.shuffle(order)
    try:
        parts = split(frame, method="global_time")
    except DataError:
        return
    shuffled = split(frame[order], method="global_time")
    assert set(items(shuffled.test)) == set(items(parts.test))
    assert set(items(shuffled.validation)) == set(items(parts.validation))


def test_global_time_needs_times() -> None:
    with pytest.raises(DataError) as caught:
        split(log([1] * 10), method="global_time")
    assert str(caught.value) == (
        "column 'timestamp': a split by global_time needs a timestamp for each interaction, but "
        "the data has none. Fix: name the timestamp column with [data.columns] timestamp, or set "
        "[data.split] method = 'random'."
    )


def test_global_time_with_one_time_only() -> None:
    with pytest.raises(DataError) as caught:
        split(log([1] * 10, [7] * 10), method="global_time")
    assert str(caught.value) == (
        "the split by global_time leaves the test part empty: all 10 rows have the same time, so "
        "no point in time separates them. Fix: set [data.split] method = 'random'."
    )


def test_validation_that_cannot_be_cut() -> None:
    with pytest.raises(DataError) as caught:
        split(log([1] * 10, [7] * 9 + [8]), method="global_time")
    assert str(caught.value) == (
        "the split by global_time leaves the validation part empty: 9 rows are left to cut it "
        "from. Fix: raise [data.split] validation_fraction, set it to 0 for no validation, or "
        "provide more rows."
    )


# --- last_out ---------------------------------------------------------------------------------


def test_last_out_by_hand() -> None:
    frame = log(["a", "b", "a", "a", "b", "c", "c", "c"], [3, 1, 1, 2, 2, 9, 8, 7])
    parts = split(frame, method="last_out")
    assert items(parts.test) == [0, 5]
    assert items(parts.validation) == [3, 6]
    assert items(parts.train) == [1, 2, 4, 7]  # b has two rows only: both train


def test_last_out_without_validation_tests_users_with_two_rows() -> None:
    parts = split(log(["a", "a", "b"], [2, 1, 5]), method="last_out", validation_fraction=0)
    assert items(parts.test) == [0]
    assert items(parts.train) == [1, 2]


def test_last_out_takes_the_files_order_for_missing_times() -> None:
    parts = split(log(["a", "b", "a", "b", "a", "b"]), method="last_out")
    assert items(parts.test) == [4, 5]
    assert items(parts.validation) == [2, 3]


def test_last_out_keeps_the_rows_of_a_user_at_one_time_together() -> None:
    # a has baskets of 1, 2 and 2 rows; b's rows are one basket and c has two: both train.
    frame = log(["a", "a", "a", "a", "a", "b", "b", "b", "c", "c"], [1, 2, 2, 5, 5, 9, 9, 9, 3, 4])
    parts = split(frame, method="last_out")
    assert items(parts.test) == [3, 4]
    assert items(parts.validation) == [1, 2]
    assert items(parts.train) == [0, 5, 6, 7, 8, 9]
    without = split(frame, method="last_out", validation_fraction=0)
    assert items(without.test) == [3, 4, 9]


def test_last_out_with_a_single_basket_a_user() -> None:
    with pytest.raises(DataError) as caught:
        split(log(["a", "a", "a", "b", "b", "b"], [1, 1, 1, 2, 2, 2]), method="last_out")
    assert str(caught.value) == (
        "the split by last_out leaves the test part empty: no user has enough times (3 "
        "with a validation part, 2 without). Fix: set [data.split] method = 'random', or provide "
        "more rows."
    )


@pytest.mark.parametrize("method", ["last_out", "global_time"])
def test_times_within_a_second_are_told_apart(method: SplitMethod) -> None:
    frame = log(["a"] * 4, [7, 7, 7, 7]).with_columns(
        timestamp_ns=pl.Series([900, 100, 500, 0], dtype=pl.Int32)
    )
    parts = split(frame, method=method, test_fraction=0.25, validation_fraction=0.3)
    assert items(parts.test) == [0]
    assert items(parts.validation) == [2]


def test_given_parts_within_a_second_do_not_leak() -> None:
    early = log(["a"], [7]).with_columns(timestamp_ns=pl.Series([1], dtype=pl.Int32))
    for train, test, leak in (
        (early, log(["a"], [8]), "No leak by time"),
        (log(["a"], [7]), early, "No leak by time"),
        (early, log(["a"], [7]), "The future leaks: 1 of 1"),
    ):
        assert given_split(Tables(train, test=test), validation_fraction=0).leak.startswith(leak)


@given(logs(), st.randoms(use_true_random=False))
def test_last_out_holds_out_each_users_last_baskets(frame: pl.DataFrame, chance: Any) -> None:
    order = list(range(len(frame)))
    chance.shuffle(order)
    try:
        parts = split(frame, method="last_out")
    except DataError:
        return
    assert set(items(split(frame[order], method="last_out").test)) == set(items(parts.test))
    for (user,), rows in frame.group_by("user_id"):
        times = sorted(set(rows["timestamp"]))
        mine = [part.filter(user_id=user)["timestamp"].to_list() for part in _in_time(parts)]
        trained = times if len(times) < 3 else times[:-2]
        assert [sorted(set(part)) for part in mine] == [
            trained,
            times[len(trained) :][:1],
            times[len(trained) :][1:],
        ]


def test_repeats_are_the_test_rows_whose_pair_is_known() -> None:
    known = pl.DataFrame({"user_id": ["a", "a", "b"], "item_id": [1, 1, 2]})
    test = pl.DataFrame({"user_id": ["a", "a", "b", "c"], "item_id": [1, 2, 2, 1]})
    assert repeats(known, test) == 2


def test_last_out_with_short_users_only() -> None:
    with pytest.raises(DataError) as caught:
        split(log([1, 1, 2, 2]), method="last_out")
    assert str(caught.value) == (
        "the split by last_out leaves the test part empty: no user has enough rows (3 "
        "with a validation part, 2 without). Fix: set [data.split] method = 'random', or provide "
        "more rows."
    )


# --- random -----------------------------------------------------------------------------------


@given(logs(), FRACTIONS, FRACTIONS, st.integers(0, 3))
def test_random_keeps_fractions_and_a_training_row_a_user(
    frame: pl.DataFrame, test: float, validation: float, seed: int
) -> None:
    config = SplitConfig(
        method="random", test_fraction=test, validation_fraction=validation, seed=seed
    )
    try:
        parts = split_interactions(Tables(frame), config)
    except DataError:
        return
    assert set(parts.train["user_id"]) == set(frame["user_id"])
    tested = dict(parts.test["user_id"].value_counts().iter_rows())
    for user, count in frame["user_id"].value_counts().iter_rows():
        assert abs(tested.get(user, 0) - count * test) <= 1 or count == 1
    again = split_interactions(Tables(frame), config)
    assert items(again.test) == items(parts.test)
    assert items(again.validation) == items(parts.validation)


def test_random_shares_add_up_for_users_with_few_rows() -> None:
    # 4 rows a user: a tenth is 0.4 of a row, which rounding user by user would make nothing.
    frame = log([user for user in range(500) for _ in range(4)])
    parts = split(frame, method="random")
    assert len(parts.test) == 200
    assert parts.test["user_id"].n_unique() == 200
    assert len(parts.validation) == 180


@pytest.mark.parametrize("seed", range(8))
def test_random_shares_are_of_the_rows_of_users_with_at_least_two(seed: int) -> None:
    # 200 users with a single row, 50 with 2, 50 with 4: a tenth of 300 rows.
    counts = [1] * 200 + [2] * 50 + [4] * 50
    frame = log([user for user, count in enumerate(counts) for _ in range(count)])
    parts = split(frame, method="random", validation_fraction=0, seed=seed)
    assert len(parts.test) == 30
    assert min(parts.test["user_id"]) >= 200


@pytest.mark.parametrize("ids", [int, "u{}".format])
def test_random_gives_the_same_parts_in_every_version(ids: Callable[[int], Any]) -> None:
    frame = log([ids(user) for user in range(3, 9) for _ in range(5)])
    config = {"method": "random", "test_fraction": 0.2, "validation_fraction": 0.2, "seed": 7}
    parts = split(frame, **config)
    assert items(parts.test) == [2, 7, 12, 18, 23, 26]
    assert items(parts.validation) == [0, 6, 11, 17, 20]


def test_random_keeps_a_row_of_each_user_at_any_fraction() -> None:
    frame = log([user for user in range(40) for _ in range(2)])
    parts = split(frame, method="random", test_fraction=0.9, validation_fraction=0)
    assert sorted(parts.test["user_id"]) == sorted(parts.train["user_id"]) == list(range(40))


def test_random_holds_out_rows_of_other_users_with_another_seed() -> None:
    frame = log([user for user in range(500) for _ in range(4)])
    first, second = (set(split(frame, method="random", seed=n).test["user_id"]) for n in (1, 2))
    # 200 of 500 users each: 80 in common by chance, all where the order of users is fixed.
    assert 50 < len(first & second) < 110


def test_random_takes_a_users_rows_alike() -> None:
    frame = log([user for user in range(2000) for _ in range(10)])
    places = np.array(items(split(frame, method="random").test)) % 10
    assert np.bincount(places, minlength=10).min() > 140  # 200 expected, deviation 13


def test_random_depends_on_the_seed_and_not_on_the_order_of_rows() -> None:
    frame = log([user for user in range(50) for _ in range(10)])
    first = split(frame, method="random", seed=1)
    assert items(split(frame, method="random", seed=2).test) != items(first.test)
    assert set(items(split(frame.reverse(), method="random", seed=1).test)) == set(
        items(first.test)
    )


def test_random_with_too_few_rows() -> None:
    with pytest.raises(DataError) as caught:
        split(log([1, 1, 2]), method="random")
    assert str(caught.value) == (
        "the split by random leaves the test part empty: 0.1 of the rows of users with at least 2 "
        "is less than one row. Fix: raise [data.split] test_fraction, or provide more rows."
    )


# --- given ------------------------------------------------------------------------------------


def given_split(tables: Tables, **config: Any) -> Parts:
    return split_interactions(tables, SplitConfig(test="test.csv", **config))


def test_given_takes_the_files_as_they_are() -> None:
    train, validation, test = log([1, 2]), log([1]), log([2])
    parts = given_split(Tables(train, validation=validation, test=test), validation="v.csv")
    assert parts.train is train
    assert parts.validation is validation
    assert parts.test is test


def test_given_cuts_validation_by_time_where_there_are_times() -> None:
    train = log([1] * 10, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    parts = given_split(Tables(train, test=log([1], [20])), validation_fraction=0.2)
    assert items(parts.validation) == [0, 1]
    assert items(parts.train) == list(range(2, 10))


def test_given_cuts_validation_by_chance_where_there_are_none() -> None:
    train = log([user for user in range(10) for _ in range(10)])
    parts = given_split(Tables(train, test=log([1])), validation_fraction=0.2)
    assert parts.validation["user_id"].value_counts()["count"].to_list() == [2] * 10
    assert set(parts.train["user_id"]) == set(range(10))
    without = given_split(Tables(train, test=log([1])), validation_fraction=0)
    assert len(without.validation) == 0
    assert len(without.train) == 100


def test_given_with_an_empty_test_file() -> None:
    with pytest.raises(DataError) as caught:
        given_split(Tables(log([1] * 20), test=log([1]).clear()))
    assert str(caught.value) == (
        "test.csv: the split by given leaves the test part empty: its file has no rows to test "
        "on. Fix: name another file with [data.split] test."
    )


def test_given_without_a_test_file() -> None:
    with pytest.raises(DataError) as caught:
        split_interactions(Tables(log([1] * 20)), SplitConfig(method="given", test="test.csv"))
    assert str(caught.value) == (
        "a given split needs a file with the test part, but none is set. "
        "Fix: set [data.split] test = 'FILE'."
    )


def test_nothing_left_to_train_on() -> None:
    with pytest.raises(DataError) as caught:
        given_split(Tables(log([1]).clear(), validation=log([1]), test=log([1])))
    assert str(caught.value) == (
        "the split by given leaves nothing to train on. Fix: lower [data.split] test_fraction and "
        "validation_fraction, or provide more rows."
    )


# --- what each says of itself -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "times", "leak"),
    [
        (
            "global_time",
            True,
            "No leak by time: every test row is later than every training row.",
        ),
        (
            "last_out",
            True,
            "The future leaks in part: a user's test rows are those of their last time, but later "
            "interactions of other users are in training.",
        ),
        (
            "last_out",
            False,
            "Whether the future leaks is unknown: there are no times, the file order was used "
            "instead, and later interactions of other users are in training.",
        ),
        (
            "random",
            True,
            "The future leaks: training contains rows that are later than test rows.",
        ),
    ],
)
def test_leak(method: SplitMethod, times: bool, leak: str) -> None:
    frame = log([1, 1, 2, 2] * 10, list(range(40)) if times else None)
    assert split(frame, method=method).leak == leak


def test_leak_of_given_files() -> None:
    train = log([1] * 20, list(range(20)))

    def leak(times: list[int] | None) -> str:
        test = log([1] * 3, times)
        return given_split(Tables(train, test=test), validation_fraction=0).leak

    assert leak([5, 30, 18]) == (
        "The future leaks: 2 of 3 given test rows are older than the newest training row."
    )
    assert leak([19, 30, 31]) == (
        "No leak by time: the given test part starts where the training part ends."
    )
    assert leak(None) == ("Whether the future leaks is unknown: the given parts have no times.")
