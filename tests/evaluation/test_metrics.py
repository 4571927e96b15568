"""Metrics: by hand, against plain Python, and what must hold of any ranking."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from twotower.data.arrays.ragged import Ragged
from twotower.evaluation.metrics import (
    METRICS,
    coverage,
    gini,
    hits,
    mean,
    novelty,
    num_relevant,
    ranking_metrics,
)

Ranking = NDArray[np.int64]


def ranking(*rows: list[int]) -> Ranking:
    return np.array(rows, dtype=np.int64)


def lists(*rows: list[int]) -> Ragged:
    keys = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    values = np.array([value for row in rows for value in row], dtype=np.int64)
    return Ragged.group(keys, values, len(rows))


def one(ranked: list[int], relevant: list[int], k: int) -> dict[str, float]:
    values = ranking_metrics(ranking(ranked), lists(relevant), k)
    return {name: float(value[0]) for name, value in values.items()}


def plainly(ranked: list[int], relevant: list[int], k: int) -> dict[str, float]:
    """The definitions, written out for one query without arrays."""
    outside = [f"outside {place}" for place, item in enumerate(relevant) if item < 0]
    wanted: set[object] = {item for item in relevant if item >= 0} | set(outside)
    if not wanted:
        return {f"{name}@{k}": math.nan for name in METRICS}
    taken: set[int] = set()
    gains: list[int] = []
    for item in ranked[:k]:
        gains.append(int(item >= 0 and item in wanted and item not in taken))
        taken.add(item)
    best = min(k, len(wanted))
    dcg = sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, best + 1))
    precisions = [sum(gains[:rank]) / rank for rank in range(1, len(gains) + 1)]
    return {
        f"recall@{k}": sum(gains) / len(wanted),
        f"capped_recall@{k}": sum(gains) / best,
        f"ndcg@{k}": dcg / ideal,
        f"hit@{k}": float(any(gains)),
        f"mrr@{k}": 1 / (gains.index(1) + 1) if any(gains) else 0.0,
        f"map@{k}": sum(p * g for p, g in zip(precisions, gains, strict=True)) / best,
    }


def test_by_hand() -> None:
    # Hits at ranks 2 and 4 of 4; 5 relevant items, one of them outside the catalogue.
    found = one([9, 1, 8, 2], [1, 2, 3, 4, -1], 4)
    ideal = 1 + 0.6309297535714575 + 0.5 + 0.43067655807339306
    assert found == pytest.approx(
        {
            "recall@4": 2 / 5,
            "capped_recall@4": 2 / 4,
            "ndcg@4": (0.6309297535714575 + 0.43067655807339306) / ideal,
            "hit@4": 1,
            "mrr@4": 1 / 2,
            "map@4": (1 / 2 + 2 / 4) / 4,
        }
    )


def test_the_best_ranking() -> None:
    short = one([5, 6, 7, 1], [5, 6], 4)
    assert short == pytest.approx({f"{name}@4": 1.0 for name in METRICS})
    many = one([5, 6, 7], [5, 6, 7, 8, 9, 10], 3)
    assert many == pytest.approx({f"{name}@3": 1.0 for name in METRICS} | {"recall@3": 3 / 6})


def test_cut_off_looks_at_no_more_than_k() -> None:
    assert one([1, 2, 3], [3], 2) == {f"{name}@2": 0.0 for name in METRICS}
    assert one([1, 2, 3], [3], 3)["recall@3"] == 1.0


def test_a_relevant_item_that_stands_twice_counts_once() -> None:
    assert one([1, 2], [1, 1, 1, 3], 2)["recall@2"] == 1 / 2


def test_each_item_outside_the_catalogue_counts_as_a_miss() -> None:
    assert one([1, -1], [1, -1, -1, -1], 2)["recall@2"] == 1 / 4
    assert one([-1, -1], [-1], 2) == {f"{name}@2": 0.0 for name in METRICS}


def test_an_item_that_is_answered_twice_is_a_hit_at_its_first_place() -> None:
    found = hits(ranking([4, 7, 4, 7], [7, 7, 7, 4]), lists([4, 9], [7]))
    assert found.tolist() == [[True, False, False, False], [True, False, False, False]]
    assert found.dtype == hits(ranking([1]), lists([])).dtype == np.bool_
    assert one([7, 7], [7], 2) == {f"{name}@2": 1.0 for name in METRICS}


def test_queries_do_not_see_each_others_items() -> None:
    # The largest item num of one query and the padding of the next are neighbours as keys.
    found = hits(ranking([5, -1], [0, -1], [5, 0]), lists([0], [5], [0]))
    assert found.tolist() == [[False, False], [False, False], [False, True]]


def test_fewer_answers_than_k() -> None:
    values = ranking_metrics(ranking([3], [4]), lists([3, 5], [5]), 10)
    assert values["recall@10"].tolist() == [0.5, 0.0]
    assert values["mrr@10"].tolist() == [1.0, 0.0]
    none = ranking_metrics(np.zeros((1, 0), dtype=np.int64), lists([3]), 10)
    assert {name: value.tolist() for name, value in none.items()} == {
        f"{name}@10": [0.0] for name in METRICS
    }


def test_a_query_without_a_relevant_item_says_nothing() -> None:
    values = ranking_metrics(ranking([1, 2], [1, 2]), lists([], [2]), 2)
    for value in values.values():
        assert np.isnan(value).tolist() == [True, False]
    assert mean(values["recall@2"]) == 1.0
    assert mean(ranking_metrics(ranking([1]), lists([]), 1)["recall@1"]) is None


def test_no_query() -> None:
    values = ranking_metrics(np.zeros((0, 5), dtype=np.int64), Ragged.empty(0), 5)
    assert {name: len(value) for name, value in values.items()} == {f"{n}@5": 0 for n in METRICS}


def test_num_relevant() -> None:
    assert num_relevant(lists([1, 1, 2], [], [-1, -1, 3], [2])).tolist() == [2, 0, 3, 1]


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="parameter") as k:
        ranking_metrics(ranking([1]), lists([1]), 0)
    assert str(k.value) == "The 'k' parameter must be at least 1. Got 0 instead."
    with pytest.raises(ValueError, match="parameter") as queries:
        ranking_metrics(ranking([1], [2]), lists([1]), 1)
    assert str(queries.value) == (
        "The 'relevant' parameter must hold a list for each row of 'ranked', 2. Got 1 instead."
    )


ITEMS = st.integers(-1, 12)


@given(
    st.lists(
        st.tuples(
            st.lists(ITEMS, min_size=6, max_size=6),
            st.lists(ITEMS, max_size=9),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 8),
)
def test_agrees_with_plain_python(queries: list[tuple[list[int], list[int]]], k: int) -> None:
    values = ranking_metrics(
        ranking(*(row for row, _ in queries)), lists(*(items for _, items in queries)), k
    )
    for place, (row, items) in enumerate(queries):
        found = {name: float(value[place]) for name, value in values.items()}
        assert found == pytest.approx(plainly(row, items, k), nan_ok=True)


PERMUTATIONS = st.permutations(range(8))
SETS = st.sets(st.integers(0, 11), min_size=1)


@given(PERMUTATIONS, SETS, st.integers(1, 10))
def test_all_lie_between_0_and_1(row: list[int], wanted: set[int], k: int) -> None:
    found = one(row, sorted(wanted), k)
    assert all(0 <= value <= 1 + 1e-12 for value in found.values())
    assert found[f"recall@{k}"] <= found[f"capped_recall@{k}"] <= found[f"hit@{k}"]
    assert found[f"map@{k}"] <= found[f"capped_recall@{k}"] + 1e-12
    assert found[f"mrr@{k}"] <= found[f"hit@{k}"]


@given(PERMUTATIONS, SETS, st.integers(1, 8), st.data())
def test_moving_a_relevant_item_up_never_lowers(
    row: list[int], wanted: set[int], k: int, data: st.DataObject
) -> None:
    places = [place for place, item in enumerate(row) if item in wanted]
    if not places:
        return
    start = data.draw(st.sampled_from(places))
    end = data.draw(st.integers(0, start))
    better = list(row)
    better.insert(end, better.pop(start))
    before, after = one(list(row), sorted(wanted), k), one(better, sorted(wanted), k)
    for name in before:
        assert after[name] >= before[name] - 1e-12, name


@given(SETS, st.integers(1, 10))
def test_a_perfect_ranking_has_recall_min_k_r_over_r(wanted: set[int], k: int) -> None:
    row = sorted(wanted) + [item for item in range(12) if item not in wanted]
    found = one(row, sorted(wanted), k)
    assert found[f"recall@{k}"] == pytest.approx(min(k, len(wanted)) / len(wanted))
    for name in ("capped_recall", "ndcg", "hit", "mrr", "map"):
        assert found[f"{name}@{k}"] == pytest.approx(1.0)


@given(PERMUTATIONS, SETS, st.integers(1, 8))
def test_an_item_outside_the_catalogue_lowers_recall_and_raises_nothing(
    row: list[int], wanted: set[int], k: int
) -> None:
    before, after = one(list(row), sorted(wanted), k), one(list(row), [*sorted(wanted), -1], k)
    assert after[f"recall@{k}"] == pytest.approx(
        before[f"recall@{k}"] * len(wanted) / (len(wanted) + 1)
    )
    assert all(after[name] <= before[name] + 1e-12 for name in before)


def test_30_000_queries_take_a_fraction_of_a_second() -> None:
    rng = np.random.default_rng(0)
    ranked = rng.integers(0, 40_000, (30_000, 20))
    keys = np.repeat(np.arange(30_000), 8)
    relevant = Ragged.group(keys, rng.integers(0, 40_000, len(keys)), 30_000)
    start = time.process_time()
    ranking_metrics(ranked, relevant, 20)
    assert time.process_time() - start < 1.0  # 0.1 s on an idle core


# --- what is recommended as a whole ---


def test_coverage() -> None:
    assert coverage(ranking([1, 2], [2, -1]), 8) == 2 / 8
    assert coverage(ranking([-1]), 8) == 0.0
    assert coverage(ranking([-1]), 0) == 0.0


def test_novelty() -> None:
    # Shares 4/8, 2/8, 2/8 of the rows: 1, 2 and 2 bits; no row: as half a row, 1/16, 4 bits.
    counts = np.array([0, 0, 4, 2, 2, 0])
    assert novelty(ranking([2, 3], [4, -1]), counts) == pytest.approx((1 + 2 + 2) / 3)
    assert novelty(ranking([5]), counts) == pytest.approx(4)
    # The item num 0 counts: shares 6/8 and 2/8.
    assert novelty(ranking([0, 1]), np.array([6, 2])) == pytest.approx((math.log2(8 / 6) + 2) / 2)
    assert novelty(ranking([-1]), counts) == 0.0
    assert novelty(ranking([1]), np.zeros(3, dtype=np.int64)) == 0.0


def test_gini() -> None:
    assert gini(ranking([0, 1], [2, 3]), 4) == pytest.approx(0)
    assert gini(ranking([2], [2], [2]), 4) == pytest.approx(3 / 4)
    # Counts 0, 0, 1, 3: (2 i - 5) weighs -3, -1, 1, 3; (1 + 9) / (4 * 4).
    assert gini(ranking([2, 3], [3, -1], [3, -1]), 4) == pytest.approx(10 / 16)
    assert gini(ranking([-1]), 4) == 0.0


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_gini_is_half_the_mean_difference_over_the_mean(items: list[int]) -> None:
    counts = np.bincount(items, minlength=7)
    differences = np.abs(counts[:, None] - counts[None, :]).mean()
    expected = differences / (2 * counts.mean())
    assert gini(np.array([items]), 7) == pytest.approx(expected, abs=1e-12)
