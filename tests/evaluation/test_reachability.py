"""What of a test part can be found, worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from twotower.data.arrays.ragged import Ragged
from twotower.evaluation.reachability import (
    Reachability,
    already_seen,
    as_percent,
    fitting_split,
    ideal_ceiling,
    reachable_ceiling,
)


def lists(*values: list[int]) -> Ragged:
    keys = np.repeat(np.arange(len(values)), [len(part) for part in values])
    return Ragged.group(
        keys, np.concatenate([np.array(part, dtype=np.int64) for part in values]), len(values)
    )


def test_the_ceiling_by_hand() -> None:
    # k = 2. The first query has 3 relevant items, one of which is masked: 2 of 3 can be found, and
    # both are on top. The second has 2, one outside: 1 of 2, on top, where the best has 2. The
    # third has 1, masked. The fourth has one item in two rows.
    relevant = lists([4, 5, 6], [7, -1], [4], [5, 5])
    can_be_found = np.array([True, False, True, True, True, False, True, True])
    found = reachable_ceiling(relevant, can_be_found, k=2)
    assert found["recall@2"] == pytest.approx((2 / 3 + 1 / 2 + 0 + 1) / 4)
    one, two = 1.0, 1.0 + 1 / math.log2(3)
    assert found["ndcg@2"] == pytest.approx((1 + one / two + 0 + 1) / 4)


def test_without_anything_masked_the_ceiling_is_that_of_k() -> None:
    found = reachable_ceiling(lists([4, 5, 6, 7], [4]), np.ones(5, dtype=np.bool_), k=2)
    assert found == {"recall@2": pytest.approx((0.5 + 1) / 2), "ndcg@2": 1.0}


def test_the_best_of_all_wherever_the_items_are() -> None:
    # 2 of 3 rows outside the catalogue, 1 of 1; a query without a relevant item says nothing.
    found = ideal_ceiling(lists([-1, -1, 4], [5, 5], []), k=2)
    assert found == {"recall@2": pytest.approx((2 / 3 + 1) / 2), "ndcg@2": 1.0}


def test_what_was_already_seen() -> None:
    # As a key of the second query, -1 falls on the last item of the first.
    relevant, seen = lists([3, 5, 5], [2, -1]), lists([5, 9], [-1, 3])
    assert already_seen(relevant, seen).tolist() == [False, True, True, False, False]
    assert already_seen(relevant, lists([], [])).tolist() == [False] * 5


@pytest.mark.parametrize(
    ("rows", "has_times", "expected"),
    [
        ([3, 4, 1, 0], True, "last_out"),
        ([3, 4, 1, 0], False, "random"),
        ([2, 2, 1, 0], True, "random"),
        ([1, 1, 1, 5], True, None),
        ([1, 1], False, None),
    ],
)
def test_the_split_that_fits(rows: list[int], has_times: bool, expected: str | None) -> None:
    assert fitting_split(np.array(rows), has_times=has_times) == expected


REACH = Reachability(
    k=20,
    users=1_000,
    unknown_users=812,
    fallback_users=700,
    rows=2_000,
    unknown_items=10,
    outside=5,
    masked=0,
    ceiling={"recall@20": 0.91, "ndcg@20": 0.95},
    without_limit={"recall@20": 0.99, "ndcg@20": 1.0},
    fitting_split="last_out",
)


def test_notes_on_unknown_users_name_the_split_that_fits() -> None:
    begun = (
        "Most test users are not in the training data (812 of 1,000, 81%), and 70% of the users "
        "are answered by popularity or by features alone: the metrics measure this fallback, not "
        "what the model learned about its users."
    )
    advice = (
        ' [data.split] method = "last_out" is a better fit: it tests the last interactions of each '
        "user."
    )
    assert REACH.notes("global_time") == [begun + advice]
    assert REACH.notes("last_out") == [begun]
    single = replace(REACH, fitting_split=None)
    assert single.notes("global_time") == [
        f"{begun} Most users have a single row, so no split can test what the model learned about "
        "a user. Provide more rows per user."
    ]
    assert replace(REACH, fallback_users=500).notes("global_time") == []


def test_notes_on_unknown_items() -> None:
    reach = replace(REACH, fallback_users=0, unknown_items=1_200, fitting_split="random")
    begun = (
        "Most test rows have items that are not in the training data (1,200 of 2,000, 60%): the "
        "metrics measure how well new items are found, not what the model learned about the others."
    )
    assert reach.notes("global_time") == [
        f'{begun} [data.split] method = "random" is a better fit: it tests some rows of each user.'
    ]
    assert reach.notes("random") == [
        f"{begun} Declare item features, so that new items can be found."
    ]


def test_notes_on_what_cannot_be_found() -> None:
    reach = replace(REACH, fallback_users=0, masked=680)
    assert reach.notes("last_out") == [
        "Upper bound: recall@20 0.9100 instead of 0.9900 and ndcg@20 0.9500 instead of 1.0000, "
        "because 680 of 2,000 test rows (34%) repeat an item that the user had already seen, "
        "which is masked, and 5 of 2,000 test rows (0.25%) have items outside the catalogue. Set "
        "evaluation.mask_seen = false to recommend seen items again."
    ]
    outside = replace(reach, masked=0, outside=64)
    assert outside.notes("last_out") == [
        "Upper bound: recall@20 0.9100 instead of 0.9900 and ndcg@20 0.9500 instead of 1.0000, "
        "because 64 of 2,000 test rows (3.2%) have items outside the catalogue."
    ]
    assert replace(outside, outside=19).notes("last_out") == []


@pytest.mark.parametrize(
    ("part", "text"), [(0, "0%"), (1, "0.1%"), (99, "9.9%"), (123, "12%"), (1_000, "100%")]
)
def test_percent(part: int, text: str) -> None:
    assert as_percent(part, 1_000) == text
