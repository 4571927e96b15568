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
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import data_folder, emit, over_runs, parser
from benchmarks.ncf_protocol import PROTOCOL, Part, final_part, measure, tuning_part
from twotower.config import TrainingConfig
from twotower.data.batches import PairBatches
from twotower.models.neumf import NeuMF
from twotower.models.pair_objective import PairObjective
from twotower.training.engine import Engine
from twotower.training.trainer import train as run_training


class Stage(NamedTuple):
    """How a model is trained."""

    epochs: int
    learning_rate: float
    weight_decay: float
    batch_size: int = 4096
    num_negatives: int = 4
    l2: float = 0.0
    average_steps: int = 0


class Run(NamedTuple):
    """A trained model, its best epoch, and its figures on the part at that epoch."""

    model: NeuMF
    epoch: int
    figures: dict[str, float]
    seconds: float


STAGES = {
    "gmf": Stage(30, 0.003, 0.0, l2=0.0025, average_steps=500),
    "mlp": Stage(40, 0.002, 0.0, l2=0.0025, average_steps=500),
    "neumf": Stage(20, 0.0002, 0.0, l2=0.0025, average_steps=500),
}


def fit(
    model: NeuMF, part: Part, stage: Stage, *, seed: int, choose: bool, device: torch.device
) -> Run:
    """Train on a part; with `choose`, keep the epoch that ranks the part's items best."""
    start = time.perf_counter()
    objective = PairObjective(
        model, part.train, num_negatives=stage.num_negatives, l2=stage.l2, device=device
    )
    config = TrainingConfig(
        epochs=stage.epochs,
        learning_rate=stage.learning_rate,
        layer_learning_rate=stage.learning_rate,
        weight_decay=stage.weight_decay,
        average_steps=stage.average_steps,
        patience=3,
        seed=seed,
    )

    def validate() -> dict[str, float]:
        figures = measure(scorer(model), part)
        print(figures, round(time.perf_counter() - start), file=sys.stderr, flush=True)
        return {"ndcg@10": figures["ndcg@10"], "hr@10": figures["hr@10"]}

    result = run_training(
        objective,
        PairBatches(part.train, batch_size=stage.batch_size, seed=seed),
        config,
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
    stages: dict[str, Stage],
    factors: int,
    *,
    seed: int,
    choose: bool,
    device: torch.device,
) -> dict[str, Run]:
    """GMF, MLP, and NeuMF that starts from both. With f factors the MLP is 4 f -> 2 f -> f."""
    users, items = len(part.train.users), len(part.train.items)

    def trained(model: NeuMF, name: str) -> Run:
        return fit(model, part, stages[name], seed=seed, choose=choose, device=device)

    gmf = trained(NeuMF.gmf(users, items, factors, seed=seed), "gmf")
    tower = NeuMF.mlp(users, items, 2 * factors, (2 * factors, factors), seed=seed)
    mlp = trained(tower, "mlp")
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
    chosen = run(tuning_part(folder), STAGES, factors, seed=0, choose=True, device=device)
    document: dict[str, Any] = {
        "protocol": PROTOCOL,
        "factors": factors,
        "stages": {name: stage._asdict() for name, stage in STAGES.items()},
        "validation": {
            name: {"epoch": one.epoch, **one.figures, "seconds": round(one.seconds)}
            for name, one in chosen.items()
        },
    }
    if not options.validation:
        part = final_part(folder)
        stages = {n: stage._replace(epochs=chosen[n].epoch) for n, stage in STAGES.items()}
        runs = []
        for seed in range(options.seeds):
            final = run(part, stages, factors, seed=seed, choose=False, device=device)
            runs.append({name: measure(scorer(one.model), part) for name, one in final.items()})
            print(runs[-1], file=sys.stderr, flush=True)
        document["runs"] = runs
        document["test"] = {name: over_runs([run[name] for run in runs]) for name in STAGES}
    emit(document, "ncf_neumf", save=options.save)


if __name__ == "__main__":
    main()
