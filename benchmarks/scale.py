"""How the cost of training grows with rows and items, phase by phase; twenty minutes.

Synthetic interactions of several sizes are written as Parquet files, and each size is read, split,
numbered, and trained for a bounded number of steps as `twotower train` does with a config that
names the file only; an epoch is projected from the steps. `--large` adds 100 million rows.

Users have 20 rows on average, unevenly; items follow Zipf's law with exponent 1. Three sizes have
the same 50,000 items and grow in rows: `exponents` are the slopes of the logarithm of the seconds
in that of the rows. Two grow in items too; `pairs_share` is their pairs/s relative to those at
gowalla's size. Seconds are CPU seconds of one thread, memory is the largest resident set of the
phase. Each size runs in a process of its own.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import psutil
import torch

from benchmarks.common import emit, parser
from twotower.config import parse_config
from twotower.data.columns import ITEM_ID, USER_ID
from twotower.data.dataset.dataset import Dataset, read_parts
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.training.monitor import Monitor
from twotower.workflow.evaluate import evaluate
from twotower.workflow.training.fit_retriever import fit_retriever
from twotower.workflow.training.validation import (
    VALIDATION_USERS,
    sample_users,
    with_exact_search,
)

ROWS_PER_FILE = 5_000_000
WARM_STEPS = 3
"""Steps that are not counted: in the first, memory is allocated."""
STEPS, SHARE, STEP_SECONDS = 12, 16, 300.0
"""Steps that are counted: so many, and a sixteenth of an epoch, in which ids are smoothed once; at
most those of so many seconds."""


class Size(NamedTuple):
    """One size of data."""

    rows: int
    users: int
    items: int


SIZES = {
    "gowalla": Size(810_128, 29_858, 40_981),
    "1m": Size(1_000_000, 50_000, 50_000),
    "10m": Size(10_000_000, 500_000, 50_000),
    "100m": Size(100_000_000, 5_000_000, 50_000),
    "10m-200k": Size(10_000_000, 500_000, 200_000),
    "20m-1m": Size(20_000_000, 1_000_000, 1_000_000),
}
LARGE = {"100m"}
GROWING = ("1m", "10m", "100m")
"""Of the same items."""


def write_rows(size: Size, folder: Path) -> None:
    """The interactions of a size, as files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, size.rows, ROWS_PER_FILE)):
        drawn = np.random.default_rng(number).random((2, min(ROWS_PER_FILE, size.rows - start)))
        users = np.floor(size.users * drawn[0] ** 2)
        items = np.floor((size.items + 1.0) ** drawn[1]) - 1
        frame = pl.DataFrame({USER_ID: users, ITEM_ID: items}).cast(pl.Int64)
        frame.write_parquet(folder / f"part-{number:03}.parquet")


# --- one size ---------------------------------------------------------------------------------


