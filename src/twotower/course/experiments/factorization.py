"""Step 2: the dot product of two rows, which is matrix factorization."""

from __future__ import annotations

import numpy as np

from twotower.course.results import BuiltNode, Choices, CompileOutcome, Figure, Watch
from twotower.course.shop import K, dataset
from twotower.course.training import (
    NDCG,
    count,
    popularity,
    scale_figure,
    scale_values,
    train_towers,
)
from twotower.evaluation.baseline_verdict import SIGNIFICANCE_LEVEL, as_p, p_value
from twotower.workflow.evaluate import evaluate


def factorization(choices: Choices, watch: Watch) -> CompileOutcome:
    """Train one vector of the chosen width for each user and each item."""
    dim = int(choices["embedding_dim"])
    data = dataset(
        retriever={
            "preset": "matrix_factorization",
            "embedding_dim": dim,
            "normalize": False,
            "item_bias": False,
            "temperature": 1.0,
        },
        training={"epochs": 8, "patience": 8, "learning_rate": 0.02},
    )
    recommender, _ = train_towers(data, watch)
    users = np.arange(data.users.first_known, data.users.end_warm)
    lists = recommender.top_k(users, K, mask_seen=False).item_nums
    different = len(np.unique(lists, axis=0))
    model, popular = evaluate(recommender, data.validation, k=K), popularity(data)
    found = model.metrics[NDCG]
    chance = p_value(model, popular, NDCG)
    if dim == 1:
        verdict = "one_number"
    elif chance >= SIGNIFICANCE_LEVEL:
        verdict = "level"
    else:
        verdict = "ahead" if found > popular.metrics[NDCG] else "behind"
    return CompileOutcome(
        verdict,
        {
            "dim": dim,
            "lists": different,
            "users": len(users),
            "p": as_p(chance),
            **scale_values(found),
        },
        node=BuiltNode(
            shapes=(
                ("user vectors", f"(B, {dim})"),
                ("item vectors", f"(N, {dim})"),
                ("scores", "(B, N)"),
            ),
            params=count(recommender.served.towers) - 1,  # the temperature is not trained
            counted="user table and item table",
        ),
        ndcg=found,
        figures=(
            scale_figure(found),
            Figure(
                "Different lists of ten",
                (("yours", float(different)), ("users", float(len(users)))),
            ),
        ),
    )
