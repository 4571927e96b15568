"""What training by many processes costs, worked out from what two were measured to take.

`python -m benchmarks.cluster_cost --users 1e9 --items 1e8 --rows 1e10 --processes 512` prints the
memory, the traffic and the hours of the softmax over sampled items on ids. The constants are those
of `benchmarks.processes`, on whose machine they hold: the time of a step by one process, which
grows with its queries, and what an exchange takes. `check` has that measurement beside what is
predicted for it from the steps of a single process and from the bare exchange.

The model of a step: each of W processes learns from B / W queries as one process does from so many;
in a number of exchanges, of which each waits for the network, it asks for the vectors of the
distinct items that it needs, and sends back their gradients. Items follow Zipf's law with
exponent 1.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.common import emit, parser, saved
from benchmarks.scale import SIZES
from twotower.config import RetrieverConfig
from twotower.models.retriever.losses.base import SIZES as LOSS_SIZES

FLOAT, NUM = 4, 8
"""Bytes."""
RECIPE = "sampled items"
EXCHANGES, EXCHANGES_OF_ROUND = 6, 4
"""Of a step, forth and back, and those among them that ask for rows and return gradients."""
COPIES = {"adam": 3.0, "rowwise_adagrad": 1.0}
"""Numbers a weight that the optimizer holds, the weight among them."""
BYTES_OF_PRECISION = {"fp32": 4, "bf16": 2}
"""Of a number in a table and in its state; what is sent is in fp32 either way."""
BEST_COPIES = 1
"""The weights of the best validation, kept beside."""


@dataclass(frozen=True)
class Setup:
    """What is trained, and on what.

    Attributes:
        users, items, rows: of the log.
        processes: W.
        batch_size: B, queries a step of all processes.
        targets: of a query.
        negatives: sampled items a step.
        dim: of the vectors.
        epochs: of training.
        optimizer: of the tables, `adam` or `rowwise_adagrad`.
        precision: of the tables, `fp32` or `bf16`.
        latency: seconds of an exchange.
        round: seconds of a process for a round of asking, beside its exchanges and rows.
        asking: the same for a row that it asks for, beside sending it.
        bandwidth: bytes a second that a process can send.
        memory: bytes of a process.
    """

    users: float
    items: float
    rows: float
    processes: int
    batch_size: int
    targets: float
    negatives: int
    dim: int
    epochs: int
    optimizer: str
    precision: str
    latency: float
    round: float
    asking: float
    bandwidth: float
    memory: float


def distinct(draws: float, items: float) -> float:
    """How many different items so many draws by Zipf's law have on average."""
    edges = np.unique(np.geomspace(1, items + 1, 4000).astype(np.int64)).astype(float)
    ranks, counts = (edges[:-1] + edges[1:] - 1) / 2, np.diff(edges)
    chances = 1 / (ranks * (math.log(items) + 0.5772))
    return float((counts * -np.expm1(draws * np.log1p(-np.minimum(chances, 0.999)))).sum())


def step_of_one(steps: list[dict[str, Any]]) -> tuple[float, float]:
    """Seconds of a step by one process: a constant, and what each query adds."""
    measured = [step for step in steps if step["recipe"] == RECIPE]
    queries = np.array([step["batch_size"] for step in measured], dtype=float)
    seconds = np.array([step["seconds"]["1"] for step in measured])
    # Each relative to itself: small steps count as much as large ones.
    columns = np.stack([np.ones_like(queries), queries], axis=1) / seconds[:, None]
    constant, slope = np.linalg.lstsq(columns, np.ones_like(seconds), rcond=None)[0]
    return max(float(constant), 0.0), float(slope)


def needed(setup: Setup) -> float:
    """Different items that a process needs in a step."""
    uniform = setup.items * -math.expm1(-setup.negatives / setup.items)
    return uniform + distinct(setup.batch_size * setup.targets / setup.processes, setup.items)


def bytes_of_row(dim: int) -> int:
    """That travel for an item: the num asked for, the vector, its gradient."""
    return NUM + 2 * FLOAT * dim


def traffic(setup: Setup) -> float:
    """Bytes that a process sends to others in a step."""
    return needed(setup) * (1 - 1 / setup.processes) * bytes_of_row(setup.dim)


def seconds_of_step(setup: Setup, constant: float, slope: float) -> float:
    """What a step takes."""
    work = constant + slope * setup.batch_size / setup.processes
    if setup.processes == 1:
        return work
    asking = needed(setup) * setup.asking
    waiting = EXCHANGES * setup.latency + traffic(setup) / setup.bandwidth
    return work + waiting + setup.round + asking


def round_of(network: dict[str, float]) -> float:
    """`Setup.round` by the measured seconds of a round, in which numbers were exchanged, too."""
    return max(network["seconds_a_round"] - EXCHANGES_OF_ROUND * network["seconds"], 0.0)


def asking_of(network: dict[str, float], processes: int, dim: int) -> float:
    """`Setup.asking` by the measured seconds of a row, which was sent, too."""
    sent = (1 - 1 / processes) * bytes_of_row(dim)
    return max(network["seconds_a_row"] - sent / network["bytes_a_second"], 0.0)


