"""The index alone: time and recall of one search, with filters; twenty minutes for a million items.

Vectors of 64 numbers around 5,000 centres, as trained ones lie. `--items` makes it smaller. Filters
keep a random share of the items; recall is against exact search over what they keep.
"""

from __future__ import annotations

import time
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import emit, parser
from twotower.config import IndexConfig
from twotower.data.arrays.ranked import NO_ITEM
from twotower.index import VectorIndex, build_index
from twotower.index.exact import ExactIndex

WIDTH, CENTRES, K = 64, 5000, 10
QUERIES, MEASURED = 200, 1000
SHARES = (1.0, 0.5, 0.1, 0.01, 0.001)
Vectors = NDArray[np.float32]


def clustered(count: int, seed: int, num_centres: int = CENTRES) -> Vectors:
    """(count, WIDTH) of length 1 around the same centres."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(num_centres, WIDTH)).astype(np.float32)
    vectors = centres[rng.integers(0, num_centres, count)]
    vectors += 0.7 * rng.normal(size=vectors.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def recall(found: NDArray[np.int64], exact: NDArray[np.int64]) -> float:
    """Share of the exact answers (Q, k) that were found."""
    hits = (found[:, :, None] == exact[:, None, :]) & (exact[:, None, :] != NO_ITEM)
    return round(float(hits.any(axis=1).sum() / (exact != NO_ITEM).sum()), 4)


def measure(
    index: VectorIndex,
    exact: ExactIndex,
    queries: Vectors,
    allowed: NDArray[np.bool_] | None,
    *,
    times: int = MEASURED,
) -> dict[str, Any]:
    """The times of that many queries, each alone, and the recall of the first QUERIES of them."""
    if allowed is not None:
        allowed.flags.writeable = False
    start = time.perf_counter()
    index.search(queries[:1], K, allowed=allowed)
    first = time.perf_counter() - start
    seconds, answers = [], []
    for place in range(times):
        row = place % len(queries)
        start = time.perf_counter()
        answer = index.search(queries[row : row + 1], K, allowed=allowed)
        seconds.append(time.perf_counter() - start)
        answers.append(answer.item_nums)
    some = min(QUERIES, times, len(queries))
    found = np.concatenate(answers[:some])
    oracle = exact.search(queries[:some], K, allowed=allowed)
    return {
        "recall@10": recall(found, oracle.item_nums),
        "short_answers": int((found == NO_ITEM).any(axis=1).sum()),
        "p50_ms": round(1e3 * float(np.percentile(seconds, 50)), 3),
        "p99_ms": round(1e3 * float(np.percentile(seconds, 99)), 3),
        "first_ms": round(1e3 * first, 3),
    }


def main() -> None:
    """Measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--items", type=int, default=1_000_000)
    made.add_argument("--kinds", default="hnsw", help="of hnsw, ivfpq, flat, exact; by commas")
    options = made.parse_args()
    vectors, queries = clustered(options.items, 0), clustered(1000, 1)
    nums = np.arange(options.items, dtype=np.int64)
    exact = ExactIndex(vectors, nums)
    rng = np.random.default_rng(2)
    drawn = rng.random(options.items)
    masks = {share: None if share == 1 else drawn < share for share in SHARES}
    results: dict[str, Any] = {}
    for kind in options.kinds.split(","):
        start = time.perf_counter()
        index = build_index(IndexConfig(kind=kind), vectors, nums)
        built = time.perf_counter() - start
        torch.set_num_threads(1)
        faiss.omp_set_num_threads(1)
        found = {
            f"keeps_{share:g}": measure(index, exact, queries, masks[share]) for share in masks
        }
        results[kind] = {"build_seconds": round(built, 1), **found}
    emit(
        {
            "protocol": "one query at a time on one thread; k = 10; recall over 200 queries",
            "configuration": {"items": options.items, "embedding_dim": WIDTH, "k": K},
            **results,
        },
        "index_speed",
        save=options.save,
    )


if __name__ == "__main__":
    main()
