"""The baselines on gowalla or yelp2018 (LightGCN split): Recall@20 and NDCG@20; two hours each.

`python -m benchmarks.baselines gowalla` chooses the epoch of the baselines that have epochs on 10 %
of each user's training rows, fits all of them with the settings below on all training rows, once a
seed those that begin with drawn numbers, and measures the test part once a fit. EASE takes the most
memory: for gowalla it inverts a matrix of 29,858 users, 11 GB; BPR-MF takes the most time, some 20
minutes a fit.

`--tune N` draws N settings from each baseline's search space, prints what each reaches on the 10 %,
the best one first, and does not look at the test part. `--models a,b` takes some of the baselines.
With `--save` each fit is kept when it is done, and what is kept of the same settings is not done
again; without it all is measured anew. `peak_memory_gb` is that of the process up to there.

Figures of others on the test part, Recall@20 / NDCG@20: gowalla MF-BPR .1627/.1378, EASE
.1765/.1467; yelp2018 MF-BPR .0576/.0468, EASE .0657 (Recall@20).
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import data_folder, emit, keep, over_runs, parser, saved
from benchmarks.retrieval import peak_memory_gb
from twotower.config import Config
from twotower.config.baselines import EpochsConfig, Search, SearchChoice, SearchRange
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.interactions import Interactions
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
SEEDED = ("svd", "ials", "bpr_mf")
"""Fitted once a seed; the others do not depend on it."""
PROTOCOL = (
    "full_catalog, seen items masked; settings and epochs chosen on 10 % a user of train, fitted "
    "again on all of train, the test part measured once a fit"
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
    report = {
        "settings": settings,
        "best_epoch": model.best_epoch,
        "validation": figures(model, dataset.validation),
        "seconds": round(seconds, 1),
    }
    print(name, report, file=sys.stderr, flush=True)
    return report


def measured(
    name: str, settings: dict[str, Any], dataset: Dataset, seeds: int, kept: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """The whole way of one baseline: choose the epoch where there is one to choose, then fit on all
    training rows and test, once a seed. What there is, after each fit; `kept` is what there was
    before, and is gone on from if its settings are the same."""
    kind, refit = BASELINES[name], dataset.refit("train")
    report = kept if kept.get("settings") == settings else {"settings": settings, "runs": []}
    if issubclass(kind.config_type, EpochsConfig):
        if "best_epoch" not in report:
            report = {**fitted(name, settings, dataset, 0), "runs": []}
        settings = {**settings, "epochs": report["best_epoch"]}
    yield report
    for seed in range(len(report["runs"]), seeds if name in SEEDED else 1):
        start = time.perf_counter()
        model = kind.fit(
            refit.train, kind.config_type.model_validate(settings), rng=np.random.default_rng(seed)
        )
        fit_seconds = time.perf_counter() - start
        start = time.perf_counter()
        test = figures(model, refit.test)
        run = {
            "seed": seed,
            "test": test,
            "refit_seconds": round(fit_seconds, 1),
            "answer_seconds": round(time.perf_counter() - start, 1),
        }
        print(name, run, file=sys.stderr, flush=True)
        runs = [*report["runs"], run]
        report = {
            **report,
            "test": over_runs([one["test"] for one in runs]),
            "runs": runs,
            "parameters": model.num_parameters,
            "peak_memory_gb": round(peak_memory_gb(), 2),
        }
        yield report


def drawn(search: Search, rng: np.random.Generator) -> dict[str, Any]:
    """One setting of each key, drawn from a search space."""
    return {key: _draw(space, rng) for key, space in search.items()}


def _draw(space: SearchRange | SearchChoice, rng: np.random.Generator) -> Any:
    if isinstance(space, SearchChoice):
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
    return sorted(found, key=lambda report: -report["validation"][f"ndcg@{K}"])


def main() -> None:
    """Fit, measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("dataset", choices=sorted(SETTINGS))
    made.add_argument("--models", default=",".join(MODELS), help="names, with commas between")
    made.add_argument("--tune", type=int, default=0, metavar="N", help="draw N settings of each")
    made.add_argument("--seeds", type=int, default=3, help="fits a model (default 3)")
    options = made.parse_args()
    names = options.models.split(",")
    for name in names:
        if name not in BASELINES:
            made.error(f"there is no baseline {name!r}; there are {', '.join(BASELINES)}")
    dataset = read(data_folder(options.dataset))
    settings = {name: SETTINGS[options.dataset].get(name, {}) for name in names}
    title = f"baselines_{options.dataset}"
    if options.tune:
        found = {name: tuned(name, settings[name], dataset, options.tune) for name in names}
        emit({"dataset": options.dataset, "models": found}, title, save=False)
        return
    models: dict[str, Any] = saved(title).get("models", {}) if options.save else {}
    document = {"dataset": options.dataset, "protocol": PROTOCOL, "models": models}
    for name in names:
        kept = models.get(name, {})
        for report in measured(name, settings[name], dataset, options.seeds, kept):
            models[name] = report
            if options.save:
                keep(document, title)
    emit(document, title, save=options.save)


if __name__ == "__main__":
    main()