@dataclass
class Phases:
    """CPU seconds and peak memory of each phase."""

    seconds: dict[str, float] = field(default_factory=dict)
    memory_gb: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what is done inside."""
        gc.collect()
        forget_peak()
        start = time.process_time()
        yield
        self.seconds[name] = round(time.process_time() - start, 3)
        self.memory_gb[name] = round(peak_gb(), 2)


def forget_peak() -> None:
    """Let the largest resident set of this process count from now on, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_gb() -> float:
    """The largest resident set since then, in GB (1e9 bytes)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e9
    return float(psutil.Process().memory_info().rss) / 1e9


class StepTimer(Monitor):
    """Times steps, and ends training as Ctrl-C does once there are enough."""

    def __init__(self) -> None:
        self.steps = 0
        self.seconds: list[float] = []
        self.targets: list[int] = []
        self.last = self.first = time.process_time()

    def start(self, *, epochs: int, steps: int, patience: int | None = None) -> None:
        """See `Monitor`."""
        self.steps = steps
        self.last = self.first = time.process_time()

    def step(self, epoch: int, step: int, loss: float, targets: int) -> None:
        """See `Monitor`.

        Raises:
            KeyboardInterrupt: there are enough steps.
        """
        now = time.process_time()
        self.seconds.append(now - self.last)
        self.targets.append(targets)
        self.last = now
        wanted = WARM_STEPS + max(STEPS, -(-self.steps // SHARE))
        enough = len(self.seconds) >= wanted or now - self.first > STEP_SECONDS
        if enough and len(self.seconds) > WARM_STEPS:
            raise KeyboardInterrupt

    def figures(self) -> dict[str, float]:
        """Of a step and of an epoch: the mean, as a step of many may cost what the others save."""
        seconds = statistics.mean(self.seconds[WARM_STEPS:])
        targets = statistics.mean(self.targets[WARM_STEPS:])
        return {
            "steps_timed": len(self.seconds) - WARM_STEPS,
            "steps_per_epoch": self.steps,
            "pairs_per_step": round(targets),
            "step_seconds": round(seconds, 4),
            "epoch_seconds": round(seconds * self.steps, 1),
            "pairs_per_second": round(targets / seconds),
        }


def measured(name: str, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """All phases of one size."""
    torch.set_num_threads(1)
    size = SIZES[name]
    if not folder.exists():
        write_rows(size, folder)
    document: dict[str, Any] = {
        "data": {"interactions": str(folder), "split": {"method": "random", "test_fraction": 0.01}}
    }
    for override in overrides:
        path, _, value = override.partition("=")
        section, _, key = path.partition(".")
        document.setdefault(section, {})[key] = json.loads(value)
    config = parse_config(document)
    phases = Phases()
    with phases.phase("read_and_split"):
        tables, parts = read_parts(config)
    with phases.phase("number"):
        dataset = Dataset.from_parts(config, tables, parts)
    del tables, parts
    timer = StepTimer()
    with phases.phase("train"):
        model = TwoTower(config.retriever, dataset.schema, seed=0)
        served, _ = fit_retriever(
            model, dataset.train, dataset.validation, config=config, monitor=timer
        )
    with phases.phase("validate"):
        exact = with_exact_search(config)
        recommender = Recommender.build(served, dataset.train, exact)
        part = sample_users(dataset.validation, VALIDATION_USERS, 0)
        evaluate(recommender, part, k=config.evaluation.k)
    return {
        **size._asdict(),
        "seconds": phases.seconds,
        "memory_gb": phases.memory_gb,
        **timer.figures(),
    }


# --- all sizes --------------------------------------------------------------------------------


def in_a_process(name: str, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """`measured` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.scale", "--one", name, "--data", str(folder)]
    command += [part for override in overrides for part in ("--set", override)]
    one = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    done = subprocess.run(
        command, env={**os.environ, **one}, stdout=subprocess.PIPE, check=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def exponent(found: dict[str, dict[str, Any]], seconds: dict[str, float]) -> float | None:
    """The slope of log(seconds) in log(rows) over the sizes of the same items."""
    names = [name for name in GROWING if name in found]
    if len(names) < 2:
        return None
    rows = np.log([found[name]["rows"] for name in names])
    return round(float(np.polyfit(rows, np.log([seconds[name] for name in names]), 1)[0]), 3)


def summary(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Exponents, and pairs/s relative to those at gowalla's size."""
    phases = ("read_and_split", "number")
    by_phase = {
        phase: {name: one["seconds"][phase] for name, one in found.items()} for phase in phases
    }
    by_phase["epoch"] = {name: one["epoch_seconds"] for name, one in found.items()}
    by_phase["all"] = {name: sum(seconds[name] for seconds in by_phase.values()) for name in found}
    shares = {}
    if "gowalla" in found:
        usual = found["gowalla"]["pairs_per_second"]
        shares = {name: round(one["pairs_per_second"] / usual, 3) for name, one in found.items()}
    return {
        "exponents": {phase: exponent(found, seconds) for phase, seconds in by_phase.items()},
        "pairs_share": shares,
    }


def main() -> None:
    """Measure the sizes, print one JSON object."""
    made = parser(__doc__)
    made.add_argument("--sizes", nargs="*", choices=SIZES, metavar="SIZE", default=[])
    made.add_argument("--large", action="store_true", help="100 million rows, too")
    made.add_argument("--data", type=Path, help="keep the files here, and use them again")
    made.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=JSON")
    made.add_argument("--one", choices=SIZES, help="this size, in this process")
    options = made.parse_args()
    if options.one:
        print(json.dumps(measured(options.one, options.data, options.set)))
        return
    names = options.sizes or [name for name in SIZES if options.large or name not in LARGE]
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            folder = (options.data or Path(temporary)) / name
            found[name] = in_a_process(name, folder, options.set)
            print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    emit(
        {
            "protocol": "steps of the real training, CPU seconds of one thread, a process a size",
            "overrides": options.set,
            "sizes": found,
            **summary(found),
        },
        "scale",
        save=options.save,
    )


if __name__ == "__main__":
    main()
