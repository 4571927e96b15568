"""The synthetic shop, a kind of feature at a time, against the best reachable; about 10 minutes.

What each kind can tell is planted: metadata an exclusive or of age, region and genre; the words of
the description a mood; the cover a look; the device what it is good for. The split is by time, so
that a part of users and items is new. The ceiling is computed from the generator's own
probabilities, for one who knows every user's true taste and when they come.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.common import emit, parser
from benchmarks.retrieval import peak_memory_gb
from twotower.config import parse_config
from twotower.data.dataset import Dataset
from twotower.data.synthetic import best_reachable, generate, write
from twotower.workflow.train import fit_part, measure

K = 10
NUMBERS = {"num_users": 3000, "num_items": 1000, "num_interactions": 90_000}
STEPS: tuple[tuple[str, dict[str, dict[str, Any]]], ...] = (
    ("ids", {}),
    (
        "+ metadata",
        {
            "user": {
                "age": {"type": "number", "num_bins": 10},
                "region": {"type": "category"},
                "occupation": {"type": "category"},
            },
            "item": {
                "genres": {"type": "categories"},
                "price": {"type": "number", "log": True},
                "release_year": {"type": "number"},
            },
        },
    ),
    ("+ text", {"item": {"description": {"type": "text"}}}),
    ("+ image", {"item": {"cover": {"type": "image"}}}),
    ("+ context", {"context": {"device": {"type": "category"}}}),
    ("+ history", {"user": {"history": {"type": "history", "encoder": "mean"}}}),
)


def main() -> None:
    """Train each, measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--seeds", type=int, default=2, help="shops drawn (default 2)")
    options = made.parse_args()
    console = Console(stderr=True)
    runs = [ablate(seed, console) for seed in range(options.seeds)]
    names = list(runs[0])
    emit(
        {
            "protocol": f"global_time, full_catalog, seen items masked, k = {K}; means over shops",
            "shops": options.seeds,
            "shop": NUMBERS,
            "models": {name: mean([run[name] for run in runs]) for name in names},
            "peak_memory_gb": round(peak_memory_gb(), 2),
        },
        "synthetic_ablation",
        save=options.save,
    )


def ablate(seed: int, console: Console) -> dict[str, dict[str, float]]:
    """One shop: name -> figures."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        catalogue = generate(folder, seed=seed, **NUMBERS)
        write(catalogue, folder, covers=True)
        features: dict[str, dict[str, Any]] = {"user": {}, "item": {}, "context": {}}
        for step, more in STEPS:
            for side, declared in more.items():
                features[side].update(declared)
            config = parse_config(
                {
                    "data": {
                        part: str(folder / f"{part}.parquet")
                        for part in ("interactions", "users", "items")
                    },
                    "features": features,
                    "training": {"seed": seed, "patience": 8},
                    "evaluation": {"k": K},
                }
            )
            dataset = Dataset.read(config)
            recommender, run = fit_part(dataset, None, console=console, title=f"{seed}, {step}")
            evaluation = measure(recommender, dataset)
            assert evaluation is not None
            best = best_reachable(catalogue, dataset.parts.test, K)
            ndcg = f"ndcg@{K}"
            found[step] = {
                ndcg: evaluation.metrics[ndcg],
                "of_best_reachable": evaluation.metrics[ndcg] / best[ndcg],
                **{
                    f"{part}_{ndcg}": evaluation.slices[part][ndcg] or 0.0
                    for part in ("warm", "cold_user", "cold_item")
                },
                "seconds_an_epoch": run.seconds / len(run.epochs),
            }
        found["best reachable"] = {ndcg: best[ndcg], "of_best_reachable": 1.0}
    return found


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Means over shops."""
    return {name: round(statistics.mean(row[name] for row in rows), 4) for name in rows[0]}


if __name__ == "__main__":
    main()
