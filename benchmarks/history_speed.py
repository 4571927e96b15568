"""The transformer history's speed against its matrix products; half a minute.

Two layers over 256 histories of 50 places, d = 64, forward and backward, as in training:

- encoder: all places hold an event; ages are read, dropout is on;
- half_full: lengths uniform between 1 and 50, so that half of the places are empty;
- training_step: gather the items' states, encode, sampled softmax against 1,024 items, backward,
  and the optimiser's step, for every place of synthetic sequences of 50 events over 10,000 items.

The products of the full case are measured between the steps of the same run. Each figure is the
best of its repeats, because other work on the machine only ever adds; `cpu_ms` adds up the cores'
time (with OMP_WAIT_POLICY=passive, else it counts their waiting, too).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from benchmarks.common import emit, parser
from twotower.config import HistoryConfig, parse_config
from twotower.data.dataset.dataset import number_interactions
from twotower.data.dataset.entities import EntityTable
from twotower.data.features.histories import History, HistoryFeature
from twotower.data.features.schema import Schema
from twotower.data.synthetic.shop import generate_interactions
from twotower.models.layers.history.encoder import HistoryEncoder
from twotower.models.layers.history.transformer import HIDDEN
from twotower.models.retriever.objective import RetrievalObjective
from twotower.models.retriever.two_tower import TwoTower
from twotower.training.optimizers import RowAdam
from twotower.training.trainer import parameter_groups, table_rate
from twotower.workflow.training.fit_retriever import make_batches

SEQUENCES, LENGTH, DIM, HEADS, LAYERS = 256, 50, 64, 2, 2
NUM_ITEMS = 10_000

Step = Callable[[], object]


def encoder_step(lengths: torch.Tensor) -> Step:
    """Encode histories of these lengths (B,) and go back."""
    config = HistoryConfig(type="history", max_length=LENGTH, num_heads=HEADS, num_layers=LAYERS)
    encoder = HistoryEncoder(HistoryFeature(config, None, has_times=True), DIM, None).train()
    tokens = torch.randn(SEQUENCES, LENGTH, DIM, requires_grad=True)
    mask = torch.arange(LENGTH) < lengths[:, None]
    time_of = torch.arange(LENGTH).repeat(SEQUENCES, 1) * 3600
    history = History(mask.long(), mask, time_of, None)

    def step() -> None:
        encoder(tokens, history)[mask].sum().backward()

    return step


def training_step() -> Step:
    """A step of the trainer's own parts."""
    config = parse_config(
        {
            "data": {"interactions": "synthetic"},
            "features": {
                "user": {
                    "id": {"enabled": False},
                    "history": {"type": "history", "max_length": LENGTH},
                }
            },
            "retriever": {
                "loss": "sampled_softmax",
                "num_negatives": 1024,
                "embedding_dim": DIM,
            },
            "training": {"batch_size": SEQUENCES},
        }
    )
    rows = generate_interactions(4 * SEQUENCES * LENGTH, 4 * SEQUENCES, NUM_ITEMS)
    users = torch.arange(4 * SEQUENCES).repeat_interleave(LENGTH).numpy()
    rows = rows.with_columns(user_id=users)
    schema = Schema.fit(config.features, interactions=rows, users=None, items=None)
    train = number_interactions(
        rows, EntityTable(schema, "user", None), EntityTable(schema, "item", None)
    )
    model = TwoTower(config.retriever, schema).train()
    batches = list(make_batches(train, config).epoch(0))
    objective = RetrievalObjective(model, train, batch_size=SEQUENCES, device=torch.device("cpu"))
    optimizer = RowAdam(parameter_groups(model, config.training), lr=table_rate(config.training))

    def step() -> None:
        optimizer.zero_grad()
        objective.loss(batches[0]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def products() -> Step:
    """The encoder's matrix products alone."""
    rows = SEQUENCES * LENGTH
    x, wide, hidden = (torch.randn(rows, width) for width in (DIM, 3 * DIM, HIDDEN * DIM))
    heads = torch.randn(SEQUENCES * HEADS, LENGTH, DIM // HEADS)
    attention = torch.randn(SEQUENCES * HEADS, LENGTH, LENGTH)

    def step() -> None:
        for _ in range(LAYERS):
            for left, right in ((x, wide), (x, x), (x, hidden), (hidden, x)):
                weight = torch.zeros(left.shape[1], right.shape[1])
                torch.mm(left, weight)  # forward
                torch.mm(right, weight.T)  # to the inputs
                torch.mm(left.T, right)  # to the weights
            for _ in range(3):
                torch.bmm(heads, heads.transpose(1, 2))
                torch.bmm(attention, heads)

    return step


class Best(NamedTuple):
    """The shortest time of a step, by the clock and of all cores together, in seconds."""

    wall: float = float("inf")
    cpu: float = float("inf")


def best_times(steps: dict[str, Step], repeats: int) -> dict[str, Best]:
    """The best of each, taken in turns so that all meet the same machine."""
    found = dict.fromkeys(steps, Best())
    for repeat in range(repeats + 2):
        for name, step in steps.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            taken = Best(time.perf_counter() - wall, time.process_time() - cpu)
            if repeat >= 2:
                found[name] = Best(*map(min, zip(found[name], taken, strict=True)))
    return found


def main() -> None:
    """Measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--repeats", type=int, default=30, help="repeats of each (default 30)")
    options = made.parse_args()
    full = torch.full((SEQUENCES,), LENGTH)
    steps = {
        "encoder": encoder_step(full),
        "half_full": encoder_step(torch.randint(1, LENGTH + 1, (SEQUENCES,))),
        "training_step": training_step(),
        "products": products(),
    }
    best = best_times(steps, options.repeats)
    floor = best["products"]
    figures: dict[str, Any] = {
        name: {
            "ms": round(1000 * times.wall, 2),
            "cpu_ms": round(1000 * times.cpu, 2),
            "sequences_per_second": round(SEQUENCES / times.wall),
            "over_products": round(times.wall / floor.wall, 2),
            "cpu_over_products": round(times.cpu / floor.cpu, 2),
        }
        for name, times in best.items()
    }
    emit(
        {
            "protocol": f"the best of {options.repeats} repeats in turns; {SEQUENCES} histories "
            f"of {LENGTH} places, d = {DIM}, {HEADS} heads, {LAYERS} layers, fp32",
            "threads": torch.get_num_threads(),
            **figures,
        },
        "history_speed",
        save=options.save,
    )


if __name__ == "__main__":
    main()
