"""What a GPU makes of training: quality, and speed against floors; under 8 minutes on an H200.

- gowalla: the default recipe on the LightGCN split, as `benchmarks.gowalla`; needs the data set.
- in_batch, full_softmax: steps of the retriever on synthetic pairs, 1,000,000 users x 100,000
  items, d = 64, in bf16 and in fp32.
- neumf: NeuMF at ML-20M's size, 20,000,263 synthetic pairs of 138,493 users x 26,744 items, 64
  factors, an MLP of 256-256-128-64, four negatives a positive, 1,048,576 pairs a step. Pairs are
  counted as by the published figure of one A100 (34.1 M a second): positives and negatives.
- transformer: next-item training, 50 places, d = 64, two layers, sampled softmax.

A step is what the trainer does: make the batch on the device, draw negatives, loss, backward,
optimiser, read the loss. Floors are counted, and divided by what the same run measured for a copy
and for a bf16 matrix product: the products alone, and the bytes that have to be moved if nothing is
fused but pointwise functions into the products that read them. `--small` tries everything at small
sizes on any machine.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count, islice, pairwise
from typing import Any

import numpy as np
import torch

from benchmarks.common import data_folder, emit, keep, parser
from benchmarks.ncf_speed import interactions
from benchmarks.retrieval import lightgcn_split
from twotower.config import Config, parse_config
from twotower.data.batches.batches import Batch, Batches, PairBatches
from twotower.data.dataset.dataset import number_interactions
from twotower.data.dataset.entities import EntityTable
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.schema import Schema
from twotower.data.synthetic.shop import generate_interactions
from twotower.models.ranker.neumf import NeuMF
from twotower.models.ranker.neumf_objective import PairObjective
from twotower.models.retriever.objective import RetrievalObjective
from twotower.models.retriever.two_tower import TwoTower
from twotower.training.engine import Engine
from twotower.training.optimizers import RowAdam
from twotower.training.trainer import Objective, parameter_groups
from twotower.workflow.training.fit_retriever import make_batches

Step = Callable[[], object]

DIM, NEGATIVES, LENGTH = 64, 4, 50
FACTORS, MLP_DIM, HIDDEN = 64, 128, (256, 128, 64)
PUBLISHED = 34.1e6
"""Pairs a second of NVIDIA's NCF on one A100 with 80 GB."""


def main() -> None:
    """Measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--device", default="auto", help="auto (default), cuda, cpu")
    made.add_argument("--small", action="store_true", help="small sizes, to try the program")
    made.add_argument("--repeats", type=int, default=40, help="steps measured (default 40)")
    made.add_argument(
        "--parts",
        default="neumf,in_batch,full_softmax,transformer,gowalla",
        help="what to measure, with commas between (default all)",
    )
    options = made.parse_args()
    engine = Engine.from_config(settings({}, options.device).training)
    run = Run(engine.device, small=options.small, repeats=options.repeats)
    result: dict[str, Any] = {
        "protocol": f"the mean of {run.repeats} steps, medians of their parts; a step makes its "
        "batch, draws negatives, computes the loss, goes back, updates the weights and reads the "
        "loss",
        "device": str(engine.device),
        "small": options.small,
        "ceilings": run.ceilings,
    }
    for part in options.parts.split(","):
        start = time.perf_counter()
        result[part] = PARTS[part](run)
        result[part]["seconds_measuring"] = round(time.perf_counter() - start, 1)
        if options.save:
            keep(result, "gpu")
    emit(result, "gpu", save=options.save)


class Run:
    """Where and how long to measure, and what the device can do at most."""

    def __init__(self, device: torch.device, *, small: bool, repeats: int) -> None:
        self.device = device
        self.small = small
        self.repeats = 3 if small else repeats
        self.precisions = {"bf16": True, "fp32": False}
        self.ceilings = self._measure_ceilings()

    def engine(self, *, bf16: bool) -> Engine:
        """The device in a precision."""
        return Engine(self.device, bf16=bf16)

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, step: Step, *, warm_up: int = 5) -> float:
        """The mean time of a step, after some that are not counted."""
        for _ in range(warm_up):
            step()
        self.synchronize()
        start = time.perf_counter()
        for _ in range(self.repeats):
            step()
        self.synchronize()
        return (time.perf_counter() - start) / self.repeats

    def _measure_ceilings(self) -> dict[str, float]:
        """Bytes a second of a copy, counting reads and writes, and FLOP a second of a product."""
        side = 512 if self.small else 8192
        source = torch.randn(side * side * (1 if self.small else 8), device=self.device)
        target = torch.empty_like(source)
        left, right = (torch.randn(side, side, device=self.device) for _ in range(2))
        halves = left.bfloat16(), right.bfloat16()
        copied = 2 * source.numel() * source.element_size()
        rates = {
            "copy_tb_per_second": copied / self.seconds(lambda: target.copy_(source)),
            "bf16_tflops": 2 * side**3 / self.seconds(lambda: torch.mm(*halves)),
            "fp32_tflops": 2 * side**3 / self.seconds(lambda: torch.mm(left, right)),
        }
        return {name: float(f"{rate / 1e12:.4g}") for name, rate in rates.items()}

    def floor(self, *, flop: float, num_bytes: float) -> dict[str, float]:
        """Milliseconds that products and moving bytes take at least."""
        seconds = {
            "products_floor_ms": flop / (1e12 * self.ceilings["bf16_tflops"]),
            "bytes_floor_ms": num_bytes / (1e12 * self.ceilings["copy_tb_per_second"]),
        }
        return {name: float(f"{1e3 * value:.4g}") for name, value in seconds.items()}

    def free(self) -> None:
        """Give the memory of the last model back."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_gb(self) -> float:
        """Of the device's memory, since the last `free`."""
        used = torch.cuda.max_memory_allocated() if self.device.type == "cuda" else 0
        return round(used / 1e9, 2)


