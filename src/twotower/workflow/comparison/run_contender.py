"""One contender of a comparison, from its search for settings to what it answers on the test part.

It leaves files in a folder of its own: `trials.jsonl`, then `answers.parquet`, and last
`result.json`; or `failure.json`. So a comparison that was interrupted goes on where it stopped, and
a model that crashes takes nothing with it. `main` is what a process of its own runs.
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

from twotower.atomic import write_text
from twotower.config import Config
from twotower.data.arrays.ragged import Ragged
from twotower.data.arrays.ranked import Ranked
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.entities import EntityTable, Features
from twotower.errors import TwoTowerError
from twotower.training.monitor import ConsoleMonitor, Monitor, open_console
from twotower.workflow.comparison.contenders import Contender, Learned, Shelf, contenders
from twotower.workflow.comparison.tuning import Search, Settings, Trial, tune
from twotower.workflow.evaluate import Ranker, among, answer_part, ask, evaluate, rows_of
from twotower.workflow.training.train import known_events
from twotower.workflow.training.validation import VALIDATION_USERS, sample_users

CONFIG = "config.json"
RESULT = "result.json"
ANSWERS = "answers.parquet"
TRIALS = "trials.jsonl"
FAILURE = "failure.json"
TRACEBACK = "traceback.txt"

INTERRUPTED = 130
"""Exit code of a process that Ctrl-C ended."""
MEGABYTE = 1e6


def enter(contender: Contender, dataset: Dataset, folder: Path, console: Console) -> None:
    """Search, train with the best settings, answer the test part; a failure is written down.

    Args:
        contender: the model.
        dataset: the data of the comparison.
        folder: of this contender; made where it is missing.
        console: gets progress.

    Raises:
        KeyboardInterrupt: Ctrl-C; the finished trials are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (FAILURE, TRACEBACK):
        (folder / name).unlink(missing_ok=True)
    try:
        search_and_measure(contender, dataset, folder, console)
    except TwoTowerError as error:
        fail(folder, str(error))
    except Exception as error:
        (folder / TRACEBACK).write_text(traceback.format_exc(), encoding="utf-8")
        fail(folder, f"{type(error).__name__}: {error}")


def fail(folder: Path, reason: str) -> None:
    """Write down why a contender failed."""
    (folder / FAILURE).write_text(json.dumps({"reason": reason}), encoding="utf-8")


def search_and_measure(
    contender: Contender, dataset: Dataset, folder: Path, console: Console
) -> None:
    """See `enter`; a failure is an exception here."""
    view = contender.view(dataset)
    search = find_settings(contender, view, folder, console)
    meter = Meter.start()
    learned = contender.train(view, search.best.settings, progress(console, contender.title), {})
    spent = meter.stop()
    ranker = learned.ranker(known_events(view))
    write_answers(folder / ANSWERS, ranker, view, dataset)
    result = {
        "name": contender.name,
        "settings": search.best.settings,
        "validation": search.best.value,
        "trials": [asdict(trial) for trial in search.trials],
        "tuning_seconds": search.seconds,
        "train_seconds": spent.seconds,
        "memory_mb": spent.memory_mb,
        "peak_memory_mb": spent.peak_memory_mb,
        "parameters": learned.parameters,
        "milliseconds": time_queries(ranker, view),
        "curve": list(learned.curve),
        "stages": None if learned.stages is None else learned.stages(ranker, view),
    }
    write_text(folder / RESULT, json.dumps(result))
    console.print(
        f"{contender.title}: trained in {spent.seconds:,.1f} s with the best settings",
        highlight=False,
    )


