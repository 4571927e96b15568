"""The synthetic shop, a kind of feature at a time, against the best reachable; about 40 minutes.

What each kind can tell is planted: metadata an exclusive or of age, region and genre; the words of
the description a mood; the cover a look; the device what it is good for; the history the series
that a user has begun. The split is by time, so that a part of users and items is new. The defaults
of the library train each model.

`best reachable` is computed from the generator's own probabilities, for one who knows every user's
true taste and past, and when they come; `ceiling` of a model in the same way, for one who knows no
more than its kinds of features tell of new users and items, of the context and of what was begun
(see `benchmarks/knowable.py`).

A mean over all rows hides what a kind adds where ids say much already. `recovered` tells for each
planted signal how much of it the scores hold: 0 nothing, 1 as much as was planted (see
`benchmarks/planted.py`). All figures are means over shops of other seeds, with their standard
deviation.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from benchmarks.common import emit, over_runs, parser
from benchmarks.knowable import knowable
from benchmarks.planted import recovered
from benchmarks.retrieval import peak_memory_gb
from twotower.config import Config, parse_config
from twotower.data.dataset.dataset import Dataset
from twotower.data.synthetic.shop import SyntheticShop, best_reachable, generate, write
from twotower.workflow.training.train import fit_part, measure

K = 10
NDCG = f"ndcg@{K}"
NUMBERS = {"num_users": 3200, "num_items": 400, "num_interactions": 80_000}
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
    ("+ history", {"user": {"history": {"type": "history", "encoder": "mean"}}}),
)


def main() -> None:
    """Train each, measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--seeds", type=int, default=3, help="shops drawn (default 3)")
    made.add_argument("--first-seed", type=int, default=200, help="of the shops (default 200)")
    made.add_argument("--jobs", type=int, default=1, help="shops at a time (default 1)")
    options = made.parse_args()
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        runs = list(pool.map(ablate, seeds))
    emit(
        {
            "protocol": f"global_time, full_catalog, seen items masked, k = {K}; means over shops",
            "shops": [*seeds],
            "shop": NUMBERS,
            "models": over_runs(runs),
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
        best = 0.0
        for step, more in STEPS:
            for side, declared in more.items():
                features[side].update(declared)
            if "cover" in features["item"]:
                # Without a config file paths would start in the working folder.
                cover = {**features["item"]["cover"], "folder": str(folder)}
                features["item"]["cover"] = cover
            dataset = Dataset.read(settings(folder, features, seed))
            shop = Shop(catalogue, dataset, folder)
            best = best or best_reachable(catalogue, dataset.parts.test, K)[NDCG]
            found[step] = figures(shop, kinds_until(step), best, console, f"{seed}, {step}")
        found["best reachable"] = {NDCG: best, "of_best_reachable": 1.0}
    return found


def kinds_until(step: str) -> list[str]:
    """The kinds of features that a step's model reads beside ids."""
    names = [name for name, _ in STEPS]
    return [name.removeprefix("+ ") for name in names[1 : names.index(step) + 1]]


class Shop(NamedTuple):
    """A catalogue, the dataset that is read of it, and the folder that both lie in."""

    catalogue: SyntheticShop
    dataset: Dataset
    folder: Path


def settings(
    folder: Path, features: dict[str, dict[str, Any]], seed: int, **training: Any
) -> Config:
    """The shop with some features; `training` are keys of that section."""
    files = {part: str(folder / f"{part}.parquet") for part in ("interactions", "users", "items")}
    return parse_config(
        {
            "data": files,
            "features": features,
            # As measured; the default of this many rows is higher.
            "retriever": {"temperature": 0.1},
            "training": {"seed": seed, **training},
            "evaluation": {"k": K},
        }
    )


def figures(
    shop: Shop, kinds: list[str], best: float, console: Console, title: str
) -> dict[str, float]:
    """Train one model and measure it."""
    catalogue, dataset, folder = shop
    recommender, run = fit_part(dataset, None, console=console, title=title)
    evaluation = measure(recommender, dataset)
    assert evaluation is not None
    ndcg = evaluation.metrics[NDCG]
    known = knowable(catalogue, dataset.parts.train, kinds)
    ceiling = best_reachable(known, dataset.parts.test, K)[NDCG]
    signals = recovered(catalogue, dataset, recommender, folder)
    console.print(f"{title}: {ndcg:.4f} of {ceiling:.4f}, recovered {signals}", highlight=False)
    return {
        NDCG: ndcg,
        "ceiling": ceiling,
        "of_ceiling": ndcg / ceiling,
        "of_best_reachable": ndcg / best,
        **{
            f"{part}_{NDCG}": evaluation.slices[part][NDCG] or 0.0
            for part in ("warm", "cold_user", "cold_item")
        },
        **{f"recovered_{signal}": share for signal, share in signals.items()},
        "epochs": len(run.epochs),
        "seconds_an_epoch": run.seconds / len(run.epochs),
    }


if __name__ == "__main__":
    main()
