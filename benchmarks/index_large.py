"""IVF-PQ over 5 million item vectors: built in one process, served from mapped files in another.

It takes minutes, most of them for k-means. Recall@100 is against exact search, over 200 queries,
for several values of `index.num_probes`.

`anonymous_gb` is what the process holds for itself; the rest of `rss_gb` are pages of mapped files,
which several processes share and the system takes back when it needs them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import emit, parser
from benchmarks.index_speed import clustered, recall
from benchmarks.out_of_core import Phases
from twotower.config import IndexConfig
from twotower.index import build_index, load_index
from twotower.index.exact import ExactIndex

K, QUERIES, MEASURED = 100, 200, 1000
PROBES: Final = (16, 64, 256)
BLOCK: Final = 500_000
SEEDS: Final = 100
"""Of the first block of vectors; that of the queries is 1."""


def vectors_of(items: int) -> NDArray[np.float32]:
    """(items, D), made a block at a time."""
    starts = range(0, items, BLOCK)
    first = clustered(1, 0)
    made = np.empty((items, first.shape[1]), dtype=np.float32)
    for place, start in enumerate(starts):
        number = min(BLOCK, items - start)
        made[start : start + number] = clustered(number, SEEDS + place)
    return made


def build(folder: Path, items: int, config: IndexConfig) -> dict[str, Any]:
    """In a child: build and save the index, and what exact search answers."""
    vectors, phases = vectors_of(items), Phases()
    nums = np.arange(items, dtype=np.int64)
    with phases.of("build"):
        build_index(config, vectors, nums).save(folder)
    exact = ExactIndex(vectors, nums).search(clustered(QUERIES, 1), K).item_nums
    np.save(folder / "exact.npy", exact, allow_pickle=False)
    return phases.figures["build"]


def serve(folder: Path, config: IndexConfig) -> dict[str, Any]:
    """In another child: load the index and search."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    queries, phases = clustered(MEASURED, 1), Phases()
    exact = np.load(folder / "exact.npy", allow_pickle=False)
    results: dict[str, Any] = {}
    for probes in PROBES:
        with phases.of("load"):
            asked = config.model_copy(update={"num_probes": probes})
            index = load_index(config.kind, folder, asked)
        times = []
        with phases.of("search"):
            for row in range(MEASURED):
                start = time.perf_counter()
                index.search(queries[row : row + 1], K)
                times.append(time.perf_counter() - start)
        found = index.search(clustered(QUERIES, 1), K).item_nums
        results[f"{probes} probes"] = {
            "recall@100": recall(found, exact),
            "p50_ms": round(1e3 * float(np.percentile(times, 50)), 3),
            "p99_ms": round(1e3 * float(np.percentile(times, 99)), 3),
            "rss_gb": phases.figures["search"]["rss_gb"],
            "anonymous_gb": phases.figures["search"]["anonymous_gb"],
        }
    return {"load_seconds": phases.figures["load"]["seconds"], **results}


def main() -> None:
    """Measure in two children, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--items", type=int, default=5_000_000)
    made.add_argument("--child", nargs=2, metavar=("PART", "FOLDER"), help="used by itself")
    options = made.parse_args()
    config = IndexConfig(kind="ivfpq")
    if options.child:
        part, folder = options.child[0], Path(options.child[1])
        parts = {
            "build": lambda: build(folder, options.items, config),
            "serve": lambda: serve(folder, config),
        }
        print(json.dumps(parts[part]()))
        return
    results = {}
    with tempfile.TemporaryDirectory() as path:
        for part in ("build", "serve"):
            arguments = ["--items", str(options.items)]
            command = [sys.executable, "-m", "benchmarks.index_large", *arguments]
            done = subprocess.run(
                [*command, "--child", part, path], check=True, stdout=subprocess.PIPE, text=True
            )
            results[part] = json.loads(done.stdout)
        size = sum(file.stat().st_size for file in Path(path).iterdir())
    emit(
        {
            "protocol": "one query at a time on one thread; k = 100; recall over 200 queries",
            "configuration": {"items": options.items, "index": config.model_dump()},
            **results,
            "files_gb": round(size / 1e9, 2),
        },
        "index_large",
        save=options.save,
    )


if __name__ == "__main__":
    main()
