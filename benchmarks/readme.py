"""Writes the README's table from benchmarks/results/*.json: `python -m benchmarks.readme`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- figures -->\n).*?(<!-- /figures -->)", re.DOTALL)

Row = tuple[str, str, Callable[[dict[str, Any]], str]]


def quality(result: dict[str, Any]) -> str:
    """Recall@20 / NDCG@20, the time, the memory."""
    metrics = result["metrics"]
    return (
        f"{metrics['recall@20']:.4f} / {metrics['ndcg@20']:.4f}, {result['seconds'] / 60:.0f} min, "
        f"{result['peak_memory_gb']:.2f} GB"
    )


def features(result: dict[str, Any]) -> str:
    """ndcg@20 of ids only, features and popularity by slice."""
    cells = []
    for part in ("warm", "cold_user", "cold_item"):
        values = [
            result["models"][model]["slices"][part]["ndcg@20"]
            for model in ("ids_only", "features", "popularity")
        ]
        cells.append(f"{part.replace('_', ' ')} {' / '.join(f'{value:.3f}' for value in values)}")
    return "; ".join(cells)


def training(result: dict[str, Any]) -> str:
    """Pairs/s of both steps, and how far from the floor."""
    in_batch, recipe = result["in_batch"], result["recipe"]
    return (
        f"{in_batch['pairs_per_second']:,} pairs/s, {in_batch['step_over_floor']:.2f} times the "
        f"floor; default recipe {recipe['pairs_per_second']:,} pairs/s, "
        f"{recipe['step_over_floor']:.2f} times; plain autograd and dense Adam "
        f"{result['plain']['pairs_per_second']:,} pairs/s"
    )


def evaluation(result: dict[str, Any]) -> str:
    """Seconds and memory."""
    return f"{result['evaluate_seconds']:.1f} s, {result['peak_memory_gb']:.2f} GB"


def reading(result: dict[str, Any]) -> str:
    """Seconds and memory."""
    return f"{result['seconds']:.1f} s, {result['peak_memory_gb']:.2f} GB"


ROWS: list[Row] = [
    (
        "gowalla, ids only, d = 64: Recall@20 / NDCG@20, time with refit, peak memory",
        "gowalla",
        quality,
    ),
    ("yelp2018, the same", "yelp2018", quality),
    (
        "ml-1m, ndcg@20 of ids only / with features / popularity, by slice",
        "ml_1m_features",
        features,
    ),
    ("in-batch softmax, 2,048 pairs, d = 64, gowalla's size", "train_speed", training),
    ("evaluating all gowalla users over all items", "evaluate_speed", evaluation),
    ("10 million interactions from Parquet to numbered arrays", "read_speed", reading),
]


def table() -> str:
    """The block between the markers; a benchmark without a committed result has no row."""
    lines = ["| what | measured | command |", "|---|---|---|"]
    for what, name, word in ROWS:
        path = RESULTS / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text(encoding="utf-8"))
            lines.append(f"| {what} | {word(result)} | `python -m benchmarks.{name}` |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Put the table into the README."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(BLOCK.sub(lambda found: found[1] + table() + found[2], text), encoding="utf-8")


if __name__ == "__main__":
    main()
