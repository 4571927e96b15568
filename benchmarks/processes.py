"""What several processes on one machine bring, and what they cost; five minutes.

A million synthetic interactions (those of `benchmarks.scale`) are learned from by one process on
one core, and by two on two cores, for a bounded number of steps of some recipes and batch sizes.
`speedup` is the time of a step by one process over that by two with the same batch, `weak` that of
one process over that of two with twice the batch. `waiting` is the share of a step in which a
process exchanges numbers or waits for the other. `bytes` are what a process sends in a step, to
itself, too.

`network` is what exchanges among the two take without a model: the seconds of one, whatever its
size, the bytes a second of large ones, and the seconds of a round in which rows are asked for,
answered and given a gradient, and of each row of it. `benchmarks.cluster_cost` predicts from these
numbers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import emit, parser
from benchmarks.scale import SIZES, write_rows
from twotower.config import parse_config
from twotower.data.dataset.dataset import Dataset
from twotower.models.retriever.objective import RetrievalObjective
from twotower.models.retriever.sharding import shard_tables
from twotower.models.retriever.two_tower import TwoTower
from twotower.parallel.exchange import Exchange
from twotower.parallel.processes import ProcessGroup, processes_of_environment
from twotower.parallel.shards import Shards
from twotower.training.engine import Engine
from twotower.training.interrupt import Interrupt
from twotower.training.monitor import Monitor
from twotower.training.trainer import _Run
from twotower.workflow.training.fit_retriever import Batching, make_batches

PLAIN = {"retriever.smoothing_layers": [0]}
RECIPES: dict[str, dict[str, list[Any]]] = {
    "sampled items": {
        **PLAIN,
        "training.batch_size": [256, 512, 1024, 2048],
        "retriever.max_full_softmax": [1],
    },
    "all items": {
        **PLAIN,
        "training.batch_size": [512, 1024],
        "retriever.max_full_softmax": [1_000_000],
    },
    "all items, smoothed": {
        "training.batch_size": [1024],
        "retriever.smoothing_every": [1],
        "retriever.max_full_softmax": [1_000_000],
    },
    "the other items of the batch": {
        **PLAIN,
        "training.batch_size": [4096, 8192],
        "retriever.loss": ["in_batch_softmax"],
    },
}
WARM_STEPS, STEPS = 3, 48
SMALL, LARGE, ROUNDS = 64, 4_000_000, 30
"""Bytes of exchanges, and how often."""
ASKED = (500, 10_000)
"""Rows of exchanges."""
SIZE = SIZES["1m"]


class Spy:
    """Counts what goes through `torch.distributed`, and how long it takes."""

    def __init__(self) -> None:
        self.seconds, self.bytes, self.calls = 0.0, 0, 0
        for name in ("all_reduce", "all_gather", "all_to_all_single"):
            setattr(dist, name, self.watched(getattr(dist, name)))

    def watched(self, function: Callable[..., object]) -> Callable[..., object]:
        """The same function, counted."""

        def call(*arguments: Any, **options: Any) -> object:
            start = time.perf_counter()
            result = function(*arguments, **options)
            self.seconds += time.perf_counter() - start
            self.calls += 1
            sent = arguments[0] if isinstance(arguments[0], Tensor) else arguments[1]
            self.bytes += sent.numel() * sent.element_size()
            return result

        return call


def step_of(
    recipe: dict[str, Any], dataset: Dataset, processes: ProcessGroup, spy: Spy
) -> dict[str, Any]:
    """The median step of a recipe: what one process sees of it."""
    config = dataset.config
    overrides = {key.partition(".")[::2]: value for key, value in recipe.items()}
    for (section, key), value in overrides.items():
        changed = getattr(config, section).model_copy(update={key: value})
        config = config.model_copy(update={section: changed})
    train = dataset.train
    model = TwoTower(config.retriever, dataset.schema, seed=0)
    batches = make_batches(train, config, processes)
    model.settle(Batching.of(train, config).epoch_size(train))
    if processes.are_several:
        shard_tables(model, processes)
    engine = Engine.from_config(config.training, processes)
    objective = RetrievalObjective(
        model,
        train,
        batch_size=batches.batch_size,
        device=engine.device,
        processes=processes,
    )
    training = config.training.model_copy(update={"average_steps": 0})
    run = _Run(objective, batches, training, engine, None, "", Monitor())
    seconds, targets = [], 0
    epoch = batches.epoch(0)
    for number in range(min(WARM_STEPS + STEPS, len(batches))):
        if number == WARM_STEPS:
            spy.seconds, spy.bytes, spy.calls = 0.0, 0, 0
        start = time.perf_counter()
        _, learned = run.step(next(epoch), Interrupt())
        seconds.append(time.perf_counter() - start)
        targets += learned if number >= WARM_STEPS else 0
    counted = seconds[WARM_STEPS:]
    return {
        "seconds": float(np.median(counted)),
        "targets": round(targets / len(counted)),
        "waiting": spy.seconds / sum(counted),
        "bytes": round(spy.bytes / len(counted)),
        "exchanges": round(spy.calls / len(counted)),
    }


def network(processes: ProcessGroup) -> dict[str, float]:
    """What an exchange costs by itself."""
    found = {}
    for size in (SMALL, LARGE):
        rows = torch.zeros(size // 4)
        counts = [len(rows) // processes.size] * processes.size
        processes.wait()
        start = time.perf_counter()
        for _ in range(ROUNDS):
            processes.exchange(rows, counts, counts)
        found[size] = (time.perf_counter() - start) / ROUNDS
    few, many = (seconds_of_asking(rows, processes) for rows in ASKED)
    row = (many - few) / (ASKED[1] - ASKED[0])
    return {
        "seconds": found[SMALL],
        "bytes_a_second": (LARGE - SMALL) / max(found[LARGE] - found[SMALL], 1e-9),
        "seconds_a_round": max(few - ASKED[0] * row, 0.0),
        "seconds_a_row": row,
    }


def seconds_of_asking(rows: int, processes: ProcessGroup) -> float:
    """To ask for so many rows of 64 numbers, answer, and return gradients."""
    shards = Shards(10 * rows, processes)
    nums = torch.from_numpy(np.random.default_rng(processes.rank).choice(10 * rows, rows, False))
    table = torch.zeros(shards.capacity, 64, requires_grad=True)
    processes.wait()
    start = time.perf_counter()
    for _ in range(ROUNDS):
        distinct = torch.unique(nums)
        exchange = Exchange(shards, distinct)
        asked, places = torch.unique(exchange.asked, return_inverse=True)
        answers = F.embedding(places, F.embedding(shards.local(asked), table, sparse=True))
        exchange.answer(answers).sum().backward()  # type: ignore[no-untyped-call]
        table.grad = None
    return (time.perf_counter() - start) / ROUNDS


def cases() -> list[dict[str, Any]]:
    """The recipes, each with each of its batch sizes."""
    found: list[dict[str, Any]] = []
    for name, settings in RECIPES.items():
        fixed = {key: values[0] for key, values in settings.items()}
        sizes = settings["training.batch_size"]
        found += [{"recipe": name, **fixed, "training.batch_size": size} for size in sizes]
    return found


def work(folder: Path) -> None:
    """As one of the processes: measure, and write what the first one sees."""
    torch.set_num_threads(1)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ.get("LOCAL_RANK", "0")) % len(cores)]})
    with processes_of_environment("cpu") as processes:
        document = {"data": {"interactions": str(folder / "rows")}}
        dataset, spy = Dataset.read(parse_config(document)), Spy()
        found: dict[str, Any] = {"network": network(processes) if processes.are_several else None}
        found["steps"] = [
            {
                **case,
                **step_of({k: v for k, v in case.items() if "." in k}, dataset, processes, spy),
            }
            for case in cases()
        ]
    if processes.is_first:
        (folder / f"found-{processes.size}.json").write_text(json.dumps(found), encoding="utf-8")


def by_processes(number: int, folder: Path) -> dict[str, Any]:
    """What so many processes measure."""
    command = [sys.executable, "-m", "benchmarks.processes", "--worker", str(folder)]
    if number > 1:
        torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(number)]
        command = [sys.executable, "-m", *torchrun, *command[1:]]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    found: dict[str, Any] = json.loads((folder / f"found-{number}.json").read_text("utf-8"))
    return found


def figures(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """The steps of both beside each other."""
    alone = {(step["recipe"], step["training.batch_size"]): step for step in one["steps"]}
    steps = []
    for step in two["steps"]:
        size = step["training.batch_size"]
        same, half = alone[step["recipe"], size], alone.get((step["recipe"], size // 2))
        steps.append(
            {
                "recipe": step["recipe"],
                "batch_size": size,
                "targets": step["targets"],
                "seconds": {"1": round(same["seconds"], 5), "2": round(step["seconds"], 5)},
                "speedup": round(same["seconds"] / step["seconds"], 3),
                "weak": None if half is None else round(half["seconds"] / step["seconds"], 3),
                "waiting": round(step["waiting"], 3),
                "bytes": step["bytes"],
                "exchanges": step["exchanges"],
            }
        )
    return {"network": two["network"], "steps": steps}


def main() -> None:
    """Measure, print one JSON object."""
    parsing = parser(__doc__)
    parsing.add_argument("--worker", type=Path, help="measure as one of the processes")
    options = parsing.parse_args()
    if options.worker is not None:
        work(options.worker)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(SIZE, folder / "rows")
        one, two = (by_processes(number, folder) for number in (1, 2))
    result = {"protocol": "steps by one process and by two", "data": SIZE._asdict()}
    emit({**result, **figures(one, two)}, "processes", save=options.save)


if __name__ == "__main__":
    main()
