"""Hyperparameter search: the same budget for every model, on validation data only.

Each finished trial is one line of a file. A resumed search reads them back and continues with the
same draws: a draw depends on the seed, the trial number and the trials before it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twotower.atomic import write_text
from twotower.config import CompareConfig
from twotower.config.baselines import SearchChoice, SearchRange
from twotower.errors import TrainingError, TwoTowerError

Value = float | int | str | bool
Settings = Mapping[str, Value]
"""Hyperparameter -> value; those that are not named keep their defaults."""


Space = Mapping[str, SearchRange | SearchChoice]
"""Hyperparameter -> range or choices to search."""


@dataclass(frozen=True)
class Trial:
    """One trial of a search.

    Attributes:
        number: from 0; trial 0 uses the defaults.
        settings: hyperparameters.
        value: ndcg@k on validation; None if the trial failed.
        seconds: duration of training and validation.
        failure: why it failed.
    """

    number: int
    settings: dict[str, Value]
    value: float | None
    seconds: float
    failure: str | None = None


@dataclass(frozen=True)
class Search:
    """The result of a search.

    Attributes:
        best: the trial with the highest value; the first one of a tie.
        trials: all trials.
    """

    best: Trial
    trials: tuple[Trial, ...]

    @property
    def seconds(self) -> float:
        """Total duration of all trials."""
        return sum(trial.seconds for trial in self.trials)


def tune(
    space: Space,
    defaults: Settings,
    measure: Callable[[Settings], float],
    budget: CompareConfig,
    log: Path,
    *,
    report: Callable[[Trial], None] = lambda trial: None,
) -> Search:
    """Try the defaults, then sampled hyperparameters, until the budget is used up.

    A model without hyperparameters gets one trial. A failed trial is recorded with its reason; it
    is an error only if all trials fail, and the next search then starts over.

    Args:
        space: search space.
        defaults: hyperparameters of the first trial.
        measure: trains with the given hyperparameters and returns ndcg@k on validation.
        budget: trials, seconds, search, seed.
        log: file with one line of JSON per trial; its trials are not repeated, unless all failed.
        report: called with each new trial.

    Raises:
        TrainingError: no trial succeeded.
    """
    trials = read_trials(log)
    if all(trial.value is None for trial in trials):
        trials = []
    number = budget.trials if space else 1
    while len(trials) < number and (
        not trials or sum(trial.seconds for trial in trials) < budget.seconds
    ):
        settings = draw(space, trials, budget) if trials else defaults
        trial = attempt(len(trials), settings, measure)
        trials.append(trial)
        write_trials(log, trials)
        report(trial)
    values = [-np.inf if trial.value is None else trial.value for trial in trials]
    best = trials[int(np.argmax(values))]
    if best.value is None:
        number, reason = len(trials), trials[0].failure
        raise TrainingError(f"none of {number} trials succeeded; the first failed: {reason}")
    return Search(best, tuple(trials))


def attempt(number: int, settings: Settings, measure: Callable[[Settings], float]) -> Trial:
    """Run one trial; any error but Ctrl-C is recorded as its failure."""
    start = time.perf_counter()
    value: float | None = None
    failure = None
    try:
        value = measure(settings)
        if not np.isfinite(value):
            value, failure = None, f"the validation metric is {value}"
    except TwoTowerError as error:
        failure = str(error)
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    return Trial(number, dict(settings), value, time.perf_counter() - start, failure)


def read_trials(log: Path) -> list[Trial]:
    """Read the trials of a file, if it exists; an incomplete last line is ignored."""
    trials: list[Trial] = []
    if not log.exists():
        return trials
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            trials.append(Trial(**json.loads(line)))
        except json.JSONDecodeError:
            break
    return trials


def write_trials(log: Path, trials: Sequence[Trial]) -> None:
    """Write all trials to a file, atomically."""
    lines = [json.dumps(asdict(trial)) + "\n" for trial in trials]
    write_text(log, "".join(lines))


def draw(space: Space, trials: list[Trial], budget: CompareConfig) -> dict[str, Value]:
    """Sample the hyperparameters of the next trial."""
    import optuna  # noqa: PLC0415, takes half a second to import and only a search needs it

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = int(np.random.SeedSequence((budget.seed, len(trials))).generate_state(1)[0])
    sampler: optuna.samplers.BaseSampler = (
        optuna.samplers.RandomSampler(seed=seed)
        if budget.search == "random"
        else optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(2, budget.trials // 3))
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {name: distribution(place) for name, place in space.items()}
    for trial in trials:
        if trial.value is not None and inside(space, trial.settings):
            study.add_trial(
                optuna.trial.create_trial(
                    params=dict(trial.settings), distributions=distributions, value=trial.value
                )
            )
    return dict(study.ask(distributions).params)


def inside(space: Space, settings: Settings) -> bool:
    """Whether the hyperparameters lie in the search space; defaults may lie outside."""
    return settings.keys() == space.keys() and all(
        settings[name] in place.values
        if isinstance(place, SearchChoice)
        else isinstance(value := settings[name], int | float) and place.low <= value <= place.high
        for name, place in space.items()
    )


def distribution(place: SearchRange | SearchChoice) -> Any:
    """The Optuna distribution of a hyperparameter."""
    import optuna  # noqa: PLC0415

    if isinstance(place, SearchChoice):
        return optuna.distributions.CategoricalDistribution(place.values)
    if place.integer:
        return optuna.distributions.IntDistribution(int(place.low), int(place.high), log=place.log)
    return optuna.distributions.FloatDistribution(place.low, place.high, log=place.log)