def find_settings(contender: Contender, view: Dataset, folder: Path, console: Console) -> Search:
    """The search on the validation part."""
    config = view.config
    budget, k = config.compare, config.evaluation.k
    validation = sample_users(view.validation, VALIDATION_USERS, config.training.seed)
    histories = view.train.histories()

    shelf: Shelf = {}

    def measure(settings: Settings) -> float:
        learned: Learned = contender.train(
            view, settings, progress(console, contender.title), shelf
        )
        found = evaluate(
            learned.ranker(histories), validation, k=k, mask_seen=config.evaluation.mask_seen
        )
        return found.metrics[f"ndcg@{k}"]

    def report(trial: Trial) -> None:
        number = budget.trials if contender.space else 1
        told = (
            f"failed: {trial.failure}"
            if trial.value is None
            else f"ndcg@{k} on validation {trial.value:.4f}"
        )
        console.print(
            f"{contender.title}: trial {trial.number + 1} of at most {number}, {told}, "
            f"{trial.seconds:,.1f} s",
            highlight=False,
            markup=False,
        )

    return tune(
        contender.space, contender.defaults, measure, budget, folder / TRIALS, report=report
    )


def progress(console: Console, title: str) -> Monitor:
    """A bar on a terminal; elsewhere a line a trial is enough."""
    return ConsoleMonitor(console, title=title) if console.is_terminal else Monitor()


# --- what it costs ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Spent:
    """What a training took.

    Attributes:
        seconds: of wall-clock time.
        memory_mb: the most that was resident meanwhile beyond what was before, in 1e6 bytes.
        peak_memory_mb: the most that was resident, libraries and data included.
    """

    seconds: float
    memory_mb: float
    peak_memory_mb: float


@dataclass(frozen=True)
class Meter:
    """Measures time and memory from `start` to `stop`."""

    began: float
    resident: float

    @staticmethod
    def start() -> Meter:
        """Give back what earlier work left behind, and begin."""
        release_memory()
        reset_peak()
        return Meter(time.perf_counter(), psutil.Process().memory_info().rss / MEGABYTE)

    def stop(self) -> Spent:
        """What was spent since."""
        seconds, peak = time.perf_counter() - self.began, peak_memory_mb()
        return Spent(seconds, max(peak - self.resident, 0.0), peak)


def release_memory() -> None:
    """Give freed memory back to the system, where the allocator can: kept, it would hide what the
    next training takes."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def reset_peak() -> None:
    """Let the peak start from what is resident now, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_memory_mb() -> float:
    """The largest resident set of this process, in 1e6 bytes. `ru_maxrss` would hold that of the
    process that started it, too."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / MEGABYTE
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / MEGABYTE if sys.platform == "darwin" else largest * 1024 / MEGABYTE


def time_queries(ranker: Ranker, view: Dataset) -> dict[str, float]:
    """Milliseconds of a single recommendation, one user at a time: median and 95th percentile."""
    config = view.config
    users, rows = np.unique(view.test.user_num, return_index=True)
    places = range(min(config.compare.timed_queries, len(users)))
    taken = []
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
        taken.append(1000 * (time.perf_counter() - start))
    del taken[0]  # it paid for what is set up once
    return {"p50": float(np.quantile(taken, 0.5)), "p95": float(np.quantile(taken, 0.95))}


# --- what it answered -------------------------------------------------------------------------


def write_answers(path: Path, ranker: Ranker, view: Dataset, dataset: Dataset) -> None:
    """Ask for the test part and keep the answers, numbered as the comparison's data are."""
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
    frame.write_parquet(path)


def translate(numbered: EntityTable, wanted: EntityTable) -> NDArray[np.int64]:
    """(R,) each num of one table as a num of another; -1 for what it lacks."""
    return wanted.nums(numbered.ids)


class KeptAnswers:
    """A `Ranker` that gives the answers of a file."""

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
        """The first k answers that were kept for each of Q users; the other arguments are those
        that they were given with."""
        del context, mask_seen, excluded, allowed
        rows = np.searchsorted(self.user_num, user_num)
        answers = self.answers
        return Ranked(answers.item_nums[rows, :k], answers.scores[rows, :k], answers.path[rows])


def main(root: str, name: str) -> int:
    """Enter one contender of a comparison's folder; the exit code of the process."""
    folder = Path(root)
    config = Config.model_validate_json((folder / CONFIG).read_text(encoding="utf-8"))
    try:
        dataset = Dataset.read(config)
        enter(contenders(config)[name], dataset, folder / name, open_console(stderr=True))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0
