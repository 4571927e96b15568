"""What Optuna decides: which settings to try next, which trial to give up, which keys mattered.

A study is made anew from the finished trials for each decision, so that the file of trials is all
that a search has to keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from twotower.config.baselines import SearchChoice, SearchRange
from twotower.workflow.tuning.settings import Settings, Space, Value

if TYPE_CHECKING:
    import optuna

Curve = Mapping[int, float]
"""Step -> validation metric."""

RANKER_STEPS: Final = 1_000_000
"""Added to a ranker's epochs in the curve of a trial."""
STARTUP_TRIALS: Final = 10
"""Trials drawn at random first, where the number of trials is not limited."""
TRIALS_BEFORE_PRUNING: Final = 5
"""Finished trials that the median is taken of, at least."""
TRIALS_FOR_IMPORTANCES: Final = 15


@dataclass(frozen=True)
class Trial:
    """One trial of a search.

    Attributes:
        number: from 0; trial 0 uses the defaults.
        settings: hyperparameters.
        value: ndcg@k on validation; None if the trial failed or was pruned.
        seconds: duration of training and validation.
        failure: why it failed.
        pruned: whether it was given up because of its validation curve.
        curve: the validation metric at each validated epoch of the retriever, then of the ranker,
            whose epochs are counted from `RANKER_STEPS`; None where it was not followed.
    """

    number: int
    settings: dict[str, Value]
    value: float | None
    seconds: float
    failure: str | None = None
    pruned: bool = False
    curve: dict[int, float] | None = None

    @property
    def epochs(self) -> int:
        """Epochs trained, up to the last validation."""
        steps = list(self.curve or {0: 0.0})
        ranker = [step - RANKER_STEPS for step in steps if step > RANKER_STEPS]
        return max((step for step in steps if step < RANKER_STEPS), default=0) + max(
            ranker, default=0
        )


def sample(
    space: Space,
    trials: Sequence[Trial],
    *,
    number: int,
    seed: int,
    startup: int,
    random: bool = False,
    digits: int | None = None,
    running: Iterable[Settings] = (),
) -> dict[str, Value]:
    """The settings of the next trial.

    Args:
        space: search space.
        trials: finished ones; those whose settings lie outside the space are left out.
        number: of the next trial; the draw depends on it, the seed and the other trials.
        seed: of the search.
        startup: trials drawn at random before the search learns from earlier ones.
        random: never learn from earlier ones.
        digits: significant digits of numbers; None for all.
        running: the settings of trials in progress, which are not drawn again.
    """
    import optuna  # noqa: PLC0415, takes half a second to import and only a search needs it

    drawn = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    sampler: optuna.samplers.BaseSampler = (
        optuna.samplers.RandomSampler(seed=drawn)
        if random
        else optuna.samplers.TPESampler(seed=drawn, n_startup_trials=startup)
    )
    study = new_study(sampler=sampler)
    distributions = {name: distribution(place) for name, place in space.items()}
    for trial in trials:
        add(study, space, trial)
    for settings in running:
        if inside(space, settings):
            study.add_trial(
                optuna.trial.create_trial(
                    state=optuna.trial.TrialState.RUNNING,
                    params=dict(settings),
                    distributions=distributions,
                )
            )
    params = study.ask(distributions).params
    return {name: rounded(value, space[name], digits) for name, value in params.items()}


def rounded(value: Value, place: SearchRange | SearchChoice, digits: int | None) -> Value:
    """A drawn value with so many significant digits, within its range."""
    if digits is None or isinstance(place, SearchChoice) or not isinstance(value, float):
        return value
    return min(max(float(f"{value:.{digits}g}"), place.low), place.high)


def new_study(**options: Any) -> optuna.Study:
    """An empty study in memory that maximises and logs nothing."""
    import optuna  # noqa: PLC0415

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(direction="maximize", **options)


def add(study: optuna.Study, space: Space, trial: Trial) -> None:
    """Add a trial to a study, unless it failed or its settings lie outside the space."""
    import optuna  # noqa: PLC0415

    if not inside(space, trial.settings) or (trial.value is None and not trial.pruned):
        return
    state = optuna.trial.TrialState
    study.add_trial(
        optuna.trial.create_trial(
            state=state.PRUNED if trial.pruned else state.COMPLETE,
            params=dict(trial.settings),
            distributions={name: distribution(place) for name, place in space.items()},
            value=trial.value,
            intermediate_values=dict(trial.curve or {}),
        )
    )


class Pruner:
    """Gives a trial up if its best validation so far is below the median that the finished trials
    had at the same step."""

    def __init__(self, curves: Sequence[Curve], *, warmup: int) -> None:
        """Judge by the curves of finished trials.

        Args:
            curves: of finished trials; below `TRIALS_BEFORE_PRUNING` of them, none is given up.
            warmup: number of first epochs after which no trial is given up.
        """
        import optuna  # noqa: PLC0415

        pruner = optuna.pruners.MedianPruner(
            n_startup_trials=TRIALS_BEFORE_PRUNING, n_warmup_steps=warmup + 1
        )
        self.study = new_study(pruner=pruner)
        for curve in curves:
            self.study.add_trial(
                optuna.trial.create_trial(
                    value=max(curve.values(), default=0.0), intermediate_values=dict(curve)
                )
            )
        self.trial = self.study.ask()

    def is_hopeless(self, step: int, metric: float) -> bool:
        """Whether the trial is to be given up after a step."""
        self.trial.report(metric, step)
        return self.trial.should_prune()


def importances(space: Space, trials: Sequence[Trial]) -> dict[str, float]:
    """The share of each key in how much the metric varies over the better trials (PED-ANOVA,
    Watanabe et al. 2023), the largest first; empty with fewer than `TRIALS_FOR_IMPORTANCES`
    finished trials."""
    import optuna  # noqa: PLC0415

    study = new_study()
    for trial in trials:
        if not trial.pruned:
            add(study, space, trial)
    if len(study.trials) < TRIALS_FOR_IMPORTANCES:
        return {}
    shares = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
    )
    return dict(sorted(shares.items(), key=lambda entry: -entry[1]))


def inside(space: Space, settings: Settings) -> bool:
    """Whether the hyperparameters lie in the search space; defaults may lie outside."""
    return settings.keys() == space.keys() and all(
        settings[name] in place.values
        if isinstance(place, SearchChoice)
        else isinstance(value := settings[name], int | float) and place.low <= value <= place.high
        for name, place in space.items()
    )


def distribution(place: SearchRange | SearchChoice) -> optuna.distributions.BaseDistribution:
    """The Optuna distribution of a hyperparameter."""
    import optuna  # noqa: PLC0415

    if isinstance(place, SearchChoice):
        return optuna.distributions.CategoricalDistribution(place.values)
    if place.integer:
        return optuna.distributions.IntDistribution(int(place.low), int(place.high), log=place.log)
    return optuna.distributions.FloatDistribution(place.low, place.high, log=place.log)
