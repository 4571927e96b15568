"""ML-1M with features: two-tower, NCF and both stages against tuned baselines; half an hour.

The cut of `ml_1m_features`: 10 % of the users and 10 % of the items are held out whole (cold), of
what is left 10 % of each user's rows are tested on; the set has no times. All models have the same
budget of trials and seconds for their search on a validation part cut from the training rows. The
test part is asked once for each model, after its search. With --development the test rows are put
aside unseen, and a second cut of the training rows stands in for them.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

from benchmarks.common import data_folder, emit, parser
from benchmarks.ml_1m_features import FEATURES, held_out
from twotower.config import apply_override, parse_config
from twotower.workflow.compare import compare, render_comparison

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


def main() -> None:
    """Compare, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    made.add_argument("--development", action="store_true", help="leave the test part alone")
    made.add_argument("--out", type=Path, help="keep the comparison in this folder, and resume it")
    made.add_argument("--report", type=Path, help="copy the report to this file")
    options = made.parse_args()
    if options.development and options.save:
        made.error("figures of a development run are not kept")
    source = data_folder("ml-1m")
    interactions = pl.read_parquet(source / "interactions.parquet").select("user_id", "item_id")
    test = held_out(interactions, np.random.default_rng(0))
    if options.development:
        interactions = interactions.filter(~test)
        test = held_out(interactions, np.random.default_rng(1))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.out or temporary)
        parts = folder / "parts"
        parts.mkdir(parents=True, exist_ok=True)
        config = document(parts, interactions, test)
        for override in options.set:
            apply_override(config, override)
        console = Console(stderr=True)
        found = compare(parse_config(config), folder / "comparison", console=console)
        console.print(render_comparison(found, console.width))
        if options.report:
            shutil.copyfile(found.report, options.report)
    result = found.document
    emit(
        {
            "protocol": "full_catalog, seen items masked, 10 % of users and of items held out "
            "whole, of the rest a random 10 % of rows (the set has no times), seed 0",
            "development": options.development,
            "features": FEATURES,
            "overrides": options.set,
            **{
                key: result[key]
                for key in ("verdict", "metric", "reference", "budget", "num_queries", "num_items")
            },
            "models": {
                model["name"]: {key: model[key] for key in KEPT} for model in result["models"]
            },
            "stages": next(
                (m["stages"] for m in result["models"] if m["name"] == "pipeline"), None
            ),
            "failed": result["failed"],
        },
        "ml_1m_compare",
        save=options.save,
    )


if __name__ == "__main__":
    main()
