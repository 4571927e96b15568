"""Writes the README's table from benchmarks/results/*.json: `python -m benchmarks.readme`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import readme_words as words

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- figures -->\n).*?(<!-- /figures -->)", re.DOTALL)

Row = tuple[str, str, Callable[[dict[str, Any]], str]]

ROWS: list[Row] = [
    (
        "gowalla, ids only, d = 64: Recall@20 / NDCG@20, CPU time with refit, peak memory",
        "gowalla",
        words.quality,
    ),
    ("yelp2018, the same", "yelp2018", words.quality),
    (
        "the defaults against popularity, recent popularity, item-kNN, EASE and iALS, ndcg@20",
        "robust",
        words.robust,
    ),
    ("gowalla, baselines: Recall@20 / NDCG@20", "baselines_gowalla", words.classics),
    ("yelp2018, baselines", "baselines_yelp2018", words.classics),
    (
        "iALS by conjugate gradients against exact epochs, one thread: CPU s an epoch, and best "
        "ndcg@20 on validation rows",
        "ials_speed",
        words.solvers,
    ),
    (
        "ml-1m with features, new users and items held out, all tuned alike: ndcg@10 of all rows / "
        "of warm rows",
        "ml_1m_compare",
        words.comparison,
    ),
    (
        "ml-1m, ndcg@20 of ids only / with features / popularity, by slice",
        "ml_1m_features",
        words.features,
    ),
    (
        "amazon-beauty, next item: Recall@10 / NDCG@10 of the history's encoders, fitted again on "
        "validation rows; as published: without that, seen items masked",
        "amazon_beauty",
        words.next_item,
    ),
    ("ml-1m, new items among themselves, ndcg@20", "ml_1m_cold_items", words.new_items),
    (
        "the same among the whole catalogue, ndcg@20 of warm rows / of new items; showing more: at "
        "what DropoutNet's way costs validation rows; showing as many: new items have as many "
        "places of the lists as in DropoutNet's",
        "ml_1m_cold_items",
        words.among_all,
    ),
    (
        "ml-1m, new users by the number of known interactions, ndcg@20",
        "ml_1m_cold_users",
        words.new_users,
    ),
    (
        "synthetic shop, ndcg@10 of what could be reached, a kind of feature at a time",
        "synthetic_ablation",
        words.ablation,
    ),
    (
        "ncf-ml-1m, matrix factorization, the paper's 99 negatives: HR@10 / NDCG@10",
        "ncf_ml_1m",
        words.factorized,
    ),
    (
        "ncf-ml-1m, neural models of ids only, the same negatives: HR@10 / NDCG@10",
        "ncf_neumf",
        words.sampled,
    ),
    (
        "ncf-ml-1m, two towers that read the mean of a history, the same negatives",
        "ncf_history",
        lambda result: words.by_seeds({"two_tower": result["test"]}),
    ),
    (
        "NeuMF training, 32 factors, 4 negatives a positive, 2 cores",
        "ncf_speed",
        words.pairs_a_second,
    ),
    (
        "ranking 100 candidates of a user with all features, 1 core",
        "rank_speed",
        words.ranking,
    ),
    ("in-batch softmax, 2,048 pairs, d = 64, gowalla's size", "train_speed", words.training),
    ("a config that names files only, as the data grow, one thread", "scale", words.scaling),
    (
        "transformer history, 256 sequences of 50, d = 64, forward and backward",
        "history_speed",
        words.history_speed,
    ),
    ("one NVIDIA H200, bf16", "gpu", words.on_a_gpu),
    (
        "training with all of ml-1m's features against ids only",
        "feature_speed",
        words.feature_speed,
    ),
    ("one answer from a million items, median", "serve_load", words.answers),
    (
        "the service under load, 2 workers on 2 cores with the load generator",
        "serve_load",
        words.load,
    ),
    ("HNSW with filters, a search of a million vectors, 1 core", "index_speed", words.filtered),
    (
        "5 million items, encoded, indexed by IVF-PQ and served from mapped files",
        "index_large",
        words.index_of_millions,
    ),
    (
        "100,000 item vectors in an index of the process and in databases, one query at a time",
        "vector_databases_100000",
        words.databases,
    ),
    (
        "the same with a million, beside other work, Milvus Lite on one core",
        "vector_databases_1000000",
        words.databases,
    ),
    (
        "recommendations for all users to Parquet, 20,000 items, exact search",
        "all_users",
        words.all_users,
    ),
    (
        "10 minutes of good clients beside hostile ones, all on 2 cores",
        "hostile_load",
        words.beside_hostile,
    ),
    (
        "clients of the service beside 50 learners of the course, all on 2 cores",
        "learn_load",
        words.beside_learners,
    ),
    ("swapping models under load", "serve_load", words.swapping),
    ("durable events a second, batches of 100, 16 writers", "events_speed", words.durable),
    ("evaluating all gowalla users over all items", "evaluate_speed", words.evaluation),
    ("10 million interactions from Parquet to numbered arrays", "read_speed", words.reading),
    (
        "a log larger than memory: 100 million rows of 5 million users and 1 million items read, "
        "split and numbered; with training of ids, the peak memory",
        "out_of_core",
        words.larger_than_memory,
    ),
    (
        "two processes on two cores against one on one core, 1 million rows: times as fast, by "
        "what a step contrasts with and its queries",
        "processes",
        words.processes,
    ),
    (
        "an epoch with one user of all rows against the same rows of many",
        "heavy_user",
        words.heavy_user,
    ),
    (
        "files in the formats of public data sets, from `init` to `evaluate`",
        "formats",
        words.formats,
    ),
]


COMMANDS = {
    **{
        f"ml_1m_cold_{part}": f"python -m benchmarks.ml_1m_cold --part {part}"
        for part in ("items", "users")
    },
    **{
        f"baselines_{name}": f"python -m benchmarks.baselines {name}"
        for name in ("gowalla", "yelp2018")
    },
    "robust": "python -m benchmarks.robust --contenders files",
    "scale": "python -m benchmarks.scale --large",
    "vector_databases_100000": "python -m benchmarks.vector_databases --items 100000",
    "vector_databases_1000000": (
        "python -m benchmarks.vector_databases --items 1000000 --kinds pgvector,milvus"
    ),
}
"""Of results that are not named after their module, or have arguments."""


def table() -> str:
    """The block between the markers; a benchmark without a committed result has no row."""
    lines = ["| what | measured | command |", "|---|---|---|"]
    for what, name, word in ROWS:
        path = RESULTS / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text(encoding="utf-8"))
            command = COMMANDS.get(name, f"python -m benchmarks.{name}")
            lines.append(f"| {what} | {word(result)} | `{command}` |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Put the table into the README."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(BLOCK.sub(lambda found: found[1] + table() + found[2], text), encoding="utf-8")


if __name__ == "__main__":
    main()
