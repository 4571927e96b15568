"""ML-1M with genres, year, certificate and demographics against ids only, all slices; 10 minutes.

One seeded split: 10 % of the users and 10 % of the items are held out whole (cold), of what is left
10 % of each user's rows are tested on. The set has no times, so the cut is random and labelled so.
The same training rows and the same catalogue for both models; early stopping on a validation part
cut from the training rows.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

from benchmarks.common import arguments, data_folder, emit
from benchmarks.retrieval import ndcg_difference, peak_memory_gb
from twotower.config import parse_config
from twotower.data.dataset.dataset import Dataset
from twotower.models.baselines.popularity_ranker import PopularityRanker
from twotower.workflow.evaluate import Evaluation, evaluate
from twotower.workflow.training.train import fit_part, known_events, measure

FEATURES: dict[str, Any] = {
    "user": {
        "gender": {"type": "category"},
        "age": {"type": "category"},
        "occupation": {"type": "category"},
    },
    "item": {
        "genres": {"type": "categories", "separator": "|"},
        "release_year": {"type": "number", "num_bins": 20},
        "certificate": {"type": "category"},
    },
}
K = 20


def held_out(interactions: pl.DataFrame, rng: np.random.Generator) -> pl.Series:
    """(T,) which rows are tested on."""
    cold = []
    for column in ("user_id", "item_id"):
        ids = interactions[column].unique().sort()
        drawn = rng.choice(len(ids), len(ids) // 10, replace=False)
        cold.append(interactions[column].is_in(ids.gather(np.sort(drawn)).implode()))
    random = pl.Series(rng.random(len(interactions)) < 0.1)
    return cold[0] | cold[1] | random


def main() -> None:
    """Train both, measure the test part once, print one JSON object."""
    options = arguments(__doc__, overrides=False)
    source = data_folder("ml-1m")
    interactions = pl.read_parquet(source / "interactions.parquet").select("user_id", "item_id")
    test = held_out(interactions, np.random.default_rng(0))
    console = Console(stderr=True)
    evaluations: dict[str, Evaluation] = {}
    warm_alone: dict[str, Evaluation] = {}
    epochs: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        interactions.filter(~test).write_parquet(Path(folder) / "train.parquet")
        interactions.filter(test).write_parquet(Path(folder) / "test.parquet")
        data = {
            "interactions": f"{folder}/train.parquet",
            "users": str(source / "users.parquet"),
            "items": str(source / "items.parquet"),
            "split": {"method": "given", "test": f"{folder}/test.parquet"},
        }
        for name, features in (("ids_only", {}), ("features", FEATURES)):
            dataset = Dataset.read(parse_config({"data": data, "features": features}))
            recommender, result = fit_part(dataset, None, console=console, title=name)
            found = measure(recommender, dataset)
            assert found is not None
            evaluations[name], epochs[name] = found, result.best_epoch
            warm_alone[name] = evaluate(recommender, dataset.test, k=K, candidates="warm")
        popularity = PopularityRanker.fit(dataset.train, seen=known_events(dataset).items)
        evaluations["popularity"] = evaluate(popularity, dataset.test, k=K)
    emit(
        {
            "protocol": "full_catalog, seen items masked, 10 % of users and of items held out "
            "whole, of the rest a random 10 % of rows (the set has no times), seed 0",
            "features": FEATURES,
            "best_epoch": epochs,
            "num_items": evaluations["features"].num_items,
            "chance_recall@20": K / evaluations["features"].num_items,
            "models": {
                name: {
                    "metrics": {m: evaluation.metrics[m] for m in (f"recall@{K}", f"ndcg@{K}")},
                    "slices": evaluation.slices,
                    "paths": evaluation.paths,
                }
                for name, evaluation in evaluations.items()
            },
            "features_minus_ids_only_all": ndcg_difference(
                evaluations["features"], evaluations["ids_only"], None
            ),
            "features_minus_ids_only_warm": ndcg_difference(
                evaluations["features"], evaluations["ids_only"], "warm"
            ),
            "features_minus_ids_only_warm_among_warm_items": ndcg_difference(
                warm_alone["features"], warm_alone["ids_only"], "warm"
            ),
            "features_minus_popularity_cold_user": ndcg_difference(
                evaluations["features"], evaluations["popularity"], "cold_user"
            ),
            "peak_memory_gb": round(peak_memory_gb(), 2),
        },
        "ml_1m_features",
        save=options.save,
    )


if __name__ == "__main__":
    main()
