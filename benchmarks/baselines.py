"""The baselines on gowalla or yelp2018 (LightGCN split): Recall@20 and NDCG@20; about an hour each.

`python -m benchmarks.baselines gowalla` chooses the epoch of the baselines that have epochs on 10 %
of each user's training rows, fits all of them with the settings below on all training rows, and
measures the test part once. EASE takes most of the time and of the memory: for gowalla it inverts a
matrix of 29,858 users, some 7 minutes of one core and 11 GB.

`--tune N` draws N settings from each baseline's search space, prints what each reaches on the 10 %,
the best one first, and does not look at the test part. `--models a,b` takes some of the baselines;
with `--save` the figures that are kept of the others stay. `peak_memory_gb` is that of the process
up to there.

Figures of others on the test part, Recall@20 / NDCG@20: gowalla MF-BPR .1627/.1378, EASE
.1765/.1467; yelp2018 MF-BPR .0576/.0468, EASE .0657 (Recall@20).
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import data_folder, emit, parser, saved
from benchmarks.retrieval import peak_memory_gb
from twotower.config import Config
from twotower.config.baselines import Choice, EpochsConfig, Range, Search
from twotower.data.dataset import Dataset
from twotower.data.interactions import Interactions
from twotower.models.baselines import BASELINES, Baseline
from twotower.workflow.evaluate import evaluate

K = 20
MODELS = ("popularity", "svd", "item_knn", "ials", "bpr_mf", "ease")
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "gowalla": {
        "bpr_mf": {"l2": 0.03, "learning_rate": 0.002, "epochs": 200, "validate_every": 20},
        "ease": {"l2": 60.0},
        "ials": {"embedding_dim": 256, "unobserved_weight": 0.01, "l2": 0.005},
    },
    "yelp2018": {
        "bpr_mf": {"l2": 0.03, "learning_rate": 0.002},
        "ease": {"l2": 250.0},
        "ials": {"embedding_dim": 256, "unobserved_weight": 0.01, "l2": 0.005},
    },
}
"""Chosen by `--tune`, beside the defaults of each baseline."""
PROTOCOL = (
    "full_catalog, seen items masked; settings and epochs chosen on 10 % a user of train, fitted "
    "again on all of train, the test part measured once"
)


def read(folder: Path) -> Dataset:
    """A LightGCN split with a validation part cut from train."""
    return Dataset.read(
        Config.model_validate(
            {
                "data": {
                    "interactions": str(folder / "train.parquet"),
                    "split": {"method": "given", "test": str(folder / "test.parquet")},
                }
            }
        )
    )


def figures(model: Baseline[Any], part: Interactions) -> dict[str, float]:
    """Metrics on a part."""
    return dict(evaluate(model, part, k=K).metrics)


def fitted(name: str, settings: dict[str, Any], dataset: Dataset, seed: int) -> dict[str, Any]:
    """What a baseline reaches on the validation rows that is fitted on the training rows, and the
    epoch in which it did."""
    kind = BASELINES[name]
    start = time.perf_counter()
    model = kind.fit(
        dataset.train,
        kind.config_type.model_validate(settings),
        rng=np.random.default_rng(seed),
        validate=lambda model: figures(model, dataset.validation)[f"ndcg@{K}"],
    )
    seconds = time.perf_counter() - start
    told = {
        "settings": settings,
        "best_epoch": model.best_epoch,
        "validation": figures(model, dataset.validation),
        "seconds": round(seconds, 1),
    }
    print(name, told, file=sys.stderr, flush=True)
    return told


def measured(name: str, settings: dict[str, Any], dataset: Dataset, seed: int) -> dict[str, Any]:
    """The whole way of one baseline: choose the epoch where there is one to choose, fit on all
    training rows, test once."""
    kind, refit = BASELINES[name], dataset.refit("train")
    told: dict[str, Any] = {"settings": settings}
    if issubclass(kind.config_type, EpochsConfig):
        told = fitted(name, settings, dataset, seed)
        settings = {**settings, "epochs": told["best_epoch"]}
    start = time.perf_counter()
    model = kind.fit(
        refit.train, kind.config_type.model_validate(settings), rng=np.random.default_rng(seed)
    )
    fit_seconds = time.perf_counter() - start
    start = time.perf_counter()
    test = figures(model, refit.test)
    return {
        **told,
        "test": test,
        "refit_seconds": round(fit_seconds, 1),
        "answer_seconds": round(time.perf_counter() - start, 1),
        "parameters": model.num_parameters,
    }


def drawn(search: Search, rng: np.random.Generator) -> dict[str, Any]:
    """One setting of each key, drawn from a search space."""
    return {key: _draw(space, rng) for key, space in search.items()}


def _draw(space: Range | Choice, rng: np.random.Generator) -> Any:
    if isinstance(space, Choice):
        return space.values[int(rng.integers(len(space.values)))]
    low, high = (math.log(b) if space.log else b for b in (space.low, space.high))
    value = rng.uniform(low, high)
    value = math.exp(value) if space.log else value
    return round(value) if space.integer else float(f"{value:.3g}")


def tuned(
    name: str, settings: dict[str, Any], dataset: Dataset, trials: int
) -> list[dict[str, Any]]:
    """What the settings and drawn ones reach on the validation rows, the best first."""
    rng = np.random.default_rng(0)
    search = BASELINES[name].config_type.SEARCH
    others = [drawn(search, rng) for _ in range(trials)] if search else []
    tried = [settings, *({**settings, **other} for other in others)]
    found = [fitted(name, one, dataset, 0) for one in tried]
    return sorted(found, key=lambda told: -told["validation"][f"ndcg@{K}"])


def main() -> None:
    """Fit, measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("dataset", choices=sorted(SETTINGS))
    made.add_argument("--models", default=",".join(MODELS), help="names, with commas between")
    made.add_argument("--tune", type=int, default=0, metavar="N", help="draw N settings of each")
    made.add_argument("--seed", type=int, default=0)
    options = made.parse_args()
    names = options.models.split(",")
    for name in names:
        if name not in BASELINES:
            made.error(f"there is no baseline {name!r}; there are {', '.join(BASELINES)}")
    dataset = read(data_folder(options.dataset))
    settings = {name: SETTINGS[options.dataset].get(name, {}) for name in names}
    title = f"baselines_{options.dataset}"
    models: dict[str, Any] = {}
    if options.save and not options.tune:
        models = saved(title).get("models", {})
    for name in names:
        if options.tune:
            models[name] = tuned(name, settings[name], dataset, options.tune)
        else:
            models[name] = measured(name, settings[name], dataset, options.seed)
            models[name]["peak_memory_gb"] = round(peak_memory_gb(), 2)
    document = {"dataset": options.dataset, "protocol": PROTOCOL, "models": models}
    emit(document, title, save=options.save and not options.tune)


if __name__ == "__main__":
    main()
