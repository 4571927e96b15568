"""GMF, MLP and NeuMF on the NCF paper's own split of ml-1m, ids only; about an hour on one core.

The published models: NeuMF starts from a trained GMF and a trained MLP. As matrix factorization has
in `ncf_ml_1m`, they have an L2 for each pair; weights are averaged. Settings and the number of
epochs are chosen on one random training item a user, held out and ranked among 99 items that the
user did not take; with them each model is then trained on all training rows, once a seed, and the
published test items are ranked. `--validation` prints the first part alone and does not look at the
test.

Figures of others under this protocol, HR@10 / NDCG@10: NeuMF as published .730/.447, retuned by
Dacrema et al. .7093/.4349; matrix factorization, Rendle et al. .7294/.4523.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import data_folder, emit, over_runs, parser
from benchmarks.ncf_protocol import PROTOCOL, Part, final_part, measure, tuning_part
from twotower.models.ranker.neumf import NeuMF
from twotower.training.engine import Engine
from twotower.workflow.training.fit_neumf import TRAININGS, PairTraining, fit_pairs, untrained


class Run(NamedTuple):
    """A trained model, its best epoch, and its figures on the part at that epoch."""

    model: NeuMF
    epoch: int
    figures: dict[str, float]
    seconds: float


def fit(
    model: NeuMF, part: Part, how: PairTraining, *, seed: int, choose: bool, device: torch.device
) -> Run:
    """Train on a part; with `choose`, keep the epoch that ranks the part's items best."""
    start = time.perf_counter()

    def validate() -> dict[str, float]:
        figures = measure(scorer(model), part)
        print(figures, round(time.perf_counter() - start), file=sys.stderr, flush=True)
        return {"ndcg@10": figures["ndcg@10"], "hr@10": figures["hr@10"]}

    result = fit_pairs(
        model,
        part.train,
        how,
        seed=seed,
        engine=Engine(device, bf16=False),
        validate=validate if choose else None,
    )
    figures = measure(scorer(model), part) if choose else {}
    return Run(model, result.best_epoch, figures, time.perf_counter() - start)


def scorer(model: NeuMF) -> Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[Any]]:
    """What the protocol asks."""
    device = model.users.weight.device

    @torch.no_grad()
    def score(user_num: NDArray[np.int64], item_num: NDArray[np.int64]) -> NDArray[Any]:
        users, items = (torch.from_numpy(nums).to(device) for nums in (user_num, item_num))
        logits: NDArray[Any] = model(users, items).cpu().numpy()
        return logits

    return score


def run(
    part: Part,
    trainings: dict[str, PairTraining],
    factors: int,
    *,
    seed: int,
    choose: bool,
    device: torch.device,
) -> dict[str, Run]:
    """GMF, MLP, and NeuMF that starts from both. With f factors the MLP is 4 f -> 2 f -> f."""

    def trained(model: NeuMF, name: str) -> Run:
        return fit(model, part, trainings[name], seed=seed, choose=choose, device=device)

    gmf, mlp = (
        trained(untrained(name, part.train, factors, seed), name) for name in ("gmf", "mlp")
    )
    return {
        "gmf": gmf,
        "mlp": mlp,
        "neumf": trained(NeuMF.pretrained(gmf.model, mlp.model), "neumf"),
    }


def main() -> None:
    """Choose on validation items, then measure the test items; print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--validation", action="store_true", help="do not look at the test items")
    made.add_argument("--factors", type=int, default=64, help="predictive factors (default 64)")
    made.add_argument("--seeds", type=int, default=2, help="runs on all rows (default 2)")
    made.add_argument("--device", default="cpu", help="cpu (default), cuda")
    options = made.parse_args()
    folder, device = data_folder("ncf-ml-1m"), torch.device(options.device)
    factors = options.factors
    chosen = run(tuning_part(folder), TRAININGS, factors, seed=0, choose=True, device=device)
    document: dict[str, Any] = {
        "protocol": PROTOCOL,
        "factors": factors,
        "stages": {name: asdict(how) for name, how in TRAININGS.items()},
        "validation": {
            name: {"epoch": one.epoch, **one.figures, "seconds": round(one.seconds)}
            for name, one in chosen.items()
        },
    }
    if not options.validation:
        part = final_part(folder)
        trainings = {n: replace(how, epochs=chosen[n].epoch) for n, how in TRAININGS.items()}
        runs = []
        for seed in range(options.seeds):
            final = run(part, trainings, factors, seed=seed, choose=False, device=device)
            runs.append({name: measure(scorer(one.model), part) for name, one in final.items()})
            print(runs[-1], file=sys.stderr, flush=True)
        document["runs"] = runs
        document["test"] = {name: over_runs([run[name] for run in runs]) for name in TRAININGS}
    emit(document, "ncf_neumf", save=options.save)


if __name__ == "__main__":
    main()
