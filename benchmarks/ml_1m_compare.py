"""ML-1M with features: two-tower, NCF and both stages against tuned baselines; half an hour a seed.

The cut of `ml_1m_features`: 10 % of the users and 10 % of the items are held out whole (cold), of
what is left 10 % of each user's rows are tested on; the set has no times. All models have the same
budget of trials and seconds for their search on a validation part cut from the training rows. The
test part is asked once for each model, after its search. All of that is done once a seed, from
which the search draws, too; the cut stays. With --development the test rows are put aside unseen,
and a second cut of the training rows stands in for them. Figures are means over seeds, and `runs`
has what each of them found, tests with it.
"""

from __future__ import annotations

import shutil
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

from benchmarks.common import data_folder, emit, over_runs, parser
from benchmarks.ml_1m_features import FEATURES, held_out
from twotower.config import apply_override, parse_config
from twotower.workflow.comparison.compare import Comparison, compare
from twotower.workflow.comparison.report.terminal import render_comparison

K = 10
MODELS = (
    "popularity",
    "item_knn",
    "ease",
    "ials",
    "bpr_mf",
    "two_tower_ids",
    "factorization_machine",
    "two_tower_linear",
    "two_tower",
    "ncf",
    "pipeline",
)
BUDGET = {"models": MODELS, "trials": 6, "seconds": 60.0}
"""Slow models have fewer trials in their time than six, quick ones have six."""
KEPT = (
    "title",
    "family",
    "validation",
    "metrics",
    "slices",
    "tests",
    "beyond_accuracy",
    "settings",
    "num_trials",
    "num_failed_trials",
    "tuning_seconds",
    "train_seconds",
    "memory_mb",
    "peak_memory_mb",
    "parameters",
    "milliseconds",
)


def document(folder: Path, interactions: pl.DataFrame, test: pl.Series) -> dict[str, Any]:
    """The config, with the parts written into a folder."""
    interactions.filter(~test).write_parquet(folder / "train.parquet")
    interactions.filter(test).write_parquet(folder / "test.parquet")
    source = data_folder("ml-1m")
    return {
        "data": {
            "interactions": f"{folder}/train.parquet",
            "users": str(source / "users.parquet"),
            "items": str(source / "items.parquet"),
            "split": {"method": "given", "test": f"{folder}/test.parquet"},
        },
        "features": FEATURES,
        "ranker": {},
        "training": {"patience": 3, "average_steps": 100},
        "evaluation": {"k": K},
        "compare": dict(BUDGET),
    }


def run(options: Namespace, folder: Path, seed: int, console: Console) -> Comparison:
    """One comparison, or what is left to do of it, in a folder of its own."""
    source = data_folder("ml-1m")
    interactions = pl.read_parquet(source / "interactions.parquet").select("user_id", "item_id")
    test = held_out(interactions, np.random.default_rng(0))
    if options.development:
        interactions = interactions.filter(~test)
        test = held_out(interactions, np.random.default_rng(1))
    parts = folder / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    config = document(parts, interactions, test)
    for override in (f"training.seed={seed}", f"compare.seed={seed}", *options.set):
        apply_override(config, override)
    found = compare(parse_config(config), folder / "comparison", console=console)
    console.print(render_comparison(found.document, console.width))
    return found


def kept(seed: int, found: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a seed's comparison."""
    models = {model["name"]: model for model in found["models"]}
    return {
        "seed": seed,
        **{key: found[key] for key in ("verdict", "reference", "budget", "failed")},
        "models": {name: {key: model[key] for key in KEPT} for name, model in models.items()},
        "stages": models["pipeline"]["stages"] if "pipeline" in models else None,
    }


def model_over_seeds(rows: list[dict[str, Any]], metric: str) -> dict[str, Any]:
    """Of one model's row of each seed: its metric by slice, how far that is from the reference's
    with the largest p of the seeds, and what it costs."""
    tested = [part for part in rows[0]["tests"] if all(part in row["tests"] for row in rows)]
    figures = [
        {
            metric: {
                "all": row["metrics"][metric]["mean"],
                **{part: figure[metric]["mean"] for part, figure in row["slices"].items()},
            },
            "difference": {part: row["tests"][part]["difference"] for part in tested},
            "validation": row["validation"],
            "train_seconds": row["train_seconds"],
            "milliseconds": row["milliseconds"]["p50"],
        }
        for row in rows
    ]
    largest = {part: max(row["tests"][part]["p_holm"] for row in rows) for part in tested}
    return {"title": rows[0]["title"], **over_runs(figures), "largest_p_holm": largest}


def main() -> None:
    """Compare once a seed, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    made.add_argument("--seeds", type=int, default=3, help="comparisons (default 3)")
    made.add_argument("--development", action="store_true", help="leave the test part alone")
    made.add_argument("--out", type=Path, help="keep comparisons in this folder, and resume them")
    made.add_argument("--report", type=Path, help="copy the first seed's report to this file")
    options = made.parse_args()
    if options.development and options.save:
        made.error("figures of a development run are not kept")
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.out or temporary)
        found = [
            run(options, folder / f"seed_{seed}", seed, console) for seed in range(options.seeds)
        ]
        if options.report:
            shutil.copyfile(found[0].report, options.report)
    runs = [kept(seed, one.document) for seed, one in enumerate(found)]
    first = found[0].document
    metric = first["metric"]
    names = [name for name in runs[0]["models"] if all(name in one["models"] for one in runs)]
    models = {
        name: model_over_seeds([one["models"][name] for one in runs], metric) for name in names
    }
    order = sorted(models, key=lambda name: -models[name][metric]["all"]["mean"])
    emit(
        {
            "protocol": "full_catalog, seen items masked, 10 % of users and of items held out "
            "whole, of the rest a random 10 % of rows (the set has no times), one cut",
            "development": options.development,
            "features": FEATURES,
            "overrides": options.set,
            **{key: first[key] for key in ("metric", "num_queries", "num_items")},
            "references": [one["reference"] for one in runs],
            "models": {name: models[name] for name in order},
            "runs": runs,
        },
        "ml_1m_compare",
        save=options.save,
    )


if __name__ == "__main__":
    main()
