"""A log larger than memory: read, split, numbered and trained on for some steps, with the time and
the peak memory of each phase. 100 million rows take about 10 minutes and 15 GB of disk.

The log is `benchmarks.large_log`'s: 20 rows a user and 100 an item. A child process reads it as
`twotower train` does, once from its files and once more from what the first run kept, and trains
towers of ids with sampled negatives and row-wise Adagrad. `rss_gb` is the most that was resident:
`anonymous_gb` of it are the process's own, the rest are pages of mapped files, which the system
takes back when it needs them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.common import emit, parser
from benchmarks.large_log import write_log
from twotower.config import parse_config
from twotower.config.loading import apply_override
from twotower.data.dataset.dataset import Dataset, read_parts, workspace_of
from twotower.models.retriever.objective import RetrievalObjective
from twotower.models.retriever.two_tower import TwoTower
from twotower.training.engine import Engine
from twotower.training.interrupt import Interrupt
from twotower.training.monitor import Monitor
from twotower.training.trainer import _Run
from twotower.workflow.training.fit_retriever import Batching, make_batches
from twotower.workflow.training.validation import fingerprint

GIGABYTE: Final = 10**9
BETWEEN_LOOKS: Final = 0.02
"""Seconds."""


class Phases:
    """Seconds, processor seconds and peak memory of phases."""

    def __init__(self) -> None:
        self.figures: dict[str, dict[str, float]] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Measure a phase."""
        peak = {"rss": 0, "anonymous": 0}
        done = threading.Event()

        def look() -> None:
            process = psutil.Process()
            while not done.is_set():
                now = process.memory_info()
                peak["rss"] = max(peak["rss"], now.rss)
                peak["anonymous"] = max(peak["anonymous"], now.rss - now.shared)
                done.wait(BETWEEN_LOOKS)

        watcher = threading.Thread(target=look, daemon=True)
        start, used = time.perf_counter(), time.process_time()
        watcher.start()
        try:
            yield
        finally:
            self.figures[name] = {
                "seconds": round(time.perf_counter() - start, 1),
                "cpu_seconds": round(time.process_time() - used, 1),
            }
            done.set()
            watcher.join()
            self.figures[name] |= {
                "rss_gb": round(peak["rss"] / GIGABYTE, 2),
                "anonymous_gb": round(peak["anonymous"] / GIGABYTE, 2),
            }
            print(name, self.figures[name], file=sys.stderr, flush=True)


def measure(folder: Path, work: Path, overrides: list[str], steps: int) -> dict[str, Any]:
    """In the child: the phases."""
    document: dict[str, Any] = {"data": {"interactions": str(folder)}}
    for override in overrides:
        apply_override(document, override)
    config = parse_config(document)
    phases = Phases()
    with phases.of("read_and_split"):
        workspace = workspace_of(config, work)
        tables, parts = read_parts(config, workspace)
    del tables, parts
    with phases.of("read_again"):
        tables, parts = read_parts(config, workspace)
    with phases.of("number"):
        dataset = Dataset.from_parts(config, tables, parts, work=workspace)
    with phases.of("model"):
        model = TwoTower(config.retriever, dataset.schema, seed=0)
        model.settle(Batching.of(dataset.train, config).epoch_size(dataset.train))
    with phases.of("batches"):
        batches = make_batches(dataset.train, config)
    with phases.of("digest"):
        fingerprint(config, dataset.train)
    engine = Engine.from_config(config.training)
    with phases.of("objective"):
        objective = RetrievalObjective(
            model, dataset.train, batch_size=batches.batch_size, device=engine.device
        )
    run = _Run(objective, batches, config.training, engine, None, "", Monitor())
    run.adjustment = objective.smoothing
    targets, losses = 0, []
    with phases.of("first_steps"):
        epoch = batches.epoch(0)
        for _ in range(3):
            loss, number = run.step(next(epoch), Interrupt())
    with phases.of("steps"):
        for _, batch in zip(range(steps), epoch, strict=False):
            loss, number = run.step(batch, Interrupt())
            targets += number
            losses.append(loss)
    used = phases.figures["steps"]
    return {
        "rows": {
            name: len(part)
            for name, part in zip(("training", "validation", "test"), dataset.split(), strict=True)
        },
        "users": dataset.users.num_warm,
        "items": dataset.items.num_warm,
        "phases": phases.figures,
        "peak_rss_gb": max(phase["rss_gb"] for phase in phases.figures.values()),
        "peak_anonymous_gb": max(phase["anonymous_gb"] for phase in phases.figures.values()),
        "pairs_per_cpu_second": round(targets / max(used["cpu_seconds"], 0.1)),
        "steps_an_epoch": len(batches),
        "first_loss": round(losses[0], 4),
        "last_loss": round(losses[-1], 4),
        "kept_gb": round(
            sum(file.stat().st_size for file in work.rglob("*") if file.is_file()) / GIGABYTE, 2
        ),
    }


def main() -> None:
    """Write the log, measure in a child, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--rows", type=int, default=100_000_000)
    made.add_argument("--users", type=int, help="default: a twentieth of the rows")
    made.add_argument("--items", type=int, help="default: a hundredth of the rows")
    made.add_argument("--steps", type=int, default=300)
    made.add_argument("--folder", type=Path, help="for log and work; default: a temporary one")
    made.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    made.add_argument("--child", nargs=2, type=Path, help="LOG and WORK: used by itself")
    options = made.parse_args()
    if options.child:
        log, work = options.child
        print(json.dumps(measure(log, work, options.set, options.steps)))
        return
    folder = options.folder or Path(tempfile.mkdtemp())
    users, items = options.users or options.rows // 20, options.items or options.rows // 100
    log = folder / f"log-{options.rows}"
    try:
        if not log.exists():
            write_log(log, options.rows, users, items)
        overrides = [word for pair in options.set for word in ("--set", pair)]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.out_of_core", "--steps", str(options.steps),
             *overrides, "--child", str(log), str(folder / "work")],
            check=True, stdout=subprocess.PIPE, text=True, env=os.environ,
        )  # fmt: skip
        size = sum(file.stat().st_size for file in log.iterdir())
    finally:
        if options.folder is None:
            shutil.rmtree(folder)
    emit(
        {
            "protocol": "a Parquet folder to mapped tables, parts, numbers and training steps",
            "log": {"rows": options.rows, "users": users, "items": items, "gb": size / GIGABYTE},
            "overrides": options.set,
            **json.loads(done.stdout),
        },
        "out_of_core",
        save=options.save,
    )


if __name__ == "__main__":
    main()
