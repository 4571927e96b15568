"""A catalogue of 5 million items from the item tower to the answer: encoded, indexed by IVF-PQ and
saved in one process, loaded and asked in another; seven minutes of CPU.

The towers are tables of made vectors, around as many centres as there are 40 items, in any
direction: fewer than the 100 nearest belong to a centre, so that they lie scattered and many lists
have to be visited. Recall@100 is against exact search, over the vectors of 200 users.

`anonymous_gb` is what the process holds for itself; the rest of `rss_gb` are pages of mapped files,
which several processes share and the system takes back when it needs them. `p50_cpu_ms` is without
what other programs on the machine take.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
import polars as pl
import torch

from benchmarks.common import emit, parser
from benchmarks.index_speed import clustered, recall
from benchmarks.out_of_core import Phases
from twotower.data.dataset.dataset import Dataset
from twotower.index.exact import ExactIndex
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender

K, QUERIES, MEASURED = 100, 200, 1000
USERS: Final = 100_000
ITEMS_OF_A_CENTRE: Final = 40
BLOCK: Final = 500_000
SEEDS: Final = 100
"""Of the first block of item vectors; that of the users is 1."""


def fill(table: torch.Tensor, centres: int, seed: int) -> None:
    """Put made vectors into an embedding table (N, D), a block at a time."""
    for place, start in enumerate(range(0, len(table), BLOCK)):
        rows = table[start : start + BLOCK]
        rows.copy_(torch.from_numpy(clustered(len(rows), seed + place, centres)))


def build(folder: Path, items: int) -> dict[str, Any]:
    """In a child: a model of made vectors, encoded, indexed and saved."""
    phases, rng = Phases(), np.random.default_rng(0)
    with phases.of("data"):
        taken = np.arange(items)
        rows = pl.DataFrame({"user_id": rng.integers(0, USERS, items), "item_id": taken})
        data = Dataset.from_frames(
            rows,
            test=rows[:1],
            validation=rows[:1],
            retriever={"item_bias": False, "smoothing_layers": 0},
        )
        del rows, taken
    with phases.of("model"), torch.no_grad():
        model = TwoTower(data.config.retriever, data.schema, seed=0)
        for tower, seed in ((model.query_tower, 1), (model.item_tower, SEEDS)):
            (table,) = tower.parameters()
            fill(table, items // ITEMS_OF_A_CENTRE, seed)
    with phases.of("encode_and_index"):
        recommender = Recommender.build(model, data.train, data.config)
    with phases.of("save"):
        recommender.save(folder)
    return phases.figures


def serve(folder: Path) -> dict[str, Any]:
    """In another child: load the bundle and ask it."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    phases = Phases()
    with phases.of("load"):
        recommender = Recommender.load(folder)
    served, index = recommender.served, recommender.served.index
    users = np.arange(served.users.first_known, served.users.first_known + MEASURED)
    vectors, ids = served.query_vectors(users), served.users.ids.gather(users).to_list()
    half = np.random.default_rng(2).random(len(served.items)) < 0.5
    half.flags.writeable = False
    asked: dict[str, Callable[[int], object]] = {
        "search": lambda row: index.search(vectors[row : row + 1], K),
        "search_half": lambda row: index.search(vectors[row : row + 1], K, allowed=half),
        "recommend": lambda row: recommender.recommend(ids[row], k=10),
    }
    figures: dict[str, Any] = {}
    for name, ask in asked.items():
        seconds, used = [], []
        with phases.of(name):
            for row in range(MEASURED):
                start, before = time.perf_counter(), time.thread_time()
                ask(row)
                seconds.append(time.perf_counter() - start)
                used.append(time.thread_time() - before)
        figures[name] = {
            "p50_ms": round(1e3 * float(np.percentile(seconds, 50)), 2),
            "p99_ms": round(1e3 * float(np.percentile(seconds, 99)), 2),
            "p50_cpu_ms": round(1e3 * float(np.percentile(used, 50)), 2),
            "rss_gb": phases.figures[name]["rss_gb"],
            "anonymous_gb": phases.figures[name]["anonymous_gb"],
        }
    exact = ExactIndex(index.vectors(), index.item_nums)
    for name, allowed in (("search", None), ("search_half", half)):
        found = index.search(vectors[:QUERIES], K, allowed=allowed).item_nums
        nearest = exact.search(vectors[:QUERIES], K, allowed=allowed).item_nums
        figures[name][f"recall@{K}"] = recall(found, nearest)
    return {
        "index": index.kind,
        "recall_in_manifest": round(served.index_recall, 4),
        "load": phases.figures["load"],
        **figures,
    }


def main() -> None:
    """Measure in two children, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--items", type=int, default=5_000_000)
    made.add_argument("--child", nargs=2, metavar=("PART", "FOLDER"), help="used by itself")
    options = made.parse_args()
    if options.child:
        part, folder = options.child[0], Path(options.child[1])
        made_of = build(folder, options.items) if part == "build" else serve(folder)
        print(json.dumps(made_of))
        return
    results = {}
    with tempfile.TemporaryDirectory() as path:
        bundle = Path(path) / "bundle"
        for part in ("build", "serve"):
            arguments = ["--items", str(options.items), "--child", part, str(bundle)]
            command = [sys.executable, "-m", "benchmarks.index_large", *arguments]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results[part] = json.loads(done.stdout)
        sizes = [file.stat().st_size for file in bundle.rglob("*") if file.is_file()]
    emit(
        {
            "protocol": "one query at a time on one thread; k = 100; recall over 200 users",
            "configuration": {"items": options.items, "users": USERS, "embedding_dim": 64},
            **results,
            "bundle_gb": round(sum(sizes) / 1e9, 2),
        },
        "index_large",
        save=options.save,
    )


if __name__ == "__main__":
    main()
