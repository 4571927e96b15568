"""Step 2: the dot product of two rows, which is matrix factorization."""

from __future__ import annotations

import numpy as np

from twotower.course.results import BuiltNode, Choices, CompileOutcome, Figure, Watch
from twotower.course.shop import K, dataset
from twotower.course.training import count, popularity_ndcg, train_towers, validation_ndcg


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
    found, popular = validation_ndcg(recommender, data), popularity_ndcg(data)
    verdict = "one_number" if dim == 1 else "ahead" if found > popular else "behind"
    return CompileOutcome(
        verdict,
        {
            "dim": dim,
            "lists": different,
            "users": len(users),
            "ndcg": found,
            "popular": popular,
            "per_user": len(data.train) / len(users),
        },
        node=BuiltNode(
            shapes=(
                ("user vectors", f"(B, {dim})"),
                ("item vectors", f"(N, {dim})"),
                ("scores", "(B, N)"),
            ),
            params=count(recommender.served.towers) - 1,  # the temperature is not trained
        ),
        ndcg=found,
        figures=(
            Figure("ndcg@10", (("yours", found), ("most popular", popular))),
            Figure(
                "Different lists of ten",
                (("yours", float(different)), ("users", float(len(users)))),
            ),
        ),
    )