def cost(setup: Setup, constant: float, slope: float) -> dict[str, Any]:
    """What the whole training takes."""
    number = BYTES_OF_PRECISION[setup.precision]
    row = setup.dim * number * (COPIES[setup.optimizer] + BEST_COPIES)
    row += FLOAT if setup.optimizer == "rowwise_adagrad" else 0
    tables = (setup.users + setup.items) * row
    log = setup.rows * 2 * FLOAT
    work = constant + slope * setup.batch_size / setup.processes
    step = seconds_of_step(setup, constant, slope)
    steps = setup.rows / (setup.batch_size * setup.targets)
    return {
        "bytes_a_row": row,
        "tables_gb": round(tables / 1e9, 1),
        "log_gb": round(log / 1e9, 1),
        "gb_a_process": round((tables + log) / setup.processes / 1e9, 1),
        "fits": (tables + log) / setup.processes <= setup.memory,
        "least_processes_by_memory": math.ceil((tables + log) / setup.memory),
        "first_process_gb": round((setup.users + setup.items) * setup.dim * FLOAT / 1e9, 1),
        "sent_mb_a_step_and_process": round(traffic(setup) / 1e6, 2),
        "seconds_a_step": round(step, 4),
        "share_of_network": round(1 - work / step, 3),
        "steps_an_epoch": round(steps),
        "hours_an_epoch": round(steps * step / 3600, 2),
        "hours": round(setup.epochs * steps * step / 3600, 1),
        "process_hours": round(setup.processes * setup.epochs * steps * step / 3600),
    }


def check(found: dict[str, Any], constant: float, slope: float) -> list[dict[str, float]]:
    """What two processes took, beside what is predicted."""
    size, retriever = SIZES["1m"], RetrieverConfig()
    rows = []
    for step in found["steps"]:
        if step["recipe"] != RECIPE:
            continue
        setup = Setup(
            **size._asdict(),
            processes=2,
            batch_size=step["batch_size"],
            targets=step["targets"] / step["batch_size"],
            negatives=LOSS_SIZES["num_negatives"],
            dim=retriever.embedding_dim,
            epochs=1,
            optimizer="adam",
            precision="fp32",
            latency=found["network"]["seconds"],
            round=round_of(found["network"]),
            asking=asking_of(found["network"], 2, retriever.embedding_dim),
            bandwidth=found["network"]["bytes_a_second"],
            memory=1e9,
        )
        seconds = seconds_of_step(setup, constant, slope)
        rows.append(
            {
                "batch_size": step["batch_size"],
                "measured": step["seconds"]["2"],
                "predicted": round(seconds, 5),
                "off": round(seconds / step["seconds"]["2"] - 1, 3),
                "bytes_measured": step["bytes"],
                "bytes_predicted": round(needed(setup) * bytes_of_row(setup.dim)),
            }
        )
    return rows


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parsing = parser(__doc__)
    for name, value in (("users", 1e9), ("items", 1e8), ("rows", 1e10), ("memory-gb", 64.0)):
        parsing.add_argument(f"--{name}", type=float, default=value)
    parsing.add_argument("--latency-us", type=float, default=100.0, help="of an exchange")
    parsing.add_argument("--gbit", type=float, default=10.0, help="bandwidth of a process")
    parsing.add_argument("--targets", type=float, default=10.0, help="of a query")
    for name, number in (("processes", 64), ("batch-size", 65_536), ("negatives", 4096)):
        parsing.add_argument(f"--{name}", type=int, default=number)
    for name, number in (("dim", 64), ("epochs", 5)):
        parsing.add_argument(f"--{name}", type=int, default=number)
    parsing.add_argument("--optimizer", choices=list(COPIES), default="rowwise_adagrad")
    parsing.add_argument("--precision", choices=list(BYTES_OF_PRECISION), default="fp32")
    return parsing.parse_args()


def main() -> None:
    """Work it out, print one JSON object."""
    options = arguments()
    found = saved("processes")
    constant, slope = step_of_one(found["steps"])
    setup = Setup(
        users=options.users,
        items=options.items,
        rows=options.rows,
        processes=options.processes,
        batch_size=options.batch_size,
        targets=options.targets,
        negatives=options.negatives,
        dim=options.dim,
        epochs=options.epochs,
        optimizer=options.optimizer,
        precision=options.precision,
        latency=options.latency_us / 1e6,
        round=round_of(found["network"]),
        asking=asking_of(found["network"], 2, options.dim),
        bandwidth=options.gbit * 1e9 / 8,
        memory=options.memory_gb * 1e9,
    )
    result = {
        "protocol": "worked out from two processes on one machine",
        "step_of_one": {"seconds": constant, "seconds_a_query": slope},
        "setup": asdict(setup),
        "cost": cost(setup, constant, slope),
        "check": check(found, constant, slope),
    }
    emit(result, "cluster_cost", save=options.save)


if __name__ == "__main__":
    main()
