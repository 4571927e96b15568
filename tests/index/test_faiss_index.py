"""The FAISS indexes keep the contract; their own settings make a difference."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.contracts.index_contract import (
    ITEMS,
    NUMS,
    QUERIES,
    IndexContract,
    clustered,
    oracle,
    recall,
)
from twotower.config import IndexConfig
from twotower.errors import ConfigError
from twotower.index import (
    StoredIndex,
    build_index,
    extend_index,
    faiss_index,
    load_index,
    recall_against_exact,
)

Vectors = NDArray[np.float32]


class TestFlat(IndexContract):
    def config(self) -> IndexConfig:
        return IndexConfig(kind="flat")


class TestHNSW(IndexContract):
    least_recall = 0.95

    def config(self) -> IndexConfig:
        return IndexConfig(kind="hnsw")


class TestIVFPQ(IndexContract):
    least_recall = 0.95

    def config(self) -> IndexConfig:
        return IndexConfig(kind="ivfpq")


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (
            IndexConfig(kind="hnsw", hnsw_m=2, ef_construction=4, ef_search=1),
            IndexConfig(kind="hnsw"),
        ),
        (IndexConfig(kind="ivfpq", num_probes=1), IndexConfig(kind="ivfpq")),
        (IndexConfig(kind="ivfpq", pq_bytes=1), IndexConfig(kind="ivfpq")),
        (IndexConfig(kind="ivfpq", num_lists=100, num_probes=2), IndexConfig(kind="ivfpq")),
    ],
)
def test_settings_are_used(worse: IndexConfig, better: IndexConfig) -> None:
    expected = oracle(QUERIES, 10)
    recalls = [
        recall(build_index(config, ITEMS, NUMS).search(QUERIES, 10), expected)
        for config in (worse, better)
    ]
    assert recalls[0] < recalls[1] - 0.01


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_vectors_of_any_length(kind: str) -> None:
    # As retriever.normalize = false makes them: the longest are near to everybody.
    lengths = np.random.default_rng(4).lognormal(0, 0.5, (len(ITEMS), 1)).astype(np.float32)
    config = IndexConfig.model_validate({"kind": kind})
    found = build_index(config, ITEMS * lengths, NUMS).search(QUERIES, 10)
    assert recall(found, oracle(QUERIES, 10, items=ITEMS * lengths)) >= 0.95


def test_codes_of_half_a_byte_a_number_answer_as_well() -> None:
    items, queries = clustered(3_000, seed=0, width=64), clustered(60, seed=1, width=64)
    index = build_index(IndexConfig(kind="ivfpq"), items, NUMS[:3_000])
    expected = oracle(queries, 10, items=items, nums=NUMS[:3_000])
    assert recall(index.search(queries, 10), expected) >= 0.95


def test_candidates_are_scored_some_queries_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    index = build_index(IndexConfig(kind="ivfpq"), ITEMS, NUMS)
    whole = index.search(QUERIES, 5)
    monkeypatch.setattr(faiss_index, "RESCORED_NUMBERS_PER_BLOCK", 7 * 50 * 32)
    cut = index.search(QUERIES, 5)
    assert np.array_equal(cut.item_nums, whole.item_nums)
    assert np.array_equal(cut.scores, whole.scores)


def test_bytes_that_do_not_divide_the_width() -> None:
    with pytest.raises(ConfigError) as error:
        build_index(IndexConfig(kind="ivfpq", pq_bytes=7), ITEMS, NUMS)
    assert str(error.value) == (
        "index.pq_bytes must divide retriever.embedding_dim, which is 32 (found 7). "
        "Fix: set it to one of 1, 2, 4, 8, 16, 32."
    )


def scattered(count: int, *, seed: int, width: int = 24) -> Vectors:
    """(count, width) of unit length in all directions: the nearest 100 lie in many lists."""
    vectors = np.random.default_rng(seed).normal(size=(count, width))
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


class TestProbes:
    items, queries = scattered(20_000, seed=0), scattered(100, seed=1)
    nums = np.arange(20_000)

    @functools.cached_property
    def index(self) -> StoredIndex:
        return build_index(IndexConfig(kind="ivfpq"), self.items, self.nums, self.queries)

    def test_as_many_as_find_the_nearest(self, tmp_path: Path) -> None:
        index = self.index
        expected = oracle(self.queries, 100, items=self.items, nums=self.nums)
        assert recall(index.search(self.queries, 100), expected) >= 0.95
        index.save(tmp_path)
        loaded = load_index("ivfpq", tmp_path, IndexConfig(kind="ivfpq"))
        assert recall(loaded.search(self.queries, 100), expected) >= 0.95
        few = load_index("ivfpq", tmp_path, IndexConfig(kind="ivfpq", num_probes=16))
        assert recall(few.search(self.queries, 100), expected) < 0.8

    def test_a_filter_has_more(self) -> None:
        allowed = np.random.default_rng(2).random(20_000) < 0.25
        expected = oracle(self.queries, 100, items=self.items, nums=self.nums, allowed=allowed)
        assert recall(self.index.search(self.queries, 100, allowed=allowed), expected) >= 0.95

    @pytest.mark.slow
    def test_they_are_chosen_for_the_queries(self) -> None:
        items = np.concatenate([self.items, clustered(20_000, seed=0, width=24)])
        nums, near = np.arange(40_000), clustered(100, seed=1, width=24)
        few, many = (
            build_index(IndexConfig(kind="ivfpq", num_lists=400), items, nums, queries)
            for queries in (near, self.queries)
        )
        assert recall_against_exact(few, near, 100) >= 0.95
        assert recall_against_exact(few, self.queries, 100) < 0.9
        assert recall_against_exact(many, self.queries, 100) >= 0.95


@pytest.mark.parametrize("width", [1, 33, 48])
def test_codes_fit_vectors_of_any_width(width: int) -> None:
    items, queries = (scattered(n, seed=n, width=width) for n in (2_000, 50))
    index = build_index(IndexConfig(kind="ivfpq"), items, NUMS[:2_000])
    assert recall_against_exact(index, queries, 10) >= 0.95


def test_reading_leaves_the_limit_of_the_process_as_it_was(tmp_path: Path) -> None:
    """Another library of the process may read larger indexes by the same FAISS."""
    before = faiss_index.faiss.get_deserialization_vector_byte_limit()
    index = build_index(IndexConfig(kind="hnsw"), ITEMS[:500], NUMS[:500])
    index.save(tmp_path)
    loaded = load_index("hnsw", tmp_path, IndexConfig(kind="hnsw"))
    extend_index(IndexConfig(kind="hnsw"), loaded, ITEMS[500:510], NUMS[500:510])
    assert faiss_index.faiss.get_deserialization_vector_byte_limit() == before
