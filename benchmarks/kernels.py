"""Each kernel of ours against torch's own, forward and backward on two threads; a minute.

Shapes are those of training: 256 histories of 50 places, d = 64, 2 heads (`attention`,
`dropout`, as in a transformer layer), and 3,700 items with 60 terms each of 20,000
(`embedding_bag`, the texts of ml-1m). Torch's own are:

- attention: `scaled_dot_product_attention` with the ages as a bias, and the same in plain autograd;
- dropout, dropout_add: `F.dropout`, alone and before a residual sum;
- embedding_bag: `F.embedding_bag`, on padded rows. `embedding_bag_new` is the same where the rows
  are new at each step, so that ours has to sort them, too (512 rows);
- smoothing: `F.embedding_bag` with its own backward pass, for a layer of smoothing over a graph of
  29,858 users x 40,981 items with 810,128 edges.

Ours and torch's take turns. Each figure is the best of its repeats, because other work on the
machine only ever adds. A kernel stays in the package if it is ahead by 20 % or more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import emit, parser
from twotower.models.kernels.attention import attend, attend_plainly
from twotower.models.kernels.dropout import Dropout
from twotower.models.layers.embedding_bag import EmbeddingBag
from twotower.models.layers.graph_smoothing import InteractionGraph

SEQUENCES, LENGTH, DIM, HEADS = 256, 50, 64, 2
ROWS = SEQUENCES * LENGTH
ITEMS, TERMS, NUM_TERMS, BATCH_ITEMS = 3_700, 60, 20_000, 512
GRAPH = (29_858, 40_981, 810_128)
THREADS = 2

Step = Callable[[], object]


def step_of(compute: Callable[[], Tensor], gradient: Tensor, leaves: list[Tensor]) -> Step:
    """Forward, and backward to the leaves from a gradient of the output."""

    def step() -> None:
        torch.autograd.grad(compute(), leaves, gradient)

    return step


def leaf(*shape: int) -> Tensor:
    """Random numbers that want a gradient."""
    return torch.randn(*shape, requires_grad=True)


def attention() -> dict[str, Step]:
    """Causal attention with a learned slope for the ages."""
    parts, slope = leaf(SEQUENCES, LENGTH, 3 * DIM), leaf(HEADS)
    hidden = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril().logical_not()
    penalty = torch.zeros(SEQUENCES, LENGTH, LENGTH).masked_fill_(hidden, -torch.inf)
    log_age = torch.rand(SEQUENCES, LENGTH, LENGTH) * 10
    gradient = torch.randn(SEQUENCES, LENGTH, DIM)

    def own() -> Tensor:
        heads = parts.view(SEQUENCES, LENGTH, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        bias = penalty[:, None] - slope[:, None, None] * log_age[:, None]
        mixed = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], attn_mask=bias)
        return mixed.transpose(1, 2).reshape(SEQUENCES, LENGTH, DIM)

    arguments = (parts, HEADS, penalty, log_age, slope)
    leaves = [parts, slope]
    return {
        "ours": step_of(lambda: attend(*arguments), gradient, leaves),
        "torch": step_of(own, gradient, leaves),
        "autograd": step_of(lambda: attend_plainly(*arguments), gradient, leaves),
    }


def dropout() -> dict[str, Step]:
    """A fifth of the elements."""
    rows, gradient = leaf(ROWS, DIM), torch.randn(ROWS, DIM)
    ours = Dropout(0.2).train()
    return {
        "ours": step_of(lambda: ours(rows), gradient, [rows]),
        "torch": step_of(lambda: F.dropout(rows, 0.2), gradient, [rows]),
    }


def dropout_add() -> dict[str, Step]:
    """The same before a residual sum."""
    total, rows, gradient = leaf(ROWS, DIM), leaf(ROWS, DIM), torch.randn(ROWS, DIM)
    ours = Dropout(0.2).train()
    leaves = [total, rows]
    return {
        "ours": step_of(lambda: ours.add(total, rows), gradient, leaves),
        "torch": step_of(lambda: total + F.dropout(rows, 0.2), gradient, leaves),
    }


def bag(num_items: int, *, prepared: bool) -> dict[str, Step]:
    """Texts of different lengths."""
    weights = torch.rand(NUM_TERMS) + 0.5
    weights[0] = 0
    ours = EmbeddingBag(weights, DIM, column="text", generator=None)
    nums = torch.randint(1, NUM_TERMS, (num_items, TERMS))
    nums[torch.arange(TERMS) >= torch.randint(1, TERMS + 1, (num_items, 1))] = 0
    gradient, table = torch.randn(num_items, DIM), ours.table.weight
    rows = ours.prepare(nums)
    term_weights = F.normalize(weights[nums], dim=1)

    def own() -> Tensor:
        if not prepared:
            return F.embedding_bag(
                nums, table, mode="sum", per_sample_weights=F.normalize(weights[nums], dim=1)
            )
        return F.embedding_bag(nums, table, mode="sum", per_sample_weights=term_weights)

    return {
        "ours": step_of(lambda: ours(rows if prepared else nums), gradient, [table]),
        "torch": step_of(own, gradient, [table]),
    }


def smoothing() -> dict[str, Step]:
    """One layer of smoothing, of both tables."""
    num_users, num_items, edges = GRAPH
    rng = np.random.default_rng(0)
    part: Any = SimpleNamespace(
        user_num=rng.integers(0, num_users, edges).astype(np.int32),
        item_num=(rng.zipf(1.3, edges) % num_items).astype(np.int32),
        users=SimpleNamespace(end_warm=num_users),
        items=SimpleNamespace(end_warm=num_items),
    )
    graph = InteractionGraph(part, torch.device("cpu"))
    pairs = np.unique(part.user_num.astype(np.int64) * num_items + part.item_num)
    by_user = torch.from_numpy(np.stack((pairs // num_items, pairs % num_items)))
    by_item = by_user[:, torch.argsort(by_user[1], stable=True)]
    user_scale, item_scale = (
        torch.bincount(side, minlength=number).clamp(min=1).rsqrt()[:, None]
        for side, number in zip(by_user, (num_users, num_items), strict=True)
    )
    users, items = leaf(num_users, DIM), leaf(num_items, DIM)

    def own() -> Tensor:
        to_users = sums_of(by_user[0], by_user[1], item_scale * items, num_users)
        to_items = sums_of(by_item[1], by_item[0], user_scale * users, num_items)
        return torch.cat([users + user_scale * to_users, items + item_scale * to_items]) / 2

    gradient = torch.randn(num_users + num_items, DIM)
    return {
        "ours": step_of(lambda: torch.cat(graph.smooth(users, items, 1)), gradient, [users, items]),
        "torch": step_of(own, gradient, [users, items]),
    }


def sums_of(rows: Tensor, others: Tensor, vectors: Tensor, number: int) -> Tensor:
    """For each of `number` rows, in their order in the edges, the sum of the other side's."""
    offsets = torch.searchsorted(rows.contiguous(), torch.arange(number + 1))
    return F.embedding_bag(others, vectors, offsets, mode="sum", include_last_offset=True)


