"""Training speed at gowalla's size, against the floor of its matrix products; about a minute.

Synthetic pairs with skewed popularity, 29,858 users x 40,981 items, d = 64. Two steps are measured,
each through the trainer's own objective and optimiser:

- in_batch: in-batch softmax with logQ, 2,048 pairs, ids only, row-sparse state;
- recipe: the default recipe, 1,024 users against the whole catalogue, smoothing of two layers.

The floor is the time of the three matrix products and the one exponential that the step's loss
cannot do without, measured in the same run. `plain` is the same in-batch step written with autograd
and dense Adam.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.common import emit, parser
from twotower.config import Config, parse_config
from twotower.data.dataset.dataset import number_interactions
from twotower.data.dataset.entities import EntityTable
from twotower.data.dataset.interactions import Interactions
from twotower.data.features.schema import Schema
from twotower.data.synthetic.shop import generate_interactions
from twotower.models.retriever.objective import RetrievalObjective
from twotower.models.retriever.two_tower import TwoTower
from twotower.training.optimizers import RowAdam
from twotower.training.trainer import parameter_groups
from twotower.workflow.training.fit_retriever import make_batches

NUM_ROWS, NUM_USERS, NUM_ITEMS, DIM = 810_128, 29_858, 40_981, 64


def milliseconds(run: Callable[[], object], repeats: int) -> float:
    """The median time of a call, after two that are not counted."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[2:])


def interactions() -> Interactions:
    """The synthetic training part."""
    frame = generate_interactions(NUM_ROWS, NUM_USERS, NUM_ITEMS, seed=0)
    schema = Schema.fit(settings({}).features, interactions=frame, users=None, items=None)
    return number_interactions(
        frame, EntityTable(schema, "user", None), EntityTable(schema, "item", None)
    )


def settings(document: dict[str, Any]) -> Config:
    """A config that names no real file."""
    return parse_config({"data": {"interactions": "synthetic"}, **document})


def floor(queries: int, candidates: int, repeats: int) -> dict[str, float]:
    """Three products (B, D) x (D, M), (B, M) x (M, D), (M, B) x (B, D) and one exponential."""
    query, candidate = torch.randn(queries, DIM), torch.randn(candidates, DIM)
    logits = query @ candidate.T / DIM
    products = (
        milliseconds(lambda: torch.mm(query, candidate.T, out=logits), repeats)
        + milliseconds(lambda: logits @ candidate, repeats)
        + milliseconds(lambda: logits.T @ query, repeats)
    )
    logits /= 100
    exponential = milliseconds(lambda: logits.exp_().clamp_(max=0.1), repeats)
    return {
        "products_ms": round(products, 2),
        "exponential_ms": round(exponential, 2),
        "floor_ms": round(products + exponential, 2),
    }


def library_step(
    train: Interactions, config: Config, repeats: int
) -> tuple[dict[str, float], float]:
    """Parts of a step in ms, and its targets."""
    model = TwoTower(config.retriever, train.users.schema).train()
    batches = make_batches(train, config)
    objective = RetrievalObjective(
        model, train, batch_size=batches.batch_size, device=torch.device("cpu")
    )
    optimizer = RowAdam(parameter_groups(model, config.training), lr=0.01)
    drawn = []
    for batch in batches.epoch(0):
        drawn.append(batch)
        if len(drawn) == repeats + 2:
            break
    parts: dict[str, list[float]] = {"loss_ms": [], "backward_ms": [], "optimizer_ms": []}
    whole: list[float] = []
    for batch in drawn:
        moments = [time.perf_counter()]
        optimizer.zero_grad()
        loss = objective.loss(batch)
        moments.append(time.perf_counter())
        loss.backward()  # type: ignore[no-untyped-call]
        moments.append(time.perf_counter())
        optimizer.step()
        moments.append(time.perf_counter())
        for name, start, end in zip(parts, moments[:-1], moments[1:], strict=True):
            parts[name].append(1000 * (end - start))
        whole.append(1000 * (moments[-1] - moments[0]))
    median = {name: round(statistics.median(times[2:]), 2) for name, times in parts.items()}
    median["step_ms"] = round(statistics.median(whole[2:]), 2)
    return median, statistics.mean(batch.num_targets for batch in drawn[2:])


def plain_step(repeats: int, batch_size: int) -> float:
    """The in-batch step as it is usually written: autograd, dense tables, dense Adam; in ms."""
    users = torch.nn.Embedding(NUM_USERS, DIM)
    items = torch.nn.Embedding(NUM_ITEMS, DIM)
    optimizer = torch.optim.Adam([*users.parameters(), *items.parameters()], lr=0.01)
    user, item = (torch.randint(n, (batch_size,)) for n in (NUM_USERS, NUM_ITEMS))
    logq, labels = torch.randn(batch_size), torch.arange(batch_size)

    def step() -> None:
        optimizer.zero_grad()
        logits = F.normalize(users(user)) @ F.normalize(items(item)).T / 0.1 - logq
        hits = (item[None] == item[:, None]) & ~torch.eye(batch_size, dtype=torch.bool)
        loss = F.cross_entropy(logits.masked_fill(hits, -torch.inf), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return round(milliseconds(step, repeats), 2)


def main() -> None:
    """Measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--repeats", type=int, default=60, help="steps measured (default 60)")
    options = made.parse_args()
    train = interactions()
    in_batch = settings(
        {
            "retriever": {
                "loss": "in_batch_softmax",
                "smoothing_layers": 0,
                "negative_weight": 1.0,
            },
            "training": {"batch_size": 2048},
        }
    )
    results: dict[str, Any] = {}
    for name, config, size in (
        ("in_batch", in_batch, (2048, 2048)),
        ("recipe", settings({}), (1024, NUM_ITEMS)),
    ):
        repeats = options.repeats if name == "in_batch" else max(3, options.repeats // 6)
        parts, targets = library_step(train, config, repeats)
        lowest = floor(*size, repeats)
        results[name] = {
            **parts,
            **lowest,
            "step_over_floor": round(parts["step_ms"] / lowest["floor_ms"], 2),
            "pairs_per_second": round(1000 * targets / parts["step_ms"]),
            "pairs_per_second_at_floor": round(1000 * targets / lowest["floor_ms"]),
        }
    plain = plain_step(max(3, options.repeats // 3), 2048)
    results["plain"] = {
        "step_ms": plain,
        "pairs_per_second": round(1000 * 2048 / plain),
        "times_in_batch": round(plain / results["in_batch"]["step_ms"], 2),
    }
    emit(
        {
            "protocol": "medians of steps in one process; synthetic pairs, gowalla's size, d = 64",
            "threads": torch.get_num_threads(),
            "repeats": options.repeats,
            **results,
        },
        "train_speed",
        save=options.save,
    )


if __name__ == "__main__":
    main()
