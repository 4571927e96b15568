"""Hyperparameter search within a budget, on validation data only.

Each finished trial is one line of a file. A resumed search reads them back and, with one job,
continues with the same draws: a draw depends on the seed, the trial number and the trials before
it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twotower.atomic import write_text
from twotower.errors import TrainingError, TwoTowerError
from twotower.workflow.tuning.settings import Settings, Space
from twotower.workflow.tuning.study import STARTUP_TRIALS, Trial, sample

Run = Callable[[int, Settings, Sequence[Trial]], Trial]
"""Runs a trial: its number, its settings and the trials finished before it."""


@dataclass(frozen=True)
class Budget:
    """When a search ends, and how it draws.

    Attributes:
        trials: number of trials; None for no limit.
        seconds: of training, divided by the number of jobs; None for no limit. A trial that has
            started is completed.
        seed: of the draws.
        random: draw without learning from earlier trials.
        digits: significant digits of the numbers that are drawn; None for all.
    """

    trials: int | None
    seconds: float | None
    seed: int
    random: bool = False
    digits: int | None = None

    @property
    def startup(self) -> int:
        """Trials drawn at random before the search learns."""
        return STARTUP_TRIALS if self.trials is None else max(2, self.trials // 3)


@dataclass(frozen=True)
class Search:
    """The result of a search.

    Attributes:
        best: the trial with the highest value; the first one of a tie.
        trials: all trials.
    """

    best: Trial
    trials: tuple[Trial, ...]

    @staticmethod
    def of(trials: Iterable[Trial]) -> Search:
        """The result of these trials.

        Raises:
            TrainingError: none succeeded.
        """
        ordered = sorted(trials, key=lambda trial: trial.number)
        values = [-np.inf if trial.value is None else trial.value for trial in ordered]
        best = ordered[int(np.argmax(values))]
        if best.value is None:
            number, reason = len(ordered), ordered[0].failure
            raise TrainingError(f"none of {number} trials succeeded; the first failed: {reason}")
        return Search(best, tuple(ordered))

    @property
    def seconds(self) -> float:
        """Total duration of all trials."""
        return sum(trial.seconds for trial in self.trials)


class Started(NamedTuple):
    """A trial in progress, and when it started."""

    number: int
    settings: Settings
    at: float


class Inline(Executor):
    """Runs each call at once, in the caller's thread: Ctrl-C reaches it there."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor`."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def search(
    space: Space,
    defaults: Settings,
    run: Run,
    budget: Budget,
    log: Path,
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    report: Callable[[Trial], None] = lambda trial: None,
) -> Search:
    """Try the defaults, then sampled hyperparameters, until the budget is used up.

    A model without hyperparameters gets one trial. A failed trial is recorded with its reason; it
    is an error only if all trials fail, and the next search then starts over.

    Args:
        space: search space.
        defaults: hyperparameters of the first trial.
        run: trains with the given hyperparameters and measures ndcg@k on validation.
        budget: when it ends, and how it draws.
        log: file with one line of JSON per trial; its trials are not repeated, unless all failed.
        jobs: trials in progress at the same time.
        executor: runs them. Default: one after the other, in this thread.
        report: called with each new trial.

    Raises:
        TrainingError: no trial succeeded.
    """
    trials = read_trials(log)
    if all(trial.value is None for trial in trials):
        trials = []
    limit = budget.trials if space else 1
    executor = executor or Inline()
    running: dict[Future[Trial], Started] = {}

    def has_budget() -> bool:
        if limit is not None and len(trials) + len(running) >= limit:
            return False
        now = time.perf_counter()
        spent = [t.seconds for t in trials] + [now - started.at for started in running.values()]
        return not spent or budget.seconds is None or sum(spent) / jobs < budget.seconds

    while True:
        while len(running) < jobs and has_budget():
            number = next_number(trials, running.values())
            settings = defaults
            if number:
                settings = sample(
                    space,
                    trials,
                    number=number,
                    seed=budget.seed,
                    startup=budget.startup,
                    random=budget.random,
                    digits=budget.digits,
                    running=[started.settings for started in running.values()],
                )
            started = Started(number, settings, time.perf_counter())
            running[executor.submit(run, number, settings, tuple(trials))] = started
        if not running:
            return Search.of(trials)
        # With a timeout, as a wait without one does not notice Ctrl-C on all systems.
        for future in wait(running, timeout=1, return_when=FIRST_COMPLETED).done:
            del running[future]
            trials.append(future.result())
            write_trials(log, trials)
            report(trials[-1])


def next_number(trials: Sequence[Trial], running: Iterable[Started]) -> int:
    """The first number that no trial has: those of trials that were interrupted come again."""
    taken = {trial.number for trial in trials} | {started.number for started in running}
    return next(number for number in count() if number not in taken)


def attempt(number: int, settings: Settings, measure: Callable[[Settings], float]) -> Trial:
    """Run one trial; any error but Ctrl-C is recorded as its failure."""
    start = time.perf_counter()
    value: float | None = None
    failure = None
    try:
        value = measure(settings)
        if not np.isfinite(value):
            value, failure = None, f"the validation metric is {value}"
    except Exception as error:
        failure = reason_of(error)
    return Trial(number, dict(settings), value, time.perf_counter() - start, failure)


def reason_of(error: Exception) -> str:
    """Why a trial failed."""
    if isinstance(error, TwoTowerError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def read_trials(log: Path) -> list[Trial]:
    """Read the trials of a file, if it exists; an incomplete last line is ignored."""
    trials: list[Trial] = []
    if not log.exists():
        return trials
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            trials.append(trial_of(json.loads(line)))
        except json.JSONDecodeError:
            break
    return trials


def trial_of(document: dict[str, Any]) -> Trial:
    """A trial from JSON, where the steps of a curve are texts."""
    curve = document.get("curve")
    steps = None if curve is None else {int(step): metric for step, metric in curve.items()}
    return Trial(**{**document, "curve": steps})


def write_trials(log: Path, trials: Sequence[Trial]) -> None:
    """Write all trials to a file, atomically."""
    lines = [json.dumps(asdict(trial)) + "\n" for trial in trials]
    write_text(log, "".join(lines))
