"""Writes the README's table of figures from benchmarks/results/*.json: `python -m benchmarks.readme`."""

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


ROWS: list[Row] = [
    (
        "gowalla, ids only, d = 64: Recall@20 / NDCG@20, time with refit, peak memory",
        "gowalla",
        quality,
    ),
    ("yelp2018, the same", "yelp2018", quality),
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