def settings(document: dict[str, Any], device: str = "cpu") -> Config:
    """A config that names no real file."""
    training = {"device": device, **document.get("training", {})}
    return parse_config({"data": {"interactions": "synthetic"}, **document, "training": training})


class TrainingSteps:
    """Steps of an objective, one after the other."""

    def __init__(self, objective: Objective, batches: Batches, config: Config, engine: Engine):
        self.objective, self.engine = objective, engine
        self.optimizer = RowAdam(
            parameter_groups(objective.model.train(), config.training), lr=1e-3
        )
        self.batches = endless(batches)
        self.targets: list[int] = []

    def __call__(self) -> None:
        """One step, as the trainer does it."""
        batch = next(self.batches)
        with self.engine.autocast():
            loss = self.objective.loss(batch)
        if not np.isfinite(float(loss.detach())):
            raise ArithmeticError("the loss is not finite")
        self.targets.append(batch.num_targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()


def endless(batches: Batches) -> Iterator[Batch]:
    """Epoch after epoch, without the smaller batch at the end of each."""
    for epoch in count():
        yield from islice(batches.epoch(epoch), max(1, len(batches) - 1))


# --- NeuMF ---


def measure_neumf(run: Run) -> dict[str, Any]:
    """Steps at ML-20M's size, whole and in parts, beside their floors."""
    rows, users, items = (20_000, 500, 300) if run.small else (20_000_263, 138_493, 26_744)
    positives = (5_120 if run.small else 1_048_576) // (1 + NEGATIVES)
    train = interactions(rows, users, items)
    pairs = positives * (1 + NEGATIVES)
    result: dict[str, Any] = {
        "data": f"{len(train):,} synthetic pairs, {users:,} users x {items:,} items",
        "factors": FACTORS,
        "hidden": [2 * MLP_DIM, *HIDDEN],
        "negatives": NEGATIVES,
        "pairs_a_step": pairs,
        "pairs_per_second_published_a100": PUBLISHED,
        **run.floor(flop=neumf_flop(pairs, positives, items), num_bytes=neumf_bytes(pairs, train)),
    }
    lowest = max(result["products_floor_ms"], result["bytes_floor_ms"])
    forms = [("bf16", True, False), ("fp32", False, False)]
    forms += [("bf16_compiled", True, True)] if run.device.type == "cuda" else []
    for name, bf16, compiled in forms:
        engine = run.engine(bf16=bf16)
        found = neumf_steps(run, train, positives, engine, compiled=compiled)
        found["pairs_per_second"] = round(1000 * pairs / found["step_ms"])
        found["step_over_floor"] = round(found["step_ms"] / lowest, 2)
        result[name] = found
    return result


def neumf_steps(
    run: Run, train: Interactions, positives: int, engine: Engine, *, compiled: bool = False
) -> dict[str, Any]:
    """The time of a step and of its parts, in ms."""
    run.free()
    model = NeuMF(
        len(train.users), len(train.items), gmf_dim=FACTORS, mlp_dim=MLP_DIM, hidden=HIDDEN
    )
    engine.prepare(model)
    objective = PairObjective(
        model, train, num_negatives=NEGATIVES, device=run.device, compiled=compiled
    )
    batches = PairBatches(train, batch_size=positives, seed=0, device=run.device)
    steps = TrainingSteps(objective, batches, settings({}), engine)
    step = run.seconds(steps)
    parts = steps_in_parts(run, steps)
    start = time.perf_counter()
    next(batches.epoch(0))
    run.synchronize()
    return {
        "step_ms": round(1e3 * step, 3),
        **parts,
        "shuffle_ms": round(1e3 * (time.perf_counter() - start), 3),
        "memory_gb": run.peak_gb(),
    }


def steps_in_parts(run: Run, steps: TrainingSteps) -> dict[str, float]:
    """Milliseconds of each part of a step, the device waited for after each."""
    parts: dict[str, list[float]] = {"batch": [], "loss": [], "backward": [], "optimizer": []}
    for _ in range(run.repeats):
        moments = [now(run)]
        batch = next(steps.batches)
        moments.append(now(run))
        with steps.engine.autocast():
            loss = steps.objective.loss(batch)
        moments.append(now(run))
        loss.backward()  # type: ignore[no-untyped-call]
        moments.append(now(run))
        steps.optimizer.step()
        steps.optimizer.zero_grad()
        moments.append(now(run))
        for name, (start, end) in zip(parts, pairwise(moments), strict=True):
            parts[name].append(1e3 * (end - start))
    return {f"{name}_ms": round(statistics.median(times), 3) for name, times in parts.items()}


def now(run: Run) -> float:
    """The clock, once the device is done."""
    run.synchronize()
    return time.perf_counter()


def neumf_flop(pairs: int, positives: int, items: int) -> float:
    """Of a step's products, forward and both ways back. The first layer is taken apart: over the
    users of the batch, and over all items."""
    first = (positives + min(items, pairs)) * MLP_DIM * HIDDEN[0]
    later = pairs * (sum(a * b for a, b in pairwise(HIDDEN)) + HIDDEN[-1] + FACTORS)
    return 3 * 2.0 * (first + later)


def neumf_bytes(pairs: int, train: Interactions) -> float:
    """Moved by a step at least, if each layer's input is written once and read by the product
    after it and by the product of its weights' gradient, and its gradient likewise, in bf16; and
    what Adam reads and writes of the tables, fp32."""
    inputs = 3 * sum(HIDDEN) + 2 * FACTORS
    gradients = 3 * sum(HIDDEN) + 2 * FACTORS
    tables = (len(train.users) + len(train.items)) * (FACTORS + MLP_DIM)
    return 2.0 * pairs * (inputs + gradients) + 4.0 * 8 * tables


# --- the retriever ---


def measure_in_batch(run: Run) -> dict[str, Any]:
    """In-batch softmax of ids, at two sizes of the batch."""
    retriever = {"loss": "in_batch_softmax", "smoothing_layers": 0, "negative_weight": 1.0}
    sizes = (256, 512) if run.small else (8_192, 65_536)
    return retriever_steps(run, retriever, sizes, lambda size: (size, size))


def measure_full_softmax(run: Run) -> dict[str, Any]:
    """The default recipe: users against the whole catalogue, ids smoothed over the graph."""
    sizes = (64,) if run.small else (1_024, 4_096)
    return retriever_steps(run, {}, sizes, lambda size: (size, shop_size(run)[2]))


def shop_size(run: Run) -> tuple[int, int, int]:
    """Rows, users, items: those of gowalla."""
    return (5_000, 300, 200) if run.small else (810_128, 29_858, 40_981)


def retriever_steps(
    run: Run,
    retriever: dict[str, Any],
    sizes: tuple[int, ...],
    logits: Callable[[int], tuple[int, int]],
) -> dict[str, Any]:
    """Steps in each precision and size; `logits`: rows and columns of a batch's."""
    rows, users, items = shop_size(run)
    train = interactions(rows, users, items)
    result: dict[str, Any] = {
        "data": f"{len(train):,} synthetic pairs, {users:,} users x {items:,} items, d = {DIM}"
    }
    for size in sizes:
        config = settings({"retriever": retriever, "training": {"batch_size": size}})
        height, width = logits(size)
        # The logits are written, then read as exponentials by the products of both gradients.
        cells = float(height * width)
        found: dict[str, Any] = run.floor(flop=6 * cells * DIM, num_bytes=2 * 3 * cells)
        for name, bf16 in run.precisions.items():
            found[name] = retriever_step(run, train, config, run.engine(bf16=bf16))
        result[f"batch_{size}"] = found
    return result


def retriever_step(
    run: Run, train: Interactions, config: Config, engine: Engine
) -> dict[str, float]:
    """The time of a step in ms, and targets per second."""
    run.free()
    model = TwoTower(config.retriever, train.users.schema)
    engine.prepare(model)
    batches = make_batches(train, config)
    objective = RetrievalObjective(model, train, batch_size=batches.batch_size, device=run.device)
    steps = TrainingSteps(objective, batches, config, engine)
    step = run.seconds(steps)
    return {
        "step_ms": round(1e3 * step, 3),
        **steps_in_parts(run, steps),
        "pairs_per_second": round(statistics.mean(steps.targets) / step),
        "memory_gb": run.peak_gb(),
    }


def measure_transformer(run: Run) -> dict[str, Any]:
    """Sequences a second of next-item training."""
    sizes = (16,) if run.small else (128, 1_024, 4_096)
    users, items = (100, 200) if run.small else (8_192, 10_000)
    result: dict[str, Any] = {
        "data": f"synthetic sequences of {LENGTH} events, {items:,} items, d = {DIM}, two layers, "
        "sampled softmax with 1,024 negatives",
    }
    for size in sizes:
        config, train = sequences(users, items, size)
        found: dict[str, Any] = {}
        for name, bf16 in run.precisions.items():
            measured = retriever_step(run, train, config, run.engine(bf16=bf16))
            measured["sequences_per_second"] = round(1e3 * size / measured["step_ms"])
            found[name] = measured
        result[f"batch_{size}"] = found
    return result


def sequences(users: int, items: int, size: int) -> tuple[Config, Interactions]:
    """A config with a transformer, and users with as many events as it reads."""
    history = {"type": "history", "max_length": LENGTH}
    config = settings(
        {
            "features": {"user": {"id": {"enabled": False}, "history": history}},
            "retriever": {"loss": "sampled_softmax", "num_negatives": 1024, "embedding_dim": DIM},
            "training": {"batch_size": size},
        }
    )
    frame = generate_interactions(users * LENGTH, users, items)
    frame = frame.with_columns(user_id=np.repeat(np.arange(users), LENGTH))
    schema = Schema.fit(config.features, interactions=frame, users=None, items=None)
    entities = EntityTable(schema, "user", None), EntityTable(schema, "item", None)
    return config, number_interactions(frame, *entities)


# --- quality ---


def measure_gowalla(run: Run) -> dict[str, Any]:
    """The default recipe: figures of the test part, and the time with refit."""
    overrides = [f'training.device="{run.device}"']
    overrides += ["training.epochs=1"] if run.small else []
    run.free()
    found = lightgcn_split(data_folder("gowalla"), overrides)
    return {
        "metrics": found["metrics"],
        "seconds": found["seconds"],
        "best_epoch": found["best_epoch"],
        "seconds_to_best_epoch": found["validation"]["seconds"],
        "memory_gb": run.peak_gb(),
    }


PARTS: dict[str, Callable[[Run], dict[str, Any]]] = {
    "neumf": measure_neumf,
    "in_batch": measure_in_batch,
    "full_softmax": measure_full_softmax,
    "transformer": measure_transformer,
    "gowalla": measure_gowalla,
}


if __name__ == "__main__":
    main()
