"""Matrix factorization on the NCF paper's own split of ml-1m: HR@10 and NDCG@10; about 20 minutes.

iALS and logistic matrix factorization with biases, d = 192, and the baselines that need no tuning.
Settings and the number of epochs were chosen on one random training item a user, held out and
ranked among 99 items that the user did not take; with them each model is fitted on all training
rows, once a seed, and the published test items are ranked. `--validation` prints the first part
alone and does not look at the test.

Figures of others under this protocol, HR@10 / NDCG@10: NeuMF as published .730/.447, retuned by
Dacrema et al. .7093/.4349; dot-product matrix factorization .7294/.4523 (Rendle et al. 2020), iALS
.7310/.4521 (Rendle et al. 2021), d = 192 both.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from benchmarks.common import data_folder, emit, over_runs, parser
from benchmarks.ncf_protocol import PROTOCOL, Part, final_part, measure, tuning_part
from twotower.models.baselines import BASELINES, Baseline

SETTINGS: dict[str, dict[str, Any]] = {
    "popularity": {},
    "ials": {
        "embedding_dim": 192,
        "epochs": 16,
        "unobserved_weight": 0.3,
        "l2": 0.007,
        "validate_every": 4,
    },
    "logistic_mf": {
        "embedding_dim": 192,
        "epochs": 80,
        "learning_rate": 0.01,
        "user_learning_rate": 0.05,
        "l2": 0.005,
        "validate_every": 5,
        "patience": 3,
    },
}
SEEDED = ("ials", "logistic_mf")
"""Fitted once a seed; the others do not depend on it."""


def fit(
    name: str, part: Part, settings: dict[str, Any], *, seed: int, choose: bool
) -> Baseline[Any]:
    """Fit on a part; with `choose`, keep the epoch that ranks the part's items best."""
    kind = BASELINES[name]

    def validate(model: Baseline[Any]) -> float:
        found = measure(model.score, part)
        print(name, found, file=sys.stderr, flush=True)
        return found["ndcg@10"]

    return kind.fit(
        part.train,
        kind.config_type.model_validate(settings),
        rng=np.random.default_rng(seed),
        validate=validate if choose else None,
    )


def chosen(name: str, settings: dict[str, Any], part: Part) -> dict[str, Any]:
    """The best epoch on the held-out training items, and the figures there."""
    start = time.perf_counter()
    model = fit(name, part, settings, seed=0, choose=True)
    return {
        "settings": settings,
        "best_epoch": model.best_epoch,
        "validation": measure(model.score, part),
        "seconds": round(time.perf_counter() - start, 1),
    }


def tested(
    name: str, settings: dict[str, Any], best_epoch: int, part: Part, seeds: int
) -> dict[str, Any]:
    """Figures on the test items, over seeds where the model depends on them."""
    fixed = {**settings, **({"epochs": best_epoch} if best_epoch else {})}
    runs = range(seeds if name in SEEDED else 1)
    found = [measure(fit(name, part, fixed, seed=seed, choose=False).score, part) for seed in runs]
    return {"test": over_runs(found), "runs": found}


def main() -> None:
    """Choose on validation items, then measure the test items; print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--models", default=",".join(SETTINGS), help="names, with commas between")
    made.add_argument("--validation", action="store_true", help="do not look at the test items")
    made.add_argument("--seeds", type=int, default=3, help="runs a model (default 3)")
    options = made.parse_args()
    names = options.models.split(",")
    for name in names:
        if name not in SETTINGS:
            made.error(f"there is no model {name!r}; there are {', '.join(SETTINGS)}")
    folder = data_folder("ncf-ml-1m")
    tuning = tuning_part(folder)
    models = {name: chosen(name, SETTINGS[name], tuning) for name in names}
    if not options.validation:
        part = final_part(folder)
        for name in names:
            best_epoch = models[name]["best_epoch"]
            models[name] |= tested(name, SETTINGS[name], best_epoch, part, options.seeds)
    emit({"protocol": PROTOCOL, "models": models}, "ncf_ml_1m", save=options.save)


if __name__ == "__main__":
    main()
