"""Where a model stands among the baselines, in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.evaluation.test_report import EVALUATION
from twotower.evaluation.baseline_verdict import verdict
from twotower.evaluation.report import Evaluation

USERS = 200


def measured(*pattern: float) -> Evaluation:
    """An evaluation whose ndcg@2 of 200 queries repeats a pattern."""
    values = np.resize(np.array(pattern), USERS)
    return replace(
        EVALUATION,
        user_num=np.arange(USERS),
        per_query={"ndcg@2": values},
        metrics={"ndcg@2": float(values.mean())},
    )


def test_below_names_the_gap_and_what_to_try() -> None:
    # As in a shop's report: .1135 against .1788 is 37% less.
    model = measured(0.2, 0.027)
    popularity = measured(0.3, 0.0576)
    assert verdict(model, {"popularity": popularity, "ease": measured(0.1, 0.0)}) == (
        "The model is 37% below popularity (ndcg@2 .1135 against .1788, p < 0.001). Try "
        "retriever.item_bias = true, a lower training.learning_rate, or a history "
        "([features.user.history]) if there is none. `twotower compare` tunes models on the same "
        "rows."
    )


def test_below_several_names_all_of_them() -> None:
    found = verdict(
        measured(0.2, 0.1), {"popularity": measured(0.3, 0.1), "ease": measured(0.5, 0.1)}
    )
    assert found.startswith(
        "The model is 50% below EASE (ndcg@2 .1500 against .3000, p < 0.001), 25% below "
        "popularity. Try a history"
    )


def test_recent_popularity_that_is_hardly_better_is_no_change_of_taste() -> None:
    model, recent = measured(0.1, 0.05), measured(0.3, 0.1)
    close = {"recent_popularity": recent, "popularity": measured(0.295, 0.1)}
    far = {"recent_popularity": recent, "popularity": measured(0.2, 0.1)}
    assert "Try retriever.item_bias = true" in verdict(model, close)
    assert "Popularity changes quickly in this data. Try" in verdict(model, far)


def test_a_difference_that_is_not_significant_is_a_tie() -> None:
    # Ahead by its mean, but for a gap that goes both ways.
    assert verdict(measured(0.9, 0.0, 0.5), {"item_knn": measured(0.0, 0.85, 0.5)}) == (
        "The model is on par with item-kNN, not better (ndcg@2 .4665 against .4497, p = 0.74). Try "
        "a history ([features.user.history]) if there is none, item features, or a wider "
        "retriever.embedding_dim. `twotower compare` tunes models on the same rows."
    )


def test_ahead() -> None:
    model = measured(0.4, 0.2)
    assert verdict(model, {"popularity": measured(0.2, 0.1), "ease": measured(0.38, 0.19)}) == (
        "The model is 5.3% above EASE, the best baseline (ndcg@2 .3000 against .2850, p < 0.001)."
    )
    assert verdict(model, {"recent_popularity": measured(0.0, 0.0)}) == (
        "The model is 0.3000 above recent popularity (ndcg@2 .3000 against .0000, p < 0.001)."
    )
    assert verdict(model, {}) == ""
