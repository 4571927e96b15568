"""Step 8: neural collaborative filtering as the ranker, and what keeps it from overfitting."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from twotower.course.results import BuiltNode, Choices, CompileOutcome, Figure, Watch
from twotower.course.shop import dataset
from twotower.course.training import (
    NDCG,
    Reporter,
    compared,
    count,
    references,
    train_towers,
    validation_ndcg,
)
from twotower.data.batches.batches import UserBatches
from twotower.data.dataset.dataset import Dataset
from twotower.models.ranker.ncf import NeuralCF
from twotower.models.ranker.ncf_objective import RankingObjective
from twotower.serving.answer.recommender import Recommender
from twotower.training.trainer import TrainResult
from twotower.workflow.training.fit_ranker import fit_ranker

EPOCHS, PATIENCE = 10, 2
OVERFITS = 0.1
"""By what share the validation loss may rise above its lowest value."""
RANKER: dict[str, Any] = {
    "embedding_dim": 32,
    "hidden": (64, 32),
    "user_positives": False,
    "num_negatives": 4,
    "neighbours": 0,
    "blend": False,
    "calibration": "none",
    "num_candidates": 100,
    "epochs": EPOCHS,
    "learning_rate": 0.03,
    "layer_learning_rate": 0.01,
}


def ranker(choices: Choices, watch: Watch) -> CompileOutcome:
    """Train a ranker over two towers with the chosen regularisation."""
    stops = choices["early_stopping"] == "on"
    data = ranked_dataset(
        float(choices["dropout"]),
        float(choices["weight_decay"]),
        PATIENCE if stops else EPOCHS,
    )
    towers = trained_towers(watch)
    assert data.config.ranker is not None
    network = NeuralCF(data.config.ranker, data.schema)
    curves = Curves(network, data, watch)
    _, result = fit_ranker(
        network,
        data.train,
        data.validation,
        config=data.config,
        retriever=towers.served.towers,
        monitor=curves,
    )
    lowest, last = min(curves.losses), curves.losses[-1]
    rises = last / lowest - 1
    alone = validation_ndcg(towers, data)
    kept, end = best_and_last(result)
    if result.stopped == "patience":
        verdict = "stopped"
    else:
        verdict = "overfits" if rises > OVERFITS else "holds"
    return CompileOutcome(
        verdict,
        {
            "kept": kept[NDCG],
            "best_epoch": result.best_epoch,
            "ending": ending(result),
            "epochs": len(result.epochs),
            "most_epochs": EPOCHS,
            "lowest": lowest,
            "lowest_epoch": curves.losses.index(lowest) + 1,
            "last": last,
            "rises": rises,
            "where": f"{rises:.0%} above its lowest value, that of epoch "
            f"{curves.losses.index(lowest) + 1}"
            if last > lowest
            else "at its lowest",
            "train_first": result.epochs[0]["loss"],
            "train_last": end["loss"],
            "direction": "fell" if end["loss"] < result.epochs[0]["loss"] else "rose",
            "gap": last / end["loss"],
            "towers": alone,
        },
        node=BuiltNode(
            shapes=(
                ("numbers about the user", f"(B, {network.branches.state_dim})"),
                ("numbers about the candidates", f"(B, 100, {network.branches.state_dim})"),
                ("scores", "(B, 100)"),
            ),
            params=count(network),
            counted="ranker alone",
        ),
        ndcg=kept[NDCG],
        figures=figures(result, alone, last),
    )


def figures(result: TrainResult, alone: float, validation_loss: float) -> tuple[Figure, ...]:
    """ndcg@10 beside that of the towers alone, and the losses after the last epoch."""
    kept, end = best_and_last(result)
    return (
        Figure(
            "ndcg@10 on the validation rows",
            (
                ("towers alone", alone),
                (f"ranker, epoch {result.best_epoch} (kept)", kept[NDCG]),
                (f"ranker, epoch {len(result.epochs)} (last)", end[NDCG]),
                ("best reachable", references()[1]),
            ),
        ),
        Figure(
            "Loss after the last epoch",
            (("training rows", end["loss"]), ("validation rows", validation_loss)),
        ),
    )


def ending(result: TrainResult) -> str:
    """What the last epoch is beside the best one, in words."""
    kept, end = best_and_last(result)
    if kept is end:
        return (
            f"The last epoch is the one with the highest ndcg@10 on the validation rows, "
            f"{kept[NDCG]:.3f}; its weights are kept."
        )
    return (
        f"With the weights of the last epoch, ndcg@10 on the validation rows would be "
        f"{end[NDCG]:.3f}, {compared(end[NDCG], kept[NDCG])} the {kept[NDCG]:.3f} of epoch "
        f"{result.best_epoch}, whose weights are kept."
    )


def best_and_last(result: TrainResult) -> tuple[dict[str, Any], dict[str, Any]]:
    """The records of the best and the last epoch."""
    return result.epochs[result.best_epoch - 1], result.epochs[-1]


def ranked_dataset(dropout: float, decay: float, patience: int) -> Dataset:
    """The shop with a config for towers and a ranker."""
    return dataset(
        retriever={"embedding_dim": 16, "smoothing_layers": 0},
        training={"epochs": 6, "patience": patience},
        ranker={**RANKER, "dropout": dropout, "weight_decay": decay},
    )


_TRAINED: dict[str, Recommender] = {}


def trained_towers(watch: Watch) -> Recommender:
    """The towers whose items are ranked, trained when they are first needed."""
    if not _TRAINED:
        _TRAINED["towers"], _ = train_towers(ranked_dataset(0.0, 0.0, 6), watch)
    return _TRAINED["towers"]


class Curves(Reporter):
    """Measures the loss on validation rows after each epoch, too.

    Attributes:
        losses: of the validation rows, by epoch.
    """

    def __init__(self, network: NeuralCF, data: Dataset, watch: Watch) -> None:
        super().__init__(watch, "training the ranker")
        self.losses: list[float] = []
        rows = data.validation
        warm = rows.take(
            np.flatnonzero((rows.item_num >= 0) & (rows.item_num < data.items.end_warm))
        )
        # What the user has in any part is not a negative.
        self._objective = RankingObjective(
            network, data.train.append(warm), device=torch.device("cpu")
        )
        self._batches = UserBatches(warm, batch_size=64, seed=0)

    def epoch(self, record: dict[str, Any], *, is_best: bool) -> None:
        """See `Monitor`."""
        with torch.no_grad():
            batches = list(self._batches.epoch(0))
            losses = [float(self._objective.loss(batch)) for batch in batches]
        weights = [float(batch.mask.sum()) for batch in batches]
        self.losses.append(float(np.average(losses, weights=weights)))
        super().epoch({**record, "validation_loss": self.losses[-1]}, is_best=is_best)
