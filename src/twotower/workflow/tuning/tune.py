"""`twotower tune`: a search for better config values within a budget, on validation data only."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl
from rich.console import Console

from twotower._version import __version__
from twotower.atomic import disk_error, write_text
from twotower.config import Config, load_config
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.fingerprint import digest
from twotower.errors import ConfigError, DataError, TrainingError, explain
from twotower.html import tag
from twotower.workflow.cluster.connection import check_address
from twotower.workflow.training.train import describe
from twotower.workflow.tuning.best_config import check_replaceable, text_of, write_best
from twotower.workflow.tuning.choice import Choice
from twotower.workflow.tuning.cluster_trials import ClusterTrials, cluster_trials
from twotower.workflow.tuning.processes import CONFIG, VALUES, Processes
from twotower.workflow.tuning.report import comments_of, frame_of, progress_line, tuning_document
from twotower.workflow.tuning.search import Budget, Search, read_trials, search
from twotower.workflow.tuning.settings import Settings
from twotower.workflow.tuning.space import SearchedKey, declared_places, search_space
from twotower.workflow.tuning.study import Trial, importances
from twotower.workflow.tuning.trial import TrialRunner, finished_curves, read_without_test

DEFAULT_TRIALS: Final = 30
DIGITS: Final = 3
"""Significant digits of the numbers that are tried: more would make no difference."""
TRIALS: Final = "trials.jsonl"
FINGERPRINT: Final = "fingerprint.txt"
REPORT: Final = "tune.json"


@dataclass(frozen=True)
class Tuning:
    """The result of a search.

    Attributes:
        document: the complete result, as printed by `--json`.
        frame: one row per trial, with the values that it tried.
        out: the config file with the values found.
        folder: contains `tune.json` and the trials.
    """

    document: dict[str, Any]
    frame: pl.DataFrame
    out: Path
    folder: Path

    @property
    def verdict(self) -> str:
        """Whether there is something better than the config as it is, and by how much."""
        return str(self.document["verdict"])

    @property
    def changed(self) -> dict[str, Any]:
        """Config key -> value found, of the keys that are to change."""
        return {key: change["to"] for key, change in self.document["changed"].items()}

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C stopped it."""
        return bool(self.document["interrupted"])

    def __repr__(self) -> str:
        return (
            f"Tuning({len(self.frame)} trials, {self.document['metric']} "
            f"{self.document['own']:.4f} -> {self.document['best']:.4f}, out={str(self.out)!r})"
        )

    def _repr_html_(self) -> str:
        return tag("p", self.verdict) + str(self.frame._repr_html_())


@dataclass(frozen=True)
class TunedConfig:
    """The config to tune.

    Attributes:
        config: with the overrides.
        text: of its file.
        base: folder that relative paths in the text refer to.
        overrides: `section.key=value`.
        file: the config file, if there is one.
    """

    config: Config
    text: str
    base: Path
    overrides: tuple[str, ...] = ()
    file: Path | None = None

    @staticmethod
    def of(config: Config | str | Path, overrides: Sequence[str]) -> TunedConfig:
        """From a config or its file.

        Raises:
            ConfigError: the file is not right.
        """
        if isinstance(config, Config):
            return TunedConfig(config, text_of(config), Path.cwd())
        path = Path(config)
        loaded = load_config(path, overrides)
        text = path.read_text(encoding="utf-8")
        return TunedConfig(loaded, text, path.resolve().parent, tuple(overrides), path)


