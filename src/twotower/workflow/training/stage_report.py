"""The contribution of each stage: the upper bound that retrieval sets for ranking, the lift of the
ranker, the calibration of its probabilities, and the time of each stage."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.data.arrays.ranked import NO_ITEM, POPULAR
from twotower.data.dataset.interactions import Interactions
from twotower.errors import DataError, explain
from twotower.evaluation import metrics as m
from twotower.evaluation.calibration import brier_score, reliability
from twotower.evaluation.significance import paired_test
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.workflow.evaluate import among, evaluate, rows_of
from twotower.workflow.training.fit_ranker import labelled

NUM_BINS = 15


def stage_report(recommender: Recommender, test: Interactions, *, k: int = 20) -> dict[str, Any]:
    """Measure the stages of a recommender on one part of the data, as a JSON object.

    Args:
        recommender: with a ranker; its config says which items are ranked.
        test: the part; the histories of the recommender must end before it.
        k: the cut-off.

    Returns:
        `retrieve` and `pipeline`: recall@k and ndcg@k of the towers alone and of all stages;
        `lift`: the difference in ndcg@k, with its confidence interval and paired test, and by
        slice; `ceiling`: recall@N, the share of relevant items among the N candidates, which no
        ranker can exceed, and the ndcg@k of an ideal ranking of the candidates; `calibration`: of
        the candidates' probabilities, see `evaluation/calibration.py`; `milliseconds`: time per
        query in each stage, in batches.

    Raises:
        DataError: the recommender has no ranker, or there is no row to measure on.
    """
    ranker = recommender.served.ranker
    if not isinstance(ranker, NeuralRanker):
        raise DataError(
            explain(
                "the bundle has no ranking stage to report on",
                fix="add a [ranker] section to the config and train again",
            )
        )
    settings = recommender.served.config.evaluation
    whole, towers = (
        evaluate(asked, test, k=k, mask_seen=settings.mask_seen, candidates=settings.candidates)
        for asked in (recommender, Recommender(replace(recommender.served, ranker=None)))
    )
    name = f"ndcg@{k}"
    tested = paired_test(
        whole.per_query[name], towers.per_query[name], rng=np.random.default_rng(0)
    )
    return {
        "k": k,
        "num_candidates": ranker.num_candidates,
        "num_queries": len(whole.user_num),
        "retrieve": {metric: towers.metrics[metric] for metric in (f"recall@{k}", name)},
        "pipeline": {metric: whole.metrics[metric] for metric in (f"recall@{k}", name)},
        "lift": {
            name: tested.difference,
            "interval": [tested.low, tested.high],
            "p_value": tested.p_value,
            "slices": {
                part: _gap(whole.slices[part][name], towers.slices[part][name])
                for part in whole.slices
            },
        },
        **_candidates(recommender, ranker, test, k),
    }


def _gap(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _candidates(
    recommender: Recommender, ranker: NeuralRanker, test: Interactions, k: int
) -> dict[str, Any]:
    """Metrics of the candidates: upper bound, calibration, time."""
    settings = recommender.served.config.evaluation
    test, allowed = among(settings.candidates, test, recommender.item_counts > 0)
    users, first_row = np.unique(test.user_num, return_index=True)
    reached = recommender.paths(users) != POPULAR
    user_num = users[reached].astype(np.int64)
    relevant = test.by_user().take(user_num)
    queries = recommender.served.queries_of(user_num, rows_of(test, first_row[reached]) or {})
    excluded = recommender.served.seen.take(user_num) if settings.mask_seen else None
    start = time.perf_counter()
    found = recommender.stages.retrieve(queries, ranker.num_candidates, excluded, allowed).found
    middle = time.perf_counter()
    said = ranker.score(queries, found)
    end = time.perf_counter()
    there = found.item_nums != NO_ITEM
    labels = labelled(found.item_nums, relevant)
    ideal = np.take_along_axis(found.item_nums, np.argsort(-labels, axis=1, kind="stable"), 1)
    width = found.item_nums.shape[1]
    ceiling = m.mean(m.ranking_metrics(found.item_nums, relevant, width)[f"recall@{width}"])
    best = m.mean(m.ranking_metrics(ideal[:, :k], relevant, k)[f"ndcg@{k}"])
    return {
        "ceiling": {f"recall@{width}": ceiling, f"ndcg@{k}": best},
        "calibration": calibration_of(said[there], labels[there]),
        "milliseconds": {
            "retrieve": 1000 * (middle - start) / max(len(user_num), 1),
            "rank": 1000 * (end - middle) / max(len(user_num), 1),
        },
    }


def calibration_of(
    probabilities: NDArray[np.floating], labels: NDArray[np.floating]
) -> dict[str, Any]:
    """Expected calibration error, Brier score and the data of the reliability plot, in bins of
    equal counts, as most candidates have a low probability."""
    found = reliability(probabilities, labels, num_bins=NUM_BINS, equal_counts=True)
    filled = found.counts > 0
    return {
        "num_candidates": len(labels),
        "taken": float(labels.mean()) if len(labels) else None,
        "expected_calibration_error": found.error if len(labels) else None,
        "brier_score": brier_score(probabilities, labels) if len(labels) else None,
        "reliability": {
            "count": found.counts[filled].tolist(),
            "predicted": found.predicted[filled].tolist(),
            "observed": found.observed[filled].tolist(),
        },
    }
