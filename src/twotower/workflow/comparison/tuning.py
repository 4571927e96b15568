"""The search for good settings: the same budget for every model, on validation data alone.

Each finished trial is a line of a file. A search that goes on reads them back, and draws what it
would have drawn: the draw of a trial depends on the seed, its number and the trials before it.
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
"""Name of a setting -> value; a setting that is not named keeps its default."""


Space = Mapping[str, SearchRange | SearchChoice]
"""Name of a setting -> where it is looked for."""


@dataclass(frozen=True)
class Trial:
    """Settings that were tried.

    Attributes:
        number: from 0; trial 0 has the defaults.
        settings: what was tried.
        value: ndcg@k on validation; None where it failed.
        seconds: training and validation.
        failure: why it failed.
    """

    number: int
    settings: dict[str, Value]
    value: float | None
    seconds: float
    failure: str | None = None


@dataclass(frozen=True)
class Search:
    """What a search did.

    Attributes:
        best: the trial with the highest value, of equal ones the first.
        trials: all of them.
        seconds: spent by all of them.
    """

    best: Trial
    trials: tuple[Trial, ...]

    @property
    def seconds(self) -> float:
        """What all trials took."""
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
    """Try the defaults, then drawn settings, until the budget is spent.

    A model without settings has one trial. A trial that fails is kept with its reason; only where
    all fail is that an error, and the next search begins anew.

    Args:
        space: where to look.
        defaults: of the names in the space; tried first.
        measure: trains with settings and gives ndcg@k on validation.
        budget: trials, seconds, search, seed.
        log: a line of JSON a trial; its trials are not tried again, unless all of them failed.
        report: told of each new trial.

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
        raise TrainingError(f"each of {number} trials failed, the first with: {reason}")
    return Search(best, tuple(trials))


def attempt(number: int, settings: Settings, measure: Callable[[Settings], float]) -> Trial:
    """One trial; whatever goes wrong in it is its failure, but for Ctrl-C."""
    start = time.perf_counter()
    value: float | None = None
    failure = None
    try:
        value = measure(settings)
        if not np.isfinite(value):
            value, failure = None, f"validation gave {value}"
    except TwoTowerError as error:
        failure = str(error)
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    return Trial(number, dict(settings), value, time.perf_counter() - start, failure)


def read_trials(log: Path) -> list[Trial]:
    """The trials of a file, none where there is none; a last line that was cut off is left out."""
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
    """Put all trials into a file; it is whole at any time."""
    lines = [json.dumps(asdict(trial)) + "\n" for trial in trials]
    write_text(log, "".join(lines))


def draw(space: Space, trials: list[Trial], budget: CompareConfig) -> dict[str, Value]:
    """The settings of the next trial."""
    import optuna  # noqa: PLC0415, half a second that only a search needs

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
    """Whether each of these settings could have been drawn: defaults may lie outside."""
    return settings.keys() == space.keys() and all(
        settings[name] in place.values
        if isinstance(place, SearchChoice)
        else isinstance(value := settings[name], int | float) and place.low <= value <= place.high
        for name, place in space.items()
    )


def distribution(place: SearchRange | SearchChoice) -> Any:
    """As Optuna says it."""
    import optuna  # noqa: PLC0415

    if isinstance(place, SearchChoice):
        return optuna.distributions.CategoricalDistribution(place.values)
    if place.integer:
        return optuna.distributions.IntDistribution(int(place.low), int(place.high), log=place.log)
    return optuna.distributions.FloatDistribution(place.low, place.high, log=place.log)
