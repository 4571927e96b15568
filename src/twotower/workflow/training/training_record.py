"""The training record of a bundle: the learning curves and the report on the stages."""

from __future__ import annotations

from typing import Any, Final

from twotower.data.dataset.interactions import Interactions
from twotower.serving.answer.recommender import Recommender
from twotower.training.callbacks import NOT_METRICS
from twotower.training.trainer import TrainResult
from twotower.workflow.training.stage_report import stage_report
from twotower.workflow.training.validation import sample_users

STAGE_USERS: Final = 1000
"""At most this many users are used for the report on the stages, so that it takes seconds for any
catalogue."""


def curves(retriever: TrainResult, ranker: TrainResult | None = None) -> dict[str, Any]:
    """The training runs by stage, as JSON."""
    runs = {"retriever": retriever, "ranker": ranker}
    return {stage: curve(result) for stage, result in runs.items() if result is not None}


def curve(result: TrainResult) -> dict[str, Any]:
    """A training run as JSON.

    Returns:
        `metric`: the validation metric that chose the weights, null without validation;
        `best_epoch`, `stopped`, `seconds`: of the `TrainResult`; `epochs`: number, mean loss and
        seconds since the start of each epoch, with the metrics if it was validated.
    """
    metrics = (name for epoch in result.epochs for name in epoch if name not in NOT_METRICS)
    return {
        "metric": next(metrics, None),
        "best_epoch": result.best_epoch,
        "stopped": result.stopped,
        "seconds": round(result.seconds, 2),
        "epochs": result.epochs,
    }


def stages_of(recommender: Recommender, test: Interactions) -> dict[str, Any] | None:
    """The `stage_report` of some of a part's users; None without a ranker or a row."""
    if recommender.served.ranker is None or not len(test):
        return None
    part = sample_users(test, STAGE_USERS, recommender.served.config.training.seed)
    return stage_report(recommender, part, k=recommender.served.config.evaluation.k)
