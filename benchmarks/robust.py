"""What a newcomer gets by default against simple baselines, in many cells of data; half an hour.

A cell is a data set, or a subsample of one, with a split: `benchmarks/robust_cells.py` lists them.
In each there are two contenders: `files`, a config that only names the files, and `init`, the
config that `twotower init` writes for them. Both run as `twotower train`; the bundle is loaded and
measured. Popularity, recent popularity (where there are times), item-kNN, EASE (up to 8,000
items), and iALS have the defaults of `twotower compare` and learn from the same rows, with the
validation rows too if the contender refits. Seen items are masked, k = 20, all items are ranked.

Seeds are those of the models, not of the data. A cell's test is paired over users, of the means of
their ndcg@20 over seeds. A contender is `behind` if it is significantly (p < .05) below any
baseline, `ahead` if it is significantly above the best one, otherwise `level`. Seconds are CPU
seconds of one thread: of a contender everything that `twotower train` does after reading the files,
of a baseline its fit, with its validations, and its test.

Each model's figures are kept in a folder (`--out`) and used again while code, rows and settings are
the same. `--large` runs the full sets, too, hours of work. `--development` leaves the test rows
out, and a second split of the other rows stands in for them; choices of defaults are made on that.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks.common import emit, parser
from benchmarks.robust_cells import CELLS
from benchmarks.robust_models import (
    BASELINE_NAMES,
    CONTENDERS,
    METRICS,
    K,
    Work,
    config_of,
    measured,
    write_files,
)
from benchmarks.robust_report import counts, rendered, summary
from twotower.atomic import write_text
from twotower.data.dataset.dataset import Dataset

SEEDED = (*CONTENDERS, "ials")
"""Measured once a seed; the others do not depend on it."""
MAX_EASE_ITEMS = 8_000
ROOT = Path(__file__).resolve().parents[1]
WIDTH = 190
"""Of the table where the output is not a terminal."""


def run_cell(name: str, options: Namespace, folder: Path, console: Console) -> dict[str, Any]:
    """All models of a cell, each once a seed; what is kept of the same is used again."""
    cell = CELLS[name]
    files = write_files(cell, folder / name, development=options.development)
    dataset = Dataset.read(config_of("files", files, (), 0))
    found: dict[str, list[dict[str, Any]]] = {}
    for model in (*options.contenders, *models_for(dataset)):
        refit = any(run["refit"] for runs in found.values() for run in runs if "refit" in run)
        for seed in range(options.seeds if model in SEEDED else 1):
            work = Work(name, files, model, seed, tuple(options.set), refit)
            run = kept_or_measured(work, options, console)
            found.setdefault(model, []).append(run)
    return {"about": cell.about, **sizes(dataset), **summary(found, options.contenders)}


def models_for(dataset: Dataset) -> list[str]:
    """The baselines that fit a cell."""
    left_out = set()
    if dataset.train.timestamp is None:
        left_out.add("recent_popularity")
    if dataset.items.num_warm > MAX_EASE_ITEMS:
        left_out.add("ease")
    return [name for name in BASELINE_NAMES if name not in left_out]


def kept_or_measured(work: Work, options: Namespace, console: Console) -> dict[str, Any]:
    """The figures of a model, from the file of an earlier run or measured now."""
    kind = "development" if options.development else "test"
    settings = hashlib.sha256(json.dumps(work.overrides).encode()).hexdigest()[:8]
    ours = f"-{settings}" if work.model in CONTENDERS and work.overrides else ""
    file = options.out / kind / work.cell / f"{work.model}-{work.seed}{ours}.json"
    if file.exists() and not options.again:
        kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if kept.pop("fingerprint") == work.fingerprint:
            return kept
    run = measured(work)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps({"fingerprint": work.fingerprint, **run}))
    metric = f"ndcg@{K} {run['metrics'][METRICS[0]]:.4f}"
    console.print(
        f"{work.cell}: {work.model}, seed {work.seed}: {metric}, {run['seconds']:.1f} s",
        highlight=False,
    )
    return run


def sizes(dataset: Dataset) -> dict[str, Any]:
    """How large a cell is."""
    return {
        "users": dataset.users.num_warm,
        "items": dataset.items.num_warm,
        "rows": sum(len(part) for part in dataset.split()),
        "test_users": len(np.unique(dataset.test.user_num)),
        "split": dataset.parts.method,
    }


def chosen_cells(options: Namespace) -> Iterator[str]:
    """The named cells, or all that are not large."""
    for name, cell in CELLS.items():
        if name in options.cells or (not options.cells and (options.large or not cell.large)):
            yield name


def main() -> None:
    """Measure the cells, print a table and one JSON object."""
    made = parser(__doc__)
    made.add_argument("--cells", nargs="*", default=[], choices=CELLS, metavar="CELL")
    made.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    made.add_argument("--seeds", type=int, default=1, help="seeds of the models (default 1)")
    made.add_argument("--large", action="store_true", help="the full data sets, too")
    made.add_argument("--development", action="store_true", help="leave the test rows alone")
    made.add_argument("--again", action="store_true", help="measure anew what is kept")
    made.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    made.add_argument("--out", type=Path, default=ROOT / "runs" / "robust", help="kept figures")
    options = made.parse_args()
    if options.save and (options.development or options.set):
        made.error("only figures of the defaults on test rows are kept: --save stands alone")
    torch.set_num_threads(1)
    console = Console(stderr=True)
    names = list(chosen_cells(options))
    cells: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for place, name in enumerate(names):
            console.print(f"cell {place + 1} of {len(names)}: {name}", highlight=False)
            cells[name] = run_cell(name, options, Path(folder), console)
    wide = console if console.is_terminal else Console(stderr=True, width=WIDTH)
    wide.print(rendered(cells, options.contenders))
    emit(
        {
            "protocol": "full_catalog, seen items masked, test part of each cell's split; paired "
            f"tests over users of ndcg@{K}, means over seeds; CPU seconds of one thread",
            "development": options.development,
            "overrides": options.set,
            "seeds": options.seeds,
            "verdicts": counts(cells, options.contenders),
            "cells": cells,
        },
        "robust",
        save=options.save,
    )


if __name__ == "__main__":
    main()
