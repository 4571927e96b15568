"""What the floor costs: answers with and without the blend, and its share of training; minutes.

A cell of `benchmarks/robust_cells.py` is trained by a config that names its files only, once as it
is and once with `retriever.blend = false`; CPU seconds of one thread. Answers are then made from
the bundle in blocks that alternate, with the blend and without it: of one user, and of 64 at once,
in milliseconds a call.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.common import emit, parser
from benchmarks.robust_cells import CELLS
from benchmarks.robust_models import Files, config_of, write_files
from twotower.serving.answer.recommender import Recommender
from twotower.workflow.training.train import train_bundle

K, BATCH, ROUNDS, CALLS = 10, 64, 15, 40


def trained(files: Files, overrides: tuple[str, ...], bundle: Path) -> float:
    """CPU seconds of a training as `twotower train` does it."""
    config = config_of("files", files, overrides, 0)
    start = time.process_time()
    train_bundle(config, bundle, console=Console(quiet=True))
    return time.process_time() - start


def answers(bundle: Path) -> dict[str, Any]:
    """Milliseconds a call, with the blend and without it."""
    served = Recommender.load(bundle).served
    both = {"with": Recommender(served), "without": Recommender(replace(served, blend=None))}
    users = np.arange(served.users.first_known, served.users.end_warm, dtype=np.int64)
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {
        "items": len(served.index.item_nums),
        "weights": {} if served.blend is None else dict(served.blend.usual.blend.weights),
    }
    for name, size in {"one": 1, "batch": BATCH}.items():
        asked = [rng.choice(users, size) for _ in range(CALLS)]
        times: dict[str, list[float]] = {kind: [] for kind in both}
        for _ in range(ROUNDS):
            for kind, recommender in both.items():
                times[kind].append(seconds_of(recommender.top_k, asked) / CALLS)
        medians = {kind: 1e3 * statistics.median(values) for kind, values in times.items()}
        found[name] = {
            **{f"{kind}_ms": round(value, 4) for kind, value in medians.items()},
            "ratio": round(medians["with"] / medians["without"], 3),
        }
    return found


def seconds_of(
    ask: Callable[[NDArray[np.int64], int], object], asked: list[NDArray[np.int64]]
) -> float:
    """What some calls take."""
    start = time.perf_counter()
    for users in asked:
        ask(users, K)
    return time.perf_counter() - start


def main() -> None:
    """Train and measure each cell, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--cells", nargs="+", default=["shop", "ml-100k-likes-last"], choices=CELLS)
    made.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    options = made.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {}
    for name in options.cells:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            files = write_files(CELLS[name], folder / "files", development=False)
            overrides = tuple(options.set)
            without = trained(files, (*overrides, "retriever.blend=false"), folder / "without")
            bundle = folder / "with"
            with_blend = trained(files, overrides, bundle)
            result[name] = {
                "training": {
                    "with_s": round(with_blend, 2),
                    "without_s": round(without, 2),
                    "ratio": round(with_blend / without, 3),
                },
                "answers": answers(bundle),
            }
    emit(result, "blend_speed", save=options.save)


if __name__ == "__main__":
    main()
