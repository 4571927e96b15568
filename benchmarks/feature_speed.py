"""Training with all of ml-1m's features against ids only, steps in turns; half a minute.

Both models take the default recipe; the second reads demographics, title, plot, genres, credits,
certificate and year. Steps alternate, so that both meet the same machine.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.common import data_folder, emit, parser
from benchmarks.ml_1m_cold import ITEM, USER, hold_out, read
from twotower.models.retriever.objective import RetrievalObjective
from twotower.models.retriever.two_tower import TwoTower
from twotower.training.optimizers import RowAdam
from twotower.training.trainer import parameter_groups, table_rate
from twotower.workflow.training.fit_retriever import make_batches


class Run:
    """One model's steps, timed."""

    def __init__(self, train: pl.DataFrame, test: pl.DataFrame, features: dict[str, Any]) -> None:
        dataset = read(train, test, features, [])
        self.model = TwoTower(dataset.config.retriever, dataset.schema).train()
        batches = make_batches(dataset.train, dataset.config)
        self.objective = RetrievalObjective(
            self.model,
            dataset.train,
            batch_size=batches.batch_size,
            device=torch.device("cpu"),
        )
        self.optimizer = RowAdam(
            parameter_groups(self.model, dataset.config.training),
            lr=table_rate(dataset.config.training),
        )
        self.batches = list(batches.epoch(0))
        self.milliseconds: list[float] = []

    def step(self, number: int) -> None:
        """One step."""
        start = time.perf_counter()
        self.optimizer.zero_grad()
        self.objective.loss(self.batches[number % len(self.batches)]).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.milliseconds.append(1000 * (time.perf_counter() - start))


def main() -> None:
    """Measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--repeats", type=int, default=20, help="steps of each (default 20)")
    options = made.parse_args()
    rows = pl.read_parquet(data_folder("ml-1m") / "interactions.parquet")
    parts = hold_out(rows.select("user_id", "item_id"), "item_id", np.random.default_rng(0))
    runs = {"ids_only": Run(*parts, {}), "features": Run(*parts, {"user": USER, "item": ITEM})}
    for number in range(options.repeats + 2):
        for run in runs.values():
            run.step(number)
    medians = {name: statistics.median(run.milliseconds[2:]) for name, run in runs.items()}
    emit(
        {
            "protocol": "medians of alternating steps in one process",
            "threads": torch.get_num_threads(),
            "features": {"user": USER, "item": ITEM},
            "step_ms": {name: round(value, 1) for name, value in medians.items()},
            "speed_of_ids_only": round(medians["ids_only"] / medians["features"], 3),
        },
        "feature_speed",
        save=options.save,
    )


if __name__ == "__main__":
    main()
