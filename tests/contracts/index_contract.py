"""What holds for every index: recall, filters before the top-k, exclusions, saving, bad input."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from twotower.config import IndexConfig
from twotower.data.arrays.ragged import Ragged
from twotower.errors import DataError
from twotower.index import SearchResult, StoredIndex, build_index, extend_index, load_index

Vectors = NDArray[np.float32]

SIZE, WIDTH = 5_000, 32
NUMS = np.arange(SIZE, dtype=np.int64) * 3 + 2
"""Item nums with gaps, so that nobody takes a place for a num."""


def clustered(count: int, *, seed: int, width: int = WIDTH) -> Vectors:
    """(count, width) of unit length around 50 centres, always the same ones."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(50, width))
    vectors = centres[rng.integers(0, 50, count)] + 0.5 * rng.normal(size=(count, width))
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


ITEMS = clustered(SIZE, seed=0)
QUERIES = clustered(60, seed=1)


def oracle(
    queries: Vectors,
    k: int,
    *,
    items: Vectors = ITEMS,
    nums: NDArray[np.int64] = NUMS,
    excluded: Ragged | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> SearchResult:
    """Every inner product, sorted; of equal ones the lower num first."""
    products = queries @ items.T
    if allowed is not None:
        products[:, ~allowed[nums]] = -np.inf
    for row, unwanted in enumerate(excluded or ()):
        products[row, np.isin(nums, unwanted)] = -np.inf
    order = np.argsort(-products, axis=1, kind="stable")[:, :k]
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    scores[:, : order.shape[1]] = np.take_along_axis(products, order, axis=1)
    found = np.full((len(queries), k), -1, dtype=np.int64)
    found[:, : order.shape[1]] = nums[order]
    return SearchResult(scores, np.where(np.isneginf(scores), -1, found))


def recall(found: SearchResult, expected: SearchResult) -> float:
    """The share of the expected items that were found."""
    hits = (expected.item_nums[:, :, None] == found.item_nums[:, None, :]).any(axis=2)
    there = expected.item_nums >= 0
    return float(hits[there].sum() / there.sum())


def assert_sound(found: SearchResult, queries: Vectors, k: int) -> None:
    """Shapes and types, no item twice, true scores in falling order."""
    assert found.item_nums.shape == found.scores.shape == (len(queries), k)
    assert found.item_nums.dtype == np.int64
    assert found.scores.dtype == np.float32
    there = found.item_nums >= 0
    assert np.isneginf(found.scores[~there]).all()
    assert (there[:, :-1] >= there[:, 1:]).all()
    for query, nums, scores in zip(queries, found.item_nums, found.scores, strict=True):
        known = nums[nums >= 0]
        assert len(set(known.tolist())) == len(known)
        places = np.searchsorted(NUMS, known)
        assert (NUMS[places] == known).all()
        np.testing.assert_allclose(scores[: len(known)], ITEMS[places] @ query, atol=1e-5)
    finite = np.where(there, found.scores, -2)
    assert (finite[:, :-1] >= finite[:, 1:] - 1e-6).all()


def some_items(share: float) -> NDArray[np.bool_]:
    """A filter that keeps this share of the items."""
    allowed = np.zeros(int(NUMS[-1]) + 1, dtype=np.bool_)
    kept = np.random.default_rng(5).choice(SIZE, int(share * SIZE), replace=False)
    allowed[NUMS[kept]] = True
    return allowed


@functools.cache
def of_all_items(config: str) -> StoredIndex:
    """The index that most tests ask, built once."""
    return build_index(IndexConfig.model_validate_json(config), ITEMS, NUMS)


class IndexContract(ABC):
    """Inherited by the tests of every index."""

    least_recall = 1.0

    @abstractmethod
    def config(self) -> IndexConfig:
        """That makes the index."""

    def make(self, items: Vectors = ITEMS, nums: NDArray[np.int64] = NUMS) -> StoredIndex:
        return build_index(self.config(), items, nums)

    @pytest.fixture
    def index(self) -> StoredIndex:
        return of_all_items(self.config().model_dump_json())

    # --- answers ---

    def test_it_is_what_the_config_asks_for(self, index: StoredIndex) -> None:
        assert index.kind == self.config().kind
        assert np.array_equal(index.item_nums, NUMS)
        assert np.array_equal(index.vectors(), ITEMS)

    @pytest.mark.parametrize("k", [1, 10, 100])
    def test_the_nearest_are_found(self, index: StoredIndex, k: int) -> None:
        found = index.search(QUERIES, k)
        assert_sound(found, QUERIES, k)
        assert (found.item_nums >= 0).all()
        assert recall(found, oracle(QUERIES, k)) >= self.least_recall

    def test_an_items_own_vector_finds_the_item(self, index: StoredIndex) -> None:
        found = index.search(ITEMS[:200], 1)
        assert (found.item_nums[:, 0] == NUMS[:200]).mean() >= self.least_recall

    def test_one_query_alone_gets_the_answer_that_it_gets_among_others(
        self, index: StoredIndex
    ) -> None:
        together = index.search(QUERIES, 10)
        for row in range(20):
            alone = index.search(QUERIES[row : row + 1], 10)
            assert alone.item_nums[0].tolist() == together.item_nums[row].tolist()
            np.testing.assert_allclose(alone.scores[0], together.scores[row], atol=1e-6)

    def test_the_same_search_twice_is_the_same(self, index: StoredIndex) -> None:
        first, second = index.search(QUERIES, 10), index.search(QUERIES, 10)
        assert np.array_equal(first.item_nums, second.item_nums)
        assert np.array_equal(first.scores, second.scores)

    def test_equal_items_are_all_answered_and_by_num_where_it_is_promised(self) -> None:
        # 700 items at 70 places: of ten at the nearest place, each has the same right to be there.
        items = np.repeat(clustered(70, seed=3), 10, axis=0)
        index = self.make(items, NUMS[:700])
        found = index.search(items[::10], 10)
        assert np.array_equal(np.sort(found.item_nums, axis=1), NUMS[:700].reshape(70, 10))
        if self.config().kind == "exact":
            assert np.array_equal(found.item_nums, NUMS[:700].reshape(70, 10))
            cut = index.search(items[::10], 4)
            assert np.array_equal(cut.item_nums, NUMS[:700].reshape(70, 10)[:, :4])

    # --- filters and exclusions ---

    @pytest.mark.parametrize("share", [0.9, 0.5, 0.25, 0.1, 0.01, 0.001])
    def test_only_allowed_items_and_k_of_them_wherever_k_exist(
        self, index: StoredIndex, share: float
    ) -> None:
        allowed = some_items(share)
        found = index.search(QUERIES, 10, allowed=allowed)
        assert_sound(found, QUERIES, 10)
        answered = found.item_nums[found.item_nums >= 0]
        assert allowed[answered].all()
        assert len(answered) == len(QUERIES) * min(10, allowed.sum())
        expected = oracle(QUERIES, 10, allowed=allowed)
        assert recall(found, expected) >= self.least_recall

    def test_a_filter_that_keeps_only_what_is_far_away(self, index: StoredIndex) -> None:
        # Half of the catalogue, and none of it near the query: a graph has to walk a long way.
        query = QUERIES[:1]
        nearness = (ITEMS @ query[0]).argsort()
        allowed = np.zeros(int(NUMS[-1]) + 1, dtype=np.bool_)
        allowed[NUMS[nearness[: SIZE // 2]]] = True
        found = index.search(query, 10, allowed=allowed)
        assert_sound(found, query, 10)
        assert (found.item_nums >= 0).all()
        assert allowed[found.item_nums].all()

    def test_a_filter_that_keeps_nothing(self, index: StoredIndex) -> None:
        found = index.search(QUERIES, 3, allowed=some_items(0))
        assert (found.item_nums == -1).all()
        assert np.isneginf(found.scores).all()

    @pytest.mark.parametrize("length", [1, 50, 1_500])
    def test_what_each_query_excludes_makes_room_for_the_next(
        self, index: StoredIndex, length: int
    ) -> None:
        # The nearest of each query; lists of different lengths, the last empty.
        nearest = oracle(QUERIES, length).item_nums
        lengths = np.maximum(length - 7 * np.arange(len(QUERIES)), 0)
        lengths[-1] = 0
        keys = np.repeat(np.arange(len(QUERIES)), lengths)
        nums = np.concatenate([row[:end] for row, end in zip(nearest, lengths, strict=True)])
        excluded = Ragged.group(keys, nums, len(QUERIES))
        found = index.search(QUERIES, 10, excluded=excluded)
        assert_sound(found, QUERIES, 10)
        assert (found.item_nums >= 0).all()
        for row, unwanted in zip(found.item_nums, excluded, strict=True):
            assert not np.isin(row, unwanted).any()
        expected = oracle(QUERIES, 10, excluded=excluded)
        assert recall(found, expected) >= self.least_recall

    def test_excluded_nums_that_are_no_item_hide_nothing(self, index: StoredIndex) -> None:
        strangers = np.tile(np.array([-1, 0, 3, 10**6]), (len(QUERIES), 1))
        keys = np.repeat(np.arange(len(QUERIES)), 4)
        excluded = Ragged.group(keys, strangers.ravel(), len(QUERIES))
        found = index.search(QUERIES, 10, excluded=excluded)
        assert_sound(found, QUERIES, 10)
        assert recall(found, oracle(QUERIES, 10)) >= self.least_recall

    @pytest.mark.parametrize("share", [0.5, 0.01])
    def test_filter_and_exclusions_together(self, index: StoredIndex, share: float) -> None:
        allowed = some_items(share)
        nearest = oracle(QUERIES, 15, allowed=allowed).item_nums
        excluded = Ragged.group(
            np.repeat(np.arange(len(QUERIES)), 15), nearest.ravel(), len(QUERIES)
        )
        found = index.search(QUERIES, 10, allowed=allowed, excluded=excluded)
        assert_sound(found, QUERIES, 10)
        assert allowed[found.item_nums].all()
        expected = oracle(QUERIES, 10, allowed=allowed, excluded=excluded)
        assert recall(found, expected) >= self.least_recall

    # --- ends ---

    def test_k_larger_than_the_catalogue(self) -> None:
        few = self.make(ITEMS[:30], NUMS[:30])
        found = few.search(QUERIES, 50)
        expected = oracle(QUERIES, 50, items=ITEMS[:30], nums=NUMS[:30])
        assert np.array_equal(found.item_nums, expected.item_nums)
        assert (found.item_nums[:, 30:] == -1).all()
        assert np.isneginf(found.scores[:, 30:]).all()

    def test_k_is_the_catalogue(self, index: StoredIndex) -> None:
        found = index.search(QUERIES[:2], SIZE)
        assert np.array_equal(np.sort(found.item_nums, axis=1), np.tile(NUMS, (2, 1)))

    @pytest.mark.parametrize("size", [0, 1, 15, 40, 700])
    def test_small_catalogues(self, size: int) -> None:
        index = self.make(ITEMS[:size], NUMS[:size])
        found = index.search(QUERIES, 3)
        assert_sound(found, QUERIES, 3)
        assert (found.item_nums >= 0).sum() == len(QUERIES) * min(3, size)
        if size:
            expected = oracle(QUERIES, 3, items=ITEMS[:size], nums=NUMS[:size])
            assert recall(found, expected) >= self.least_recall

    def test_no_query(self, index: StoredIndex) -> None:
        found = index.search(QUERIES[:0], 4)
        assert found.item_nums.shape == found.scores.shape == (0, 4)

    # --- more items ---

    @pytest.mark.parametrize("new", [0, 10, 500])
    def test_more_items_are_found_and_the_old_index_is_as_it_was(
        self, tmp_path: Path, new: int
    ) -> None:
        old = SIZE - new
        self.make(ITEMS[:old], NUMS[:old]).save(tmp_path)
        few = load_index(self.config().kind, tmp_path, self.config())
        before = few.search(QUERIES, 10)
        index = extend_index(self.config(), few, ITEMS[old:], NUMS[old:])
        assert index.kind == few.kind
        assert np.array_equal(index.item_nums, NUMS)
        assert np.array_equal(index.vectors(), ITEMS)
        found = index.search(QUERIES, 10)
        assert_sound(found, QUERIES, 10)
        assert recall(found, oracle(QUERIES, 10)) >= self.least_recall
        alone = index.search(ITEMS[old:], 1).item_nums[:, 0]
        assert (alone == NUMS[old:]).sum() >= self.least_recall * new
        assert np.array_equal(few.search(QUERIES, 10).item_nums, before.item_nums)
        more = tmp_path / "more"
        more.mkdir()
        index.save(more)
        again = load_index(self.config().kind, more, self.config())
        assert np.array_equal(again.search(QUERIES, 10).item_nums, found.item_nums)

    # --- on disk ---

    @pytest.mark.parametrize("size", [0, 40, SIZE])
    def test_saved_and_loaded_it_answers_the_same(self, tmp_path: Path, size: int) -> None:
        index = self.make(ITEMS[:size], NUMS[:size])
        index.save(tmp_path)
        loaded = load_index(index.kind, tmp_path, self.config())
        assert type(loaded) is type(index)
        assert loaded.kind == index.kind
        assert np.array_equal(loaded.item_nums, index.item_nums)
        assert np.array_equal(loaded.vectors(), index.vectors())
        allowed = some_items(0.5)
        for kept in (None, allowed):
            one, other = (i.search(QUERIES, 10, allowed=kept) for i in (index, loaded))
            assert np.array_equal(one.item_nums, other.item_nums)
            assert np.array_equal(one.scores, other.scores)

    # --- bad input ---

    def test_queries_of_another_width(self, index: StoredIndex) -> None:
        with pytest.raises(ValueError, match="parameter") as error:
            index.search(QUERIES[:, :31], 3)
        assert str(error.value) == (
            "The 'query_vectors' parameter must have the shape (B, 32). Got (60, 31) instead."
        )

    def test_one_query_without_its_axis(self, index: StoredIndex) -> None:
        with pytest.raises(ValueError, match="parameter") as error:
            index.search(QUERIES[0], 3)
        assert str(error.value) == (
            "The 'query_vectors' parameter must have the shape (B, 32). Got (32,) instead."
        )

    def test_k_that_is_no_count(self, index: StoredIndex) -> None:
        with pytest.raises(ValueError, match="parameter") as error:
            index.search(QUERIES, 0)
        assert str(error.value) == "The 'k' parameter must be at least 1. Got 0 instead."

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_queries_that_are_not_numbers(self, index: StoredIndex, value: float) -> None:
        queries = QUERIES.copy()
        queries[7, 3] = value
        with pytest.raises(DataError) as error:
            index.search(queries, 3)
        assert str(error.value) == (
            "the query vectors contain NaN or infinity, because the weights of the model do. "
            "Fix: train again with a lower training.learning_rate."
        )

    def test_items_that_are_not_numbers(self) -> None:
        items = ITEMS.copy()
        items[9, 0] = np.nan
        with pytest.raises(DataError) as error:
            self.make(items)
        assert str(error.value) == (
            "the item vectors contain NaN or infinity, because the weights of the model do. "
            "Fix: train again with a lower training.learning_rate."
        )
