"""`recommend --all-users` with exact search over 20,000 items, 200,000 users; about a minute.

The towers are not trained: the time does not depend on it. `users_per_cpu_second` is what each core
answers, `users_per_second` what the machine did beside whatever else it does.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.common import emit, parser
from benchmarks.large_log import part
from twotower.data.dataset.dataset import Dataset
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.workflow.recommend_all import write_recommendations

K = 10
ROWS_OF_A_USER = 12


def main() -> None:
    """Answer, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--users", type=int, default=200_000)
    made.add_argument("--items", type=int, default=20_000)
    options = made.parse_args()
    rows = ROWS_OF_A_USER * options.users
    data = Dataset.from_frames(part(rows, options.users, options.items, np.random.default_rng(0)))
    model = TwoTower(data.config.retriever, data.schema, seed=0)
    recommender = Recommender.build(model, data.train, data.config)
    with tempfile.TemporaryDirectory() as folder:
        start, used = time.perf_counter(), time.process_time()
        written = write_recommendations(
            recommender, Path(folder) / "all.parquet", k=K, progress=Console(quiet=True)
        )
        seconds, used = time.perf_counter() - start, time.process_time() - used
    users = written // K
    emit(
        {
            "protocol": "all users to Parquet, seen items left out, exact search",
            "configuration": {
                "users": users,
                "items": len(recommender.items) - recommender.items.first_known,
                "embedding_dim": data.config.retriever.embedding_dim,
                "k": K,
                "threads": torch.get_num_threads(),
            },
            "users_per_second": round(users / seconds),
            "users_per_cpu_second": round(users / used),
        },
        "all_users",
        save=options.save,
    )


if __name__ == "__main__":
    main()
