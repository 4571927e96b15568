"""The NCF paper's protocol: ranks by hand, ties, copies, and what the tuning part may know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from benchmarks import ncf_protocol as ncf

NAN = float("nan")


@pytest.mark.parametrize(
    ("scores", "nums", "rank"),
    [
        ([3.0, 2.0, 1.0], [5, 6, 7], 1),
        ([1.0, 2.0, 0.0], [5, 6, 7], 2),
        ([1.0, 1.0, 1.0], [5, 6, 7], 3),
        ([1.0, 1.0, 0.0], [5, -1, 7], 1),
        ([NAN, 0.0, -1.0], [5, 6, 7], 3),
        ([1.0, NAN, 0.0], [5, 6, 7], 2),
    ],
    ids=["first", "second", "ties are lost", "copies are gone", "no number", "others' no number"],
)
def test_ranks_by_hand(scores: list[float], nums: list[int], rank: int) -> None:
    assert ncf.ranks(np.array([scores]), np.array([nums])).tolist() == [rank]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 users took 4 items each, and have one more to be tested on; the test item of user 7 is
    among its own negatives."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("ncf")
    taken = rng.permuted(np.tile(np.arange(130), (60, 1)), axis=1)[:, :5]
    users, items = np.repeat(np.arange(60), 4), taken[:, :4].ravel()
    pl.DataFrame({"user_id": users, "item_id": items}).write_parquet(path / "train.parquet")
    test = pl.DataFrame({"user_id": np.arange(60), "item_id": taken[:, 4]})
    test.write_parquet(path / "test.parquet")
    known = np.unique(taken)
    lists = [rng.choice(np.setdiff1d(known, row), 99, replace=False) for row in taken]
    lists[7][50] = taken[7, 4]
    negatives = pl.DataFrame({"user_id": np.arange(60), "negative_item_ids": np.stack(lists)})
    negatives.with_columns(pl.col("negative_item_ids").arr.to_list()).write_parquet(
        path / "negatives.parquet"
    )
    return path


def by_id(part: ncf.Part, row: int) -> tuple[int, list[int]]:
    """A user's id and the ids of its candidates."""
    items = part.train.items.ids
    nums = part.item_num[row]
    user = part.train.users.ids[int(part.user_num[row])]
    return user, [items[int(num)] if num >= 0 else -1 for num in nums]


def test_the_final_part_is_the_published_split(folder: Path) -> None:
    part = ncf.final_part(folder)
    test = pl.read_parquet(folder / "test.parquet")["item_id"]
    lists = pl.read_parquet(folder / "negatives.parquet")["negative_item_ids"].to_list()
    assert part.item_num.shape == (60, 100)
    assert len(part.train) == 240
    for row in range(60):
        user, candidates = by_id(part, row)
        expected = [test[user], *lists[user]]
        if user == 7:
            assert expected[51] == test[7]
            expected[51] = -1
        assert candidates == expected


def test_the_tuning_part_holds_one_training_item_a_user_out(folder: Path) -> None:
    part = ncf.tuning_part(folder, seed=3)
    train = pl.read_parquet(folder / "train.parquet")
    assert len(part.train) == 180
    assert sorted(part.user_num.tolist()) == sorted(
        part.train.users.nums(train["user_id"].unique())
    )
    for row in range(60):
        user, candidates = by_id(part, row)
        taken = train.filter(pl.col("user_id") == user)["item_id"].to_list()
        left = part.train.by_user()[int(part.user_num[row])]
        kept = {part.train.items.ids[int(num)] for num in left}
        assert {candidates[0]} | kept == set(taken)
        assert candidates[0] not in kept
        assert len(set(candidates)) == 100
        assert not set(candidates[1:]) & set(taken)
    again, other = ncf.tuning_part(folder, seed=3), ncf.tuning_part(folder, seed=4)
    assert np.array_equal(part.item_num, again.item_num)
    assert not np.array_equal(part.item_num, other.item_num)


def test_figures_of_a_scoring_function_that_is_known(folder: Path) -> None:
    part = ncf.tuning_part(folder, seed=3)
    held_out = dict(zip(part.user_num.tolist(), part.item_num[:, 0].tolist(), strict=True))

    def score(user_num: NDArray[np.int64], item_num: NDArray[np.int64]) -> NDArray[np.float64]:
        """The held-out item third for even users, eleventh for odd ones."""
        scores = -np.arange(item_num.shape[1], dtype=np.float64) + np.zeros((len(user_num), 1))
        right = item_num == np.array([[held_out[user]] for user in user_num.tolist()])
        return np.where(right, np.where(user_num % 2 == 0, -2.5, -10.5)[:, None], scores)

    even = float((part.user_num % 2 == 0).mean())
    measured = ncf.measure(score, part)
    assert measured["hr@10"] == pytest.approx(even)
    assert measured["ndcg@10"] == pytest.approx(even / np.log2(4))


@pytest.mark.real_data
def test_the_published_split(real_data: Path) -> None:
    part = ncf.final_part(real_data / "ncf-ml-1m")
    assert len(part.train) == 994_169
    assert part.item_num.shape == (6_040, 100)
    assert int((part.item_num < 0).sum()) == 156
