"""Which index is built for how many items, and the recall that is measured of it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.contracts.index_contract import ITEMS, NUMS, QUERIES, oracle, recall
from twotower.config import IndexConfig
from twotower.index import build_index, recall_against_exact


@pytest.mark.parametrize(
    ("size", "kind"), [(0, "exact"), (1, "exact"), (99, "exact"), (100, "exact"), (101, "hnsw")]
)
def test_auto_is_exact_up_to_the_limit_and_hnsw_beyond(size: int, kind: str) -> None:
    config = IndexConfig(max_exact=100)
    assert config.kind == "auto"
    assert build_index(config, ITEMS[:size], NUMS[:size]).kind == kind


def test_auto_is_ivfpq_where_hnsw_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twotower.index.MAX_HNSW", 700)
    config = IndexConfig(max_exact=100)
    assert build_index(config, ITEMS[:700], NUMS[:700]).kind == "hnsw"
    assert build_index(config, ITEMS[:701], NUMS[:701]).kind == "ivfpq"


@pytest.mark.parametrize("kind", ["exact", "flat", "hnsw", "ivfpq"])
@pytest.mark.parametrize("size", [50, 700])
def test_a_kind_that_is_named_is_built_whatever_the_size(kind: str, size: int) -> None:
    config = IndexConfig.model_validate({"kind": kind, "max_exact": 100})
    assert build_index(config, ITEMS[:size], NUMS[:size]).kind == kind


@pytest.mark.parametrize("kind", ["exact", "flat"])
def test_the_recall_of_an_exact_index_is_one(kind: str) -> None:
    index = build_index(IndexConfig.model_validate({"kind": kind}), ITEMS, NUMS)
    assert recall_against_exact(index, QUERIES, 10) == 1.0


@pytest.mark.parametrize(
    "config",
    [
        IndexConfig(kind="hnsw"),
        IndexConfig(kind="hnsw", hnsw_m=2, ef_construction=4, ef_search=1),
        IndexConfig(kind="ivfpq", num_probes=1),
    ],
)
@pytest.mark.parametrize("k", [1, 10])
def test_the_measured_recall_is_the_share_of_the_true_nearest(config: IndexConfig, k: int) -> None:
    index = build_index(config, ITEMS, NUMS)
    expected = recall(index.search(QUERIES, k), oracle(QUERIES, k))
    assert recall_against_exact(index, QUERIES, k) == pytest.approx(expected)


def test_recall_of_a_poor_index_is_low() -> None:
    config = IndexConfig(kind="ivfpq", num_probes=1)
    assert recall_against_exact(build_index(config, ITEMS, NUMS), QUERIES, 10) < 0.95


def test_recall_where_fewer_than_k_items_exist() -> None:
    index = build_index(IndexConfig(kind="hnsw"), ITEMS[:7], NUMS[:7])
    assert recall_against_exact(index, QUERIES, 10) == 1.0


def test_recall_of_nothing_is_one() -> None:
    empty = build_index(IndexConfig(kind="hnsw"), ITEMS[:0], NUMS[:0])
    assert recall_against_exact(empty, QUERIES, 10) == 1.0
    full = build_index(IndexConfig(kind="hnsw"), ITEMS[:7], NUMS[:7])
    assert recall_against_exact(full, np.zeros((0, 32), dtype=np.float32), 10) == 1.0