def tune(
    config: Config | str | Path,
    out: str | Path,
    *,
    trials: int | None = None,
    minutes: float | None = None,
    jobs: int = 1,
    resume: bool = False,
    overrides: Sequence[str] = (),
    console: Console | None = None,
    ray: str | None = None,
) -> Tuning:
    """Search for better config values within a budget, and write the config with the best ones.

    The first trial is the config as it is. Values that are not better than it beyond noise are not
    recommended: the file then says so and keeps the config's own. Only validation data decide; the
    rows of the test part are not used. Ctrl-C writes the best so far; `resume` continues.

    >>> tuning = tt.tune("twotower.toml", "best.toml", trials=2, overrides=["training.epochs=1"])
    >>> tuning.frame.columns[:4]
    ['number', 'ndcg@10', 'epochs', 'seconds']
    >>> tt.load_config("best.toml").training.epochs
    1

    Args:
        config: a config or its file; `[tune]` changes what is searched.
        out: the config file to write; `OUT.run/` next to it receives the trials and the report.
        trials: number of trials, the first one included. Default: 30, or no limit with `minutes`.
        minutes: minutes of training; a trial that has started is completed. Default: no limit.
        jobs: trials at the same time, each in a process of its own with a share of the threads.
        resume: continue the search that `OUT.run/` holds.
        overrides: `section.key=value`, for a config file.
        console: for progress messages.
        ray: the address of a Ray cluster, whose processes run the trials: `auto`, `HOST:PORT`,
            `ray://HOST:PORT`, or `local` for a new one on this machine.

    Raises:
        ClusterError: the cluster cannot be reached, or its processes cannot do the work.
        ConfigError: the config, the budget or `out` is not right.
        DataError: the data are not right, or there is no validation part.
        TrainingError: training fails with the config as it is.
    """
    source, out = TunedConfig.of(config, overrides), Path(out)
    config, console = source.config, console or Console(quiet=True)
    budget = budget_of(config, trials, minutes, jobs)
    check_out(out, source.file)
    if ray is not None:
        check_address(ray)  # before tables are read, which may take minutes
    dataset, space = plan(config)
    run = out.with_name(out.name + ".run")
    begin_run(run, out, dataset, resume=resume)
    describe(dataset, console)
    console.print(f"Budget: {describe_budget(budget, jobs)}", highlight=False)
    found, interrupted = run_search(dataset, space, budget, run, jobs, console, ray)
    metric = f"ndcg@{config.evaluation.k}"
    places = {key: searched.place for key, searched in space.items()}
    document = tuning_document(
        found,
        Choice.of(found, run / VALUES),
        space,
        importances(places, found.trials),
        metric=metric,
        budget=budget,
        jobs=jobs,
        interrupted=interrupted,
    )
    tuning = Tuning(document, frame_of(document), out, run)
    write_best(
        out,
        source.text,
        config,
        tuning.changed,
        base=source.base,
        overrides=source.overrides,
        comments=comments_of(document, __version__),
    )
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1)
    write_text(run / REPORT, text + "\n")
    return tuning


def plan(config: Config) -> tuple[Dataset, dict[str, SearchedKey]]:
    """The dataset without its test part, and what is searched.

    Raises:
        ConfigError: `[tune.space]` is not right.
        DataError: the data are not right, or there is no validation part.
    """
    declared_places(config)  # before tables are read, which may take minutes
    dataset = read_without_test(config)
    if not len(dataset.validation):
        raise DataError(
            explain(
                "a search needs a validation part, but there is none",
                fix="set [data.split] validation_fraction above 0",
            )
        )
    return dataset, search_space(dataset)


# --- the budget, the output and the run folder ------------------------------------------------


def budget_of(config: Config, trials: int | None, minutes: float | None, jobs: int) -> Budget:
    """The budget, `DEFAULT_TRIALS` if none is given.

    Raises:
        ConfigError: a number is not positive, or not finite.
    """
    for name, number in (("trials", trials), ("minutes", minutes), ("jobs", jobs)):
        if number is not None and not 0 < number < math.inf:
            raise ConfigError(explain(f"{name} must be a number above 0", value=number))
    if trials is None and minutes is None:
        trials = DEFAULT_TRIALS
    seconds = None if minutes is None else 60 * minutes
    return Budget(trials, seconds, config.tune.seed, digits=DIGITS)


def describe_budget(budget: Budget, jobs: int) -> str:
    """The budget in words."""
    parts = []
    if budget.trials is not None:
        parts.append(f"{budget.trials} trials")
    if budget.seconds is not None:
        parts.append(f"{budget.seconds / 60:g} minutes of training")
    at_once = "one trial at a time" if jobs == 1 else f"{jobs} trials at a time"
    return (
        f"{' or '.join(parts)}, whichever ends first, {at_once}"
        if len(parts) > 1
        else (f"{parts[0]}, {at_once}")
    )


def check_out(out: Path, source: Path | None) -> None:
    """Refuse an output file that cannot be written, or that is the config itself.

    Raises:
        ConfigError: it is.
    """
    if source is not None and out.resolve() == source.resolve():
        raise ConfigError(
            explain(
                "is the config that is tuned, which is not replaced",
                file=out,
                fix="choose another name with --out",
            )
        )
    check_replaceable(out)


