"""Run one model of a comparison: hyperparameter search, training, answers on the test part.

Its folder receives `trials.jsonl`, then `answers.parquet`, and finally `result.json`; or
`failure.json`. So an interrupted comparison can continue, and a crash does not affect the other
models. `main` is the entry point of a model's own process.
"""

from __future__ import annotations

import ctypes
import gc
import json
import resource
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
import psutil
from numpy.typing import NDArray
from rich.console import Console

from twotower.atomic import disk_error, replace_file, write_text
from twotower.config import parse_config
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import Ranked
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.entities import EntityTable, Features
from twotower.errors import TwoTowerError
from twotower.training.interrupt import INTERRUPTED
from twotower.training.monitor import open_console
from twotower.workflow.comparison.contenders import Contender, TrainedModel, TrialCache, contenders
from twotower.workflow.evaluate import Ranker, among, answer_part, ask, evaluate, rows_of
from twotower.workflow.training.train import known_events
from twotower.workflow.training.validation import VALIDATION_USERS, sample_users
from twotower.workflow.tuning.search import Budget, Search, attempt, search
from twotower.workflow.tuning.settings import Settings
from twotower.workflow.tuning.study import Trial
from twotower.workflow.tuning.trial import stage_monitor

CONFIG = "config.json"
KEPT = ".data"
"""What is kept of a log that is larger than memory, for the processes of all models."""
RESULT = "result.json"
ANSWERS = "answers.parquet"
TRIALS = "trials.jsonl"
FAILURE = "failure.json"
TRACEBACK = "traceback.txt"

MEGABYTE = 1e6


def run_contender(contender: Contender, dataset: Dataset, folder: Path, console: Console) -> None:
    """Tune, train and evaluate one model; an error is recorded as its failure, but for one of the
    disk, which other models would meet, too.

    Args:
        contender: the model.
        dataset: the data of the comparison.
        folder: the model's folder; created if missing.
        console: for progress messages.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; the finished trials are kept.
        OSError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (FAILURE, TRACEBACK):
        (folder / name).unlink(missing_ok=True)
    try:
        search_and_measure(contender, dataset, folder, console)
    except TwoTowerError as error:
        record_failure(folder, str(error))
    except Exception as error:
        if disk_error(error) is not None:
            raise
        write_text(folder / TRACEBACK, traceback.format_exc())
        record_failure(folder, f"{type(error).__name__}: {error}")


def record_failure(folder: Path, reason: str) -> None:
    """Write the reason of a failure to the model's folder."""
    write_text(folder / FAILURE, json.dumps({"reason": reason}))


def search_and_measure(
    contender: Contender, dataset: Dataset, folder: Path, console: Console
) -> None:
    """As `run_contender`, but errors are raised."""
    view = contender.view(dataset)
    found = find_settings(contender, view, folder, console)
    meter = Meter.start()
    learned = contender.train(
        view, found.best.settings, stage_monitor(console, contender.title), {}
    )
    cost = meter.stop()
    ranker = learned.ranker(known_events(view))
    write_answers(folder / ANSWERS, ranker, view, dataset)
    result = {
        "name": contender.name,
        "settings": found.best.settings,
        "validation": found.best.value,
        "trials": [asdict(trial) for trial in found.trials],
        "tuning_seconds": found.seconds,
        "train_seconds": cost.seconds,
        "memory_mb": cost.memory_mb,
        "peak_memory_mb": cost.peak_memory_mb,
        "parameters": learned.parameters,
        "milliseconds": time_queries(ranker, view),
        "curve": list(learned.curve),
        "stages": None if learned.stages is None else learned.stages(ranker, view),
    }
    write_text(folder / RESULT, json.dumps(result))
    console.print(
        f"{contender.title}: trained in {cost.seconds:,.1f} s with the best hyperparameters",
        highlight=False,
    )


def find_settings(contender: Contender, view: Dataset, folder: Path, console: Console) -> Search:
    """Search hyperparameters on the validation part."""
    config = view.config
    budget, k = config.compare, config.evaluation.k
    validation = sample_users(view.validation, VALIDATION_USERS, config.training.seed)
    histories = view.train.histories()

    cache: TrialCache = {}

    def measure(settings: Settings) -> float:
        learned: TrainedModel = contender.train(
            view, settings, stage_monitor(console, contender.title), cache
        )
        found = evaluate(
            learned.ranker(histories), validation, k=k, mask_seen=config.evaluation.mask_seen
        )
        return found.metrics[f"ndcg@{k}"]

    def report(trial: Trial) -> None:
        number = budget.trials if contender.space else 1
        outcome = (
            f"failed: {trial.failure}"
            if trial.value is None
            else f"validation ndcg@{k} {trial.value:.4f}"
        )
        console.print(
            f"{contender.title}: trial {trial.number + 1} of at most {number}: {outcome}, "
            f"{trial.seconds:,.1f} s",
            highlight=False,
            markup=False,
        )

    return search(
        contender.space,
        contender.defaults,
        lambda number, settings, _: attempt(number, settings, measure),
        Budget(budget.trials, budget.seconds, budget.seed, random=budget.search == "random"),
        folder / TRIALS,
        report=report,
    )


