"""Trains a small model by each of some configs, alone or as one of several processes, and writes
what the first process saw: the losses of all steps, the last validation, a sum over the weights.

    torchrun --nproc-per-node 2 tests/parallel/steps.py CASES.json FOUND.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twotower.config import load_config
from twotower.data.dataset.dataset import Dataset
from twotower.models.retriever.two_tower import TwoTower
from twotower.parallel.processes import ProcessGroup, processes_of_environment
from twotower.training.monitor import Monitor
from twotower.workflow.training.fit_retriever import fit_retriever


class Losses(Monitor):
    """Keeps the loss of each step and the figures of the last epoch."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.last: dict[str, Any] = {}

    def step(self, epoch: int, step: int, loss: float, targets: int) -> None:
        self.losses.append(loss)

    def epoch(self, record: dict[str, Any], *, is_best: bool) -> None:
        self.last = record


def run(case: dict[str, Any], processes: ProcessGroup) -> dict[str, Any]:
    config = load_config(Path(case["config"]), case["overrides"])
    data, seen = Dataset.read(config), Losses()
    model = TwoTower(config.retriever, data.schema, seed=0)
    fitted, _ = fit_retriever(
        model, data.train, data.validation, config=config, monitor=seen, processes=processes
    )
    total = sum(float(weights.detach().double().abs().sum()) for weights in fitted.parameters())
    return {"losses": seen.losses, "last": seen.last, "total": total}


if __name__ == "__main__":
    cases = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with processes_of_environment("cpu") as group:
        found = {name: run(case, group) for name, case in cases.items()}
    if group.is_first:
        Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")