def begin_run(run: Path, out: Path, dataset: Dataset, *, resume: bool) -> None:
    """Create the folder of a search, or check that it holds this search.

    Raises:
        ConfigError: it holds something else or an unfinished search, or cannot be written.
    """
    expected = fingerprint(dataset)
    try:
        if run.exists() and not resume:
            check_disposable(run)
            shutil.rmtree(run)
        run.mkdir(parents=True, exist_ok=True)
        kept = run / FINGERPRINT
        if kept.exists() and kept.read_text(encoding="utf-8").strip() != expected:
            raise ConfigError(
                explain(
                    "holds a search with different data, config or version",
                    file=run,
                    fix="resume with what it was started with, or leave out --resume and choose "
                    "another --out",
                )
            )
        # First, as the folder is known by it when the next file cannot be written.
        write_text(kept, expected + "\n")
        write_text(run / CONFIG, dataset.config.model_dump_json())
    except OSError as error:
        if disk_error(error) is not None:
            raise
        raise ConfigError(
            explain(f"cannot be written: {error.strerror}", file=out, fix="choose another --out")
        ) from error


def check_disposable(run: Path) -> None:
    """Refuse to replace a folder that is not that of a finished search.

    Raises:
        ConfigError: it is not.
    """
    is_empty = all(entry.name.startswith(".") for entry in run.iterdir())
    if not is_empty and not (run / FINGERPRINT).exists():
        raise ConfigError(
            explain(
                "is not the folder of a search, so it is not replaced",
                file=run,
                fix="choose another --out, or remove it",
            )
        )
    trials, report = read_trials(run / TRIALS), run / REPORT
    is_finished = report.exists() and not json.loads(report.read_text("utf-8"))["interrupted"]
    if trials and not is_finished:
        raise ConfigError(
            explain(
                f"holds {len(trials)} trials of a search that was interrupted",
                file=run,
                fix="continue it with --resume, choose another --out, or remove this folder",
            )
        )


def fingerprint(dataset: Dataset) -> str:
    """Hash of everything that a search depends on."""
    config = dataset.config.model_dump_json(exclude={"compare"})
    return digest(f"{__version__} {config}", dataset.train, dataset.validation)


# --- the search -------------------------------------------------------------------------------


def run_search(
    dataset: Dataset,
    space: Mapping[str, SearchedKey],
    budget: Budget,
    run: Path,
    jobs: int,
    console: Console,
    ray: str | None = None,
) -> tuple[Search, bool]:
    """Search until the budget is used up or Ctrl-C is pressed; returns whether it was.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed before the first trial was finished.
        TrainingError: the config as it is fails.
    """
    log, metric = run / TRIALS, f"ndcg@{dataset.config.evaluation.k}"
    done = read_trials(log)
    if done:
        console.print(f"Resuming after {len(done)} trials.", highlight=False)

    def report(trial: Trial) -> None:
        done.append(trial)
        line = progress_line(trial, done, budget.trials, metric)
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    places = {key: searched.place for key, searched in space.items()}
    own = {key: searched.own for key, searched in space.items()}
    try:
        if jobs == 1 and ray is None:
            runner = TrialRunner(dataset, run / VALUES, console)

            def run_here(number: int, settings: Settings, trials: Sequence[Trial]) -> Trial:
                return succeeded(runner.run(number, settings, finished_curves(trials)))

            return search(places, own, run_here, budget, log, report=report), False
        with trial_processes(dataset, run, jobs, ray) as processes:

            def run_there(number: int, settings: Settings, trials: Sequence[Trial]) -> Trial:
                return succeeded(processes.run(number, settings, trials))

            return search(
                places,
                own,
                run_there,
                budget,
                log,
                jobs=jobs,
                executor=processes.pool,
                report=report,
            ), False
    except KeyboardInterrupt:
        finished = read_trials(log)
        if not any(trial.number == 0 for trial in finished):
            raise
        return Search.of(finished), True


def trial_processes(
    dataset: Dataset, run: Path, jobs: int, ray: str | None
) -> AbstractContextManager[Processes | ClusterTrials]:
    """What runs some trials at the same time: on this machine, or on a cluster."""
    if ray is None:
        return Processes(run, jobs)
    return cluster_trials(ray, dataset, run / VALUES, jobs)


def succeeded(trial: Trial) -> Trial:
    """The trial; the first one, of the config as it is, must have succeeded.

    Raises:
        TrainingError: it failed.
    """
    if trial.number == 0 and trial.value is None:
        raise TrainingError(f"training with the config as it is failed: {trial.failure}")
    return trial
