"""The synthetic shop, a kind of feature at a time, against the best reachable; about 15 minutes.

What each kind can tell is planted: metadata an exclusive or of age, region and genre; the words of
the description a mood; the cover a look; the device what it is good for; the history the series
that a user has begun. The split is by time, so that a part of users and items is new. The ceiling
is computed from the generator's own probabilities, for one who knows every user's true taste and
past, and when they come.

A mean over all rows hides what a kind adds where ids say much already. `recovered` tells for each
planted signal how much of it the scores hold: 0 nothing, 1 as much as was planted (see
`benchmarks/planted.py`). All figures are means over shops of other seeds, with their standard
deviation.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.common import emit, parser
from benchmarks.planted import recovered
from benchmarks.retrieval import peak_memory_gb
from twotower.config import Config, parse_config
from twotower.data.dataset import Dataset
from twotower.data.synthetic import Catalogue, best_reachable, generate, write
from twotower.workflow.train import fit_part, measure

K = 10
NUMBERS = {"num_users": 1000, "num_items": 500, "num_interactions": 25_000}
ENCODER = "attention"
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
    ("+ image", {"item": {"cover": {"type": "image", "size": 16}}}),
    ("+ context", {"context": {"device": {"type": "category"}}}),
    ("+ history", {"user": {"history": {"type": "history", "encoder": ENCODER}}}),
)


def main() -> None:
    """Train each, measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--seeds", type=int, default=3, help="shops drawn (default 3)")
    made.add_argument("--jobs", type=int, default=1, help="shops at a time (default 1)")
    options = made.parse_args()
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        runs = list(pool.map(ablate, range(options.seeds)))
    emit(
        {
            "protocol": f"global_time, full_catalog, seen items masked, k = {K}; means over shops",
            "shops": options.seeds,
            "shop": NUMBERS,
            "history": ENCODER,
            "models": {name: summary([run[name] for run in runs]) for name in runs[0]},
            "peak_memory_gb": round(peak_memory_gb(), 2),
        },
        "synthetic_ablation",
        save=options.save,
    )


def ablate(seed: int) -> dict[str, dict[str, float]]:
    """One shop: name -> figures."""
    console = Console(stderr=True)
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        catalogue = generate(folder, seed=seed, **NUMBERS)
        write(catalogue, folder, covers=True)
        features: dict[str, dict[str, Any]] = {"user": {}, "item": {}, "context": {}}
        for step, more in STEPS:
            for side, declared in more.items():
                features[side].update(declared)
            if "cover" in features["item"]:
                # Without a config file paths would start in the working folder.
                cover = {**features["item"]["cover"], "folder": str(folder)}
                features["item"]["cover"] = cover
            dataset = Dataset.read(settings(folder, features, seed))
            best = best_reachable(catalogue, dataset.parts.test, K)
            found[step] = figures(catalogue, dataset, best, console, f"{seed}, {step}")
        found["best reachable"] = {f"ndcg@{K}": best[f"ndcg@{K}"], "of_best_reachable": 1.0}
    return found


def settings(folder: Path, features: dict[str, dict[str, Any]], seed: int) -> Config:
    """The shop with some features."""
    files = {part: str(folder / f"{part}.parquet") for part in ("interactions", "users", "items")}
    return parse_config(
        {
            "data": files,
            "features": features,
            "training": {
                "seed": seed,
                "epochs": 16,
                "patience": 4,
                "layer_learning_rate": 0.005,
            },
            "evaluation": {"k": K},
        }
    )


def figures(
    catalogue: Catalogue, dataset: Dataset, best: dict[str, float], console: Console, title: str
) -> dict[str, float]:
    """Train one model and measure it."""
    recommender, run = fit_part(dataset, None, console=console, title=title)
    evaluation = measure(recommender, dataset)
    assert evaluation is not None
    ndcg = f"ndcg@{K}"
    temperature = float(recommender.model.temperature.detach())
    signals = recovered(catalogue, dataset, recommender, temperature)
    console.print(f"{title}: {evaluation.metrics[ndcg]:.4f}, recovered {signals}", highlight=False)
    return {
        ndcg: evaluation.metrics[ndcg],
        "of_best_reachable": evaluation.metrics[ndcg] / best[ndcg],
        **{
            f"{part}_{ndcg}": evaluation.slices[part][ndcg] or 0.0
            for part in ("warm", "cold_user", "cold_item")
        },
        **{f"recovered_{signal}": share for signal, share in signals.items()},
        "epochs": len(run.epochs),
        "seconds_an_epoch": run.seconds / len(run.epochs),
    }


def summary(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over shops."""
    return {
        name: {
            "mean": round(statistics.mean(row[name] for row in rows), 4),
            "spread": round(statistics.stdev(row[name] for row in rows), 4) if rows[1:] else 0.0,
        }
        for name in rows[0]
    }


if __name__ == "__main__":
    main()