# --- training cost ----------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingCost:
    """Time and memory of a training.

    Attributes:
        seconds: wall-clock time.
        memory_mb: peak of resident memory minus resident memory before, in 1e6 bytes.
        peak_memory_mb: peak of resident memory, including libraries and data, in 1e6 bytes.
    """

    seconds: float
    memory_mb: float
    peak_memory_mb: float


@dataclass(frozen=True)
class Meter:
    """Measures time and memory from `start` to `stop`."""

    started: float
    resident_mb: float

    @staticmethod
    def start() -> Meter:
        """Release memory left over from earlier work and start measuring."""
        release_memory()
        reset_peak()
        return Meter(time.perf_counter(), psutil.Process().memory_info().rss / MEGABYTE)

    def stop(self) -> TrainingCost:
        """Time and memory since `start`."""
        seconds, peak = time.perf_counter() - self.started, peak_memory_mb()
        return TrainingCost(seconds, max(peak - self.resident_mb, 0.0), peak)


def release_memory() -> None:
    """Return freed memory to the system if the allocator supports it; otherwise it would be reused
    by the next training and hide its memory use."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def reset_peak() -> None:
    """Reset the peak of resident memory to its current value, where the system supports it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_memory_mb() -> float:
    """Peak of this process's resident memory, in 1e6 bytes. Not `ru_maxrss` where possible, which
    includes the peak of the parent process."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / MEGABYTE
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / MEGABYTE if sys.platform == "darwin" else largest * 1024 / MEGABYTE


def time_queries(ranker: Ranker, view: Dataset) -> dict[str, float]:
    """Latency of requests for one user at a time: median and 95th percentile in milliseconds."""
    config = view.config
    users, rows = np.unique(view.test.user_num, return_index=True)
    places = range(min(config.compare.timed_queries, len(users)))
    milliseconds = []
    for place in (0, *places):
        context = rows_of(view.test, rows[[place]])
        start = time.perf_counter()
        ask(
            ranker,
            users[[place]].astype(np.int64),
            config.evaluation.k,
            context,
            config.evaluation.mask_seen,
            None,
        )
        milliseconds.append(1000 * (time.perf_counter() - start))
    del milliseconds[0]  # the warm-up request
    return {
        "p50": float(np.quantile(milliseconds, 0.5)),
        "p95": float(np.quantile(milliseconds, 0.95)),
    }


# --- answers on the test part -----------------------------------------------------------------


def write_answers(path: Path, ranker: Ranker, view: Dataset, dataset: Dataset) -> None:
    """Store the recommendations for the test part, numbered as in the comparison's dataset."""
    settings = view.config.evaluation
    part, allowed = among(settings.candidates, view.test, ranker.item_counts > 0)
    user_num, answer = answer_part(ranker, part, settings.k, settings.mask_seen, allowed)
    places = translate(view.items, dataset.items)
    frame = pl.DataFrame(
        {
            "user_num": translate(view.users, dataset.users)[user_num],
            "item_nums": np.where(answer.item_nums >= 0, places[answer.item_nums], -1),
            "scores": answer.scores,
            "path": answer.path,
        }
    )
    with replace_file(path) as aside:
        frame.write_parquet(aside)


def translate(numbered: EntityTable, wanted: EntityTable) -> NDArray[np.int64]:
    """(R,) the num in another table for each num of one table; -1 for ids that it lacks."""
    return wanted.nums(numbered.ids)


class StoredAnswers:
    """A `Ranker` that returns the recommendations stored in a file."""

    def __init__(self, path: Path, dataset: Dataset, seen: Ragged) -> None:
        self.users, self.items = dataset.users, dataset.items
        self.item_counts = dataset.train.item_counts()
        self.seen = seen
        frame = pl.read_parquet(path).sort("user_num")
        self.user_num = frame["user_num"].to_numpy()
        self.answers = Ranked(
            frame["item_nums"].to_numpy(),
            frame["scores"].to_numpy(),
            frame["path"].to_numpy(),
        )

    def top_k(
        self,
        user_num: NDArray[np.integer],
        k: int,
        *,
        context: Features | None = None,
        mask_seen: bool = True,
        excluded: Ragged | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Ranked:
        """The first k stored items for each of Q users. The other arguments are ignored: they were
        applied when the answers were stored."""
        del context, mask_seen, excluded, allowed
        rows = np.searchsorted(self.user_num, user_num)
        answers = self.answers
        return Ranked(answers.item_nums[rows, :k], answers.scores[rows, :k], answers.path[rows])


def main(root: str, name: str) -> int:
    """Run one model of the comparison in a folder; returns the exit code of the process: for a disk
    that is full, the number of the system's error."""
    folder = Path(root)
    config = parse_config(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    try:
        dataset = Dataset.read(config, work=folder / KEPT)
        run_contender(contenders(config)[name], dataset, folder / name, open_console(stderr=True))
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        problem = disk_error(error)
        if problem is None or problem.errno is None:
            raise
        return problem.errno
    return 0
