"""Step 7: exact search, HNSW, and a filter inside or after the search."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
from numpy.typing import NDArray

from twotower.config import IndexConfig
from twotower.course.results import BuiltNode, Choices, CompileOutcome, Figure, ProgressEvent, Watch
from twotower.course.shop import K
from twotower.index import VectorIndex, build_index

NUM_ITEMS, WIDTH, NUM_QUERIES, NUM_CENTRES = 20_000, 32, 200, 200
ALLOWED_SHARE = 0.02
GOOD_RECALL = 0.95
REPEATS = 5
Vectors = NDArray[np.float32]


@cache
def vectors_and_queries() -> tuple[Vectors, Vectors]:
    """Item vectors in clusters, as those of a trained tower are, and queries near some of them."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(NUM_CENTRES, WIDTH))
    made = centres[rng.integers(NUM_CENTRES, size=NUM_ITEMS)]
    made = made + rng.normal(size=made.shape)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    queries = made[:NUM_QUERIES] + 0.1 * rng.normal(size=(NUM_QUERIES, WIDTH))
    return made.astype(np.float32), queries.astype(np.float32)


def search(choices: Choices, watch: Watch) -> CompileOutcome:
    """Build the chosen index over 20,000 vectors and search it with a filter."""
    kind, effort = str(choices["kind"]), int(choices["ef_search"])
    inside = choices["filter"] == "inside"
    stages = iter(range(1, 5))

    def now(stage: str) -> None:
        watch.check()
        watch.report(ProgressEvent(stage, next(stages), 4))

    now("making 20,000 vectors")
    vectors, queries = vectors_and_queries()
    nums = np.arange(NUM_ITEMS)
    allowed = np.random.default_rng(1).random(NUM_ITEMS) < ALLOWED_SHARE
    exact = build_index(IndexConfig(kind="exact"), vectors, nums)
    now("building the index")
    config = IndexConfig(kind="hnsw", hnsw_m=8, ef_construction=40, ef_search=effort)
    index = exact if kind == "exact" else build_index(config, vectors, nums)
    now("searching")
    true, exact_us = timed(exact, queries)
    found, own_us = (true, exact_us) if index is exact else timed(index, queries)
    recall = shared(found, true)
    now("searching with a filter")
    if inside:
        kept = index.search(queries, K, allowed=allowed).item_nums
        filled = float((kept >= 0).sum(axis=1).mean())
    else:
        filled = float(allowed[found].sum(axis=1).mean())
    if not inside:
        verdict = "filter_after"
    elif kind == "exact":
        verdict = "exact"
    else:
        verdict = "hnsw" if recall >= GOOD_RECALL else "low_effort"
    links = 0 if kind == "exact" else NUM_ITEMS * 2 * config.hnsw_m
    return CompileOutcome(
        verdict,
        {
            "recall": recall,
            "filled": filled,
            "own_us": own_us,
            "exact_us": exact_us,
            "faster": "less" if own_us < exact_us else "more",
            "ef": effort,
            "allowed": int(allowed.sum()),
        },
        node=BuiltNode(
            shapes=(
                ("query vectors", f"(B, {WIDTH})"),
                ("item vectors", f"({NUM_ITEMS:,}, {WIDTH})"),
                ("links between items", f"{links:,}"),
                ("item numbers", f"(B, {K})"),
            ),
            params=0,
            counted="an index has none",
        ),
        also=("recall", recall),
        figures=figures(recall, filled, own_us, None if index is exact else exact_us),
    )


def figures(
    recall: float, filled: float, own_us: float, exact_us: float | None
) -> tuple[Figure, ...]:
    """What is measured, as bars; `exact_us` is None if the index is the exact one."""
    times = (("yours", own_us), *(() if exact_us is None else (("exact", exact_us),)))
    return (
        Figure("Recall: % of the true ten nearest found", (("yours", 100 * recall),)),
        Figure(
            "Items on a page of ten with the filter, mean",
            (("yours", filled), ("wanted", float(K))),
        ),
        Figure("Microseconds per query, without a filter", times),
    )


def timed(index: VectorIndex, queries: Vectors) -> tuple[NDArray[np.int64], float]:
    """The ten nearest (Q, 10), and the microseconds that a query took, in the fastest of a few
    runs: other work on the machine only adds to it."""
    spent = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        nums = index.search(queries, K).item_nums
        spent.append(time.perf_counter() - start)
    return nums, 1e6 * min(spent) / len(queries)


def shared(found: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    """The share of the true nearest (Q, K) among those found (Q, K)."""
    return float((found[:, :, None] == true[:, None, :]).any(axis=1).mean())
