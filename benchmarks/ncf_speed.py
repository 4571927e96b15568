"""Training speed of NeuMF at ml-1m's size, against the floor of its matrix products; half a minute.

Synthetic pairs with skewed popularity, 6,040 users x 3,706 items, 994,169 positives; 32 factors for
each of GMF and MLP, four negatives a positive. "MLP 64-32-16" is read in two ways: in `paper` 64 is
the width of both embeddings, concatenated, in `recbole` it is a layer, too.

A step is everything that the trainer does: draw the batch, draw negatives that the user does not
have, loss, backward, Adam. Pairs are counted as RecBole counts them: positives and negatives, each
one pair. The floor is the time of the step's matrix products alone, forward and both ways backward,
measured in the same run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from itertools import count, pairwise
from typing import Any

import torch

from benchmarks.common import emit, parser
from benchmarks.train_speed import milliseconds, settings
from twotower.config import parse_config
from twotower.data.batches.batches import Batch, PairBatches
from twotower.data.dataset.dataset import number_interactions
from twotower.data.dataset.entities import EntityTable
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.schema import Schema
from twotower.data.synthetic.shop import generate_interactions
from twotower.models.ranker.neumf import NeuMF
from twotower.models.ranker.neumf_objective import PairObjective
from twotower.training.engine import Engine
from twotower.training.optimizers import RowAdam
from twotower.training.trainer import parameter_groups

ROWS, USERS, ITEMS = 994_169, 6_040, 3_706
FACTORS, NEGATIVES, BATCH = 32, 4, 2048
READINGS = {"paper": (32, 16), "recbole": (64, 32, 16)}


def interactions(rows: int, users: int, items: int) -> Interactions:
    """The synthetic training part."""
    frame = generate_interactions(rows, users, items, seed=0)
    schema = Schema.fit(settings({}).features, interactions=frame, users=None, items=None)
    return number_interactions(
        frame, EntityTable(schema, "user", None), EntityTable(schema, "item", None)
    )


def endless(batches: PairBatches) -> Iterator[Batch]:
    """Epoch after epoch."""
    for epoch in count():
        yield from (batch for batch in batches.epoch(epoch) if len(batch) == batches.batch_size)


def measure(
    train: Interactions, hidden: tuple[int, ...], options: Any, engine: Engine
) -> dict[str, float]:
    """A step's parts in ms, and pairs per second."""
    model = NeuMF(
        len(train.users),
        len(train.items),
        gmf_dim=options.factors,
        mlp_dim=options.mlp_dim,
        hidden=hidden,
    )
    engine.prepare(model)
    config = parse_config({"data": {"interactions": "synthetic"}}).training
    objective = PairObjective(model, train, num_negatives=NEGATIVES, device=engine.device)
    optimizer = RowAdam(parameter_groups(model.train(), config), lr=0.001)
    batches = endless(PairBatches(train, batch_size=options.batch, seed=0))
    parts: dict[str, list[float]] = {
        "batch_ms": [], "loss_ms": [], "backward_ms": [], "optimizer_ms": []
    }  # fmt: skip
    whole = []

    def now() -> float:
        if engine.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    for _ in range(options.repeats + 3):
        moments = [now()]
        batch = next(batches)
        moments.append(now())
        optimizer.zero_grad()
        with engine.autocast():
            loss = objective.loss(batch)
        moments.append(now())
        loss.backward()  # type: ignore[no-untyped-call]
        moments.append(now())
        optimizer.step()
        moments.append(now())
        for name, start, end in zip(parts, moments[:-1], moments[1:], strict=True):
            parts[name].append(1000 * (end - start))
        whole.append(1000 * (moments[-1] - moments[0]))
    median = {name: round(statistics.median(times[3:]), 2) for name, times in parts.items()}
    step = statistics.median(whole[3:])
    lowest = floor(train, hidden, options, engine)
    pairs = options.batch * (1 + NEGATIVES)
    return {
        **median,
        "step_ms": round(step, 2),
        "products_ms": round(lowest, 2),
        "step_over_floor": round(step / lowest, 2),
        "pairs_per_second": round(1000 * pairs / step),
        "positives_per_second": round(1000 * options.batch / step),
        "pairs_per_second_at_floor": round(1000 * pairs / lowest),
    }


def floor(train: Interactions, hidden: tuple[int, ...], options: Any, engine: Engine) -> float:
    """The matrix products of a step in ms. The first layer is taken apart as the model takes it: a
    product over the batch's users, and one over the items or the batch's pairs, whichever is less.
    """
    pairs, factors = options.batch * (1 + NEGATIVES), options.factors
    sides = [
        (options.batch, options.mlp_dim, hidden[0]),
        (min(pairs, len(train.items)), options.mlp_dim, hidden[0]),
    ]
    layers = [(pairs, *widths) for widths in pairwise(hidden)]
    shapes = [*sides, *layers, (pairs, hidden[-1], 1), (pairs, factors, 1)]
    operands = [
        (
            torch.randn(rows, inputs, device=engine.device),
            torch.randn(inputs, outputs, device=engine.device),
            torch.randn(rows, outputs, device=engine.device),
        )
        for rows, inputs, outputs in shapes
    ]

    def products() -> None:
        with engine.autocast():
            for left, weight, gradient in operands:
                torch.mm(left, weight)
                torch.mm(gradient, weight.T)
                torch.mm(left.T, gradient)

    return milliseconds(products, options.repeats)


def main() -> None:
    """Measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--repeats", type=int, default=100, help="steps measured (default 100)")
    made.add_argument("--batch", type=int, default=BATCH, help="positives a step (default 2048)")
    made.add_argument("--device", default="cpu", help="cpu (default), cuda")
    options = made.parse_args()
    options.factors = options.mlp_dim = FACTORS
    train = interactions(ROWS, USERS, ITEMS)
    config = parse_config(
        {"data": {"interactions": "synthetic"}, "training": {"device": options.device}}
    )
    engine = Engine.from_config(config.training)
    emit(
        {
            "data": f"{len(train):,} synthetic pairs, {USERS:,} users x {ITEMS:,} items",
            "factors": FACTORS,
            "negatives": NEGATIVES,
            "batch": options.batch,
            "threads": torch.get_num_threads(),
            "counted": "positives and negatives, each a pair, as RecBole does",
            "readings": {
                name: {"hidden": hidden, **measure(train, hidden, options, engine)}
                for name, hidden in READINGS.items()
            },
        },
        "ncf_speed",
        save=options.save,
    )


if __name__ == "__main__":
    main()
