"""Two towers that read a history, on the NCF paper's own split of ml-1m; about twenty minutes.

Not to be set beside GMF, MLP and NeuMF, which know a user by an id alone: here the query tower
reads the user's training items, too. The split has no times, so a history is a set: rows are
shuffled, and the encoder is the mean, for which order is nothing. The number of epochs is chosen on
one random training item a user, found among all items; with it the model is trained on all training
rows, once a seed, and the published test items are ranked among their 99 negatives. `--validation`
prints the first part alone and does not look at the test.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.common import data_folder, emit, over_runs, parser
from benchmarks.ncf_protocol import (
    PROTOCOL,
    Part,
    Score,
    final_part,
    measure,
    tuning_part,
)
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.training.monitor import ConsoleMonitor
from twotower.training.trainer import TrainResult
from twotower.workflow.training.fit_retriever import fit_retriever

SECTIONS: dict[str, Any] = {
    "features": {"user": {"history": {"type": "history", "encoder": "mean", "max_length": 200}}},
    "retriever": {"loss": "sampled_softmax", "num_negatives": 1024},
    "training": {"patience": 3},
}


def fit(
    part: Part, *, epochs: int | None, seed: int, console: Console
) -> tuple[Score, TrainResult]:
    """Train on a part for some epochs; without a number, until validation gets no better."""
    config = part.dataset.config
    changes = {"seed": seed} if epochs is None else {"seed": seed, "epochs": epochs}
    training = config.training.model_copy(update=changes)
    config = config.model_copy(update={"training": training})
    model = TwoTower(config.retriever, part.dataset.schema, seed=seed)
    order = np.random.default_rng(seed).permutation(len(part.train))
    train = part.train.take(order)
    held_out = part.dataset.test if epochs is None else None
    monitor = ConsoleMonitor(console, title=f"seed {seed}")
    served, result = fit_retriever(model, train, held_out, config=config, monitor=monitor)
    recommender = Recommender.build(served, train, config, histories=train.histories())
    return scorer(recommender), result


def scorer(recommender: Recommender) -> Score:
    """What the protocol asks: the products of query and item vectors."""
    kept = recommender.served.index.vectors()
    vectors = np.zeros((len(recommender.items), kept.shape[1]), dtype=np.float32)
    vectors[recommender.served.index.item_nums] = kept

    @torch.no_grad()
    def score(user_num: NDArray[np.int64], item_num: NDArray[np.int64]) -> NDArray[np.floating]:
        queries = recommender.served.query_vectors(user_num)
        scores: NDArray[np.floating] = np.einsum("qd,qkd->qk", queries, vectors[item_num])
        return scores

    return score


def main() -> None:
    """Choose on validation items, then measure the test items; print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--validation", action="store_true", help="do not look at the test items")
    made.add_argument("--seeds", type=int, default=1, help="runs (default 1)")
    options = made.parse_args()
    folder, console = data_folder("ncf-ml-1m"), Console(stderr=True)
    tuning = tuning_part(folder, SECTIONS)
    score, result = fit(tuning, epochs=None, seed=0, console=console)
    document: dict[str, Any] = {
        "protocol": PROTOCOL,
        "sections": SECTIONS,
        "validation": {
            "epoch": result.best_epoch,
            **measure(score, tuning),
            "seconds": round(result.seconds),
        },
    }
    if not options.validation:
        part = final_part(folder, SECTIONS)
        runs = [
            measure(fit(part, epochs=result.best_epoch, seed=seed, console=console)[0], part)
            for seed in range(options.seeds)
        ]
        document |= {"test": over_runs(runs), "runs": runs}
    emit(document, "ncf_history", save=options.save)


if __name__ == "__main__":
    main()