CASES: dict[str, Callable[[], dict[str, Step]]] = {
    "attention": attention,
    "dropout": dropout,
    "dropout_add": dropout_add,
    "embedding_bag": lambda: bag(ITEMS, prepared=True),
    "embedding_bag_new": lambda: bag(BATCH_ITEMS, prepared=False),
    "smoothing": smoothing,
}


def best_milliseconds(steps: dict[str, Step], repeats: int) -> dict[str, float]:
    """The best time of each, taken in turns so that all meet the same machine."""
    found = dict.fromkeys(steps, float("inf"))
    for repeat in range(repeats + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repeat >= 2:
                found[name] = min(found[name], 1000 * (time.perf_counter() - start))
    return found


def main() -> None:
    """Measure, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--repeats", type=int, default=40, help="repeats of each (default 40)")
    options = made.parse_args()
    torch.set_num_threads(THREADS)
    figures: dict[str, Any] = {}
    for name, make in CASES.items():
        best = best_milliseconds(make(), options.repeats)
        own = min(value for other, value in best.items() if other != "ours")
        figures[name] = {
            **{f"{side}_ms": round(value, 3) for side, value in best.items()},
            "torch_over_ours": round(own / best["ours"], 2),
        }
    emit(
        {
            "protocol": f"the best of {options.repeats} repeats in turns, forward and backward, "
            "fp32",
            "threads": torch.get_num_threads(),
            "kernels": figures,
        },
        "kernels",
        save=options.save,
    )


if __name__ == "__main__":
    main()
