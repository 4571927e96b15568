"""Filters that are prepared once: kept while their mask lives, let go when there is no room."""

from __future__ import annotations

import gc

import numpy as np
from numpy.typing import NDArray

from tests.contracts.index_contract import ITEMS, NUMS, QUERIES, clustered, oracle
from twotower.config import IndexConfig
from twotower.data.arrays.mask_cache import ENTRY_BYTES, MAX_BYTES, MaskCache, nbytes
from twotower.data.arrays.ragged import Ragged
from twotower.index import build_index
from twotower.index.half_precision import HalfScan


def mask(*kept: int, size: int = 10) -> NDArray[np.bool_]:
    made = np.zeros(size, dtype=np.bool_)
    made[list(kept)] = True
    made.flags.writeable = False
    return made


def test_a_value_is_made_once_for_a_mask_and_dropped_with_it() -> None:
    cache: MaskCache[int] = MaskCache(MAX_BYTES, lambda _: 8)
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    first, second = mask(1), mask(1)
    assert [cache.get(first, make), cache.get(first, make), cache.get(second, make)] == [1, 1, 2]
    del first
    gc.collect()
    assert len(cache) == 1


def test_a_mask_that_can_be_written_to_is_never_trusted() -> None:
    cache: MaskCache[int] = MaskCache(MAX_BYTES, lambda _: 8)
    changing = np.zeros(3, dtype=np.bool_)
    assert cache.get(changing, lambda: int(changing.sum())) == 0
    changing[0] = True
    assert cache.get(changing, lambda: int(changing.sum())) == 1


def test_what_was_not_used_for_longest_makes_room() -> None:
    room = 10 + 2 * ENTRY_BYTES
    cache: MaskCache[str] = MaskCache(room, lambda value: 4 if len(value) < 6 else room)
    masks = [mask(n) for n in range(3)]
    for name, one in zip("abc", masks, strict=True):
        cache.get(one, lambda name=name: name)  # type: ignore[misc]
        cache.get(masks[0], lambda: "again")
    assert cache.get(masks[0], lambda: "gone") == "a"
    assert cache.get(masks[1], lambda: "gone") == "gone"
    assert cache.get(mask(5), lambda: "too large") == "too large"
    assert cache.get(masks[1], lambda: "again") == "gone"


def test_values_of_masks_that_live_on_take_no_more_than_there_is_room_for() -> None:
    cache: MaskCache[NDArray[np.int64]] = MaskCache(100_000, nbytes)
    masks = [mask(size=1000) for _ in range(100)]
    for one in masks:
        cache.get(one, lambda: np.zeros(1000, dtype=np.int64))
    assert len(cache) == 100_000 // (8000 + ENTRY_BYTES)


def test_a_prepared_filter_answers_as_any_other() -> None:
    index = build_index(IndexConfig(kind="hnsw"), ITEMS, NUMS)
    rng = np.random.default_rng(3)
    unwanted = Ragged.group(np.repeat(np.arange(60), 5), rng.choice(NUMS, 300), 60)
    for share in (0.5, 0.1, 0.01, 0.001):
        allowed = rng.random(NUMS.max() + 1) < share
        expected = oracle(QUERIES, 10, excluded=unwanted, allowed=allowed)
        allowed.flags.writeable = False
        for _ in range(2):
            found = index.search(QUERIES, 10, excluded=unwanted, allowed=allowed)
            same = (found.item_nums == expected.item_nums).mean()
            assert same == 1 if share < 0.2 else same > 0.95


def test_a_scan_at_half_the_precision_finds_the_best_and_scores_them_by_the_vectors() -> None:
    vectors = clustered(40_000, seed=4)
    nums = np.arange(40_000, dtype=np.int64)
    allowed = nums % 8 == 0
    allowed.flags.writeable = False
    config = IndexConfig(kind="flat")
    index = build_index(config, vectors, nums)
    expected = oracle(QUERIES, 20, items=vectors, nums=nums, allowed=allowed)
    found = index.search(QUERIES, 20, allowed=allowed)
    assert found.item_nums.tolist() == expected.item_nums.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)


def test_a_scan_is_short_where_there_is_no_more() -> None:
    scan = HalfScan(ITEMS[:3], NUMS[:3])
    excluded = Ragged.group(np.array([0]), NUMS[1:2], 1)
    assert sorted(scan.candidates(QUERIES[:1], 5, excluded)[0].tolist()) == sorted(
        [-1, -1, -1, int(NUMS[0]), int(NUMS[2])]
    )
