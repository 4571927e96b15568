"""One trial of `tune`: train the stages with some settings, measure them on the validation part."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console

from twotower.atomic import disk_error, replace_file
from twotower.config import Config
from twotower.data.dataset.dataset import Dataset, read_parts
from twotower.data.dataset.pinned_sources import with_versions
from twotower.models.ranker.ncf import NeuralCF
from twotower.models.retriever.two_tower import TwoTower
from twotower.serving.answer.recommender import Recommender
from twotower.training.callbacks import NOT_METRICS
from twotower.training.monitor import ConsoleMonitor, Monitor
from twotower.training.trainer import TrainResult, patience
from twotower.workflow.evaluate import Evaluation, evaluate
from twotower.workflow.training.fit_blend import choose_blend
from twotower.workflow.training.fit_ranker import fit_ranker
from twotower.workflow.training.fit_retriever import fit_retriever
from twotower.workflow.training.reference_models import References
from twotower.workflow.training.train import references_of
from twotower.workflow.training.validation import (
    VALIDATION_USERS,
    sample_users,
    with_exact_search,
)
from twotower.workflow.tuning.search import reason_of
from twotower.workflow.tuning.settings import Settings, with_config, with_settings
from twotower.workflow.tuning.study import RANKER_STEPS, Curve, Pruner, Trial


def read_without_test(config: Config) -> Dataset:
    """The dataset of a config, without the rows of the test part."""
    config = with_versions(config)
    tables, parts = read_parts(config)
    parts = replace(parts, test=parts.test.clear())
    learned = [part for part in (parts.train, parts.validation) if len(part)]
    rows = pl.concat(learned, how="diagonal")
    tables = replace(tables, interactions=rows, test=None, validation=None)
    return Dataset.from_parts(config, tables, parts)


class PrunedError(Exception):
    """The trial is given up because of its validation curve."""


class PruningMonitor(Monitor):
    """Keeps the validation curve of a stage, and gives the trial up where it is hopeless."""

    def __init__(self, shown: Monitor, curve: dict[int, float], pruner: Pruner, *, after: int):
        """Follow a stage.

        Args:
            shown: the progress display.
            curve: of the trial; the stage's epochs are added to it.
            pruner: decides.
            after: added to the stage's epochs.
        """
        self.shown, self.curve, self.pruner, self.after = shown, curve, pruner, after

    def start(self, *, epochs: int, steps: int, patience: int | None = None) -> None:
        """See `Monitor`."""
        self.shown.start(epochs=epochs, steps=steps, patience=patience)

    def step(self, epoch: int, step: int, loss: float, targets: int) -> None:
        """See `Monitor`."""
        self.shown.step(epoch, step, loss, targets)

    def validating(self) -> None:
        """See `Monitor`."""
        self.shown.validating()

    def epoch(self, record: dict[str, Any], *, is_best: bool) -> None:
        """See `Monitor`.

        Raises:
            PrunedError: the trial is given up.
        """
        self.shown.epoch(record, is_best=is_best)
        metric = next((record[name] for name in record if name not in NOT_METRICS), None)
        if metric is not None:
            step = self.after + record["epoch"]
            self.curve[step] = metric
            if self.pruner.is_hopeless(step, metric):
                raise PrunedError

    def stop(self) -> None:
        """See `Monitor`."""
        self.shown.stop()


@dataclass(frozen=True)
class TrialRunner:
    """Runs trials on a dataset.

    Attributes:
        dataset: without its test part.
        folder: receives the metric of each validation user, a file per trial.
        console: shows the progress, where it is a terminal.
    """

    dataset: Dataset
    folder: Path
    console: Console

    @cached_property
    def references(self) -> References:
        """The baselines that the towers are blended with: no setting changes them."""
        return references_of(self.dataset, None)

    def run(self, number: int, settings: Settings, curves: Sequence[Curve]) -> Trial:
        """Run a trial; an error is recorded as its failure, but for one of the disk, which other
        trials would meet, too.

        Args:
            number: of the trial.
            settings: of the trial.
            curves: of finished trials, by which it may be given up.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
            OSError: the disk is full.
        """
        start = time.perf_counter()
        curve: dict[int, float] = {}
        value: float | None = None
        failure, pruned = None, False
        try:
            evaluation = self.measure(number, settings, curve, curves)
            value = evaluation.metrics[f"ndcg@{evaluation.k}"]
            if not np.isfinite(value):
                value, failure = None, f"the validation metric is {value}"
            else:
                self.keep(number, evaluation)
        except PrunedError:
            pruned = True
        except Exception as error:
            if disk_error(error) is not None:
                raise
            failure = reason_of(error)
        seconds = time.perf_counter() - start
        return Trial(number, dict(settings), value, seconds, failure, pruned, curve)

    def measure(
        self, number: int, settings: Settings, curve: dict[int, float], curves: Sequence[Curve]
    ) -> Evaluation:
        """Train with some settings, and evaluate on the validation part.

        Raises:
            PrunedError: the trial is given up.
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        config = with_settings(self.dataset.config, settings)
        view = with_config(self.dataset, config)
        training = self.dataset.config.training
        pruner = Pruner(curves, warmup=patience(training) * training.validate_every)

        def follow(title: str, after: int) -> Monitor:
            shown = stage_monitor(self.console, f"trial {number + 1}{title}")
            return PruningMonitor(shown, curve, pruner, after=after)

        retriever, result = fit_retriever(
            TwoTower(config.retriever, view.schema, seed=config.training.seed),
            view.train,
            view.validation,
            config=config,
            monitor=follow("", 0),
        )
        uninterrupted(result)
        blend = None
        if config.retriever.blend:
            same = view.train is self.dataset.train
            references = self.references if same else references_of(view, None)
            blend, _ = choose_blend(
                retriever, view.train, view.validation, references, config=config
            )
        ranker = None
        if config.ranker is not None:
            ranker, result = fit_ranker(
                NeuralCF(config.ranker, view.schema, seed=config.training.seed),
                view.train,
                view.validation,
                config=config,
                retriever=retriever,
                blend=blend,
                dislikes=view.dislikes,
                monitor=follow(", ranker", RANKER_STEPS),
            )
            uninterrupted(result)
        exact = with_exact_search(config)
        recommender = Recommender.build(retriever, view.train, exact, blend=blend, ranker=ranker)
        return evaluate(
            recommender,
            sample_users(view.validation, VALIDATION_USERS, training.seed),
            k=config.evaluation.k,
            mask_seen=config.evaluation.mask_seen,
        )

    def keep(self, number: int, evaluation: Evaluation) -> None:
        """Write the metric of each validation user."""
        self.folder.mkdir(parents=True, exist_ok=True)
        values = evaluation.per_query[f"ndcg@{evaluation.k}"]
        with replace_file(self.folder / f"{number}.parquet") as aside:
            pl.DataFrame({"user_num": evaluation.user_num, "metric": values}).write_parquet(aside)


def user_values(folder: Path, number: int) -> NDArray[np.float64]:
    """(Q,) the metric of each validation user in a trial, users ascending."""
    values = pl.read_parquet(folder / f"{number}.parquet")["metric"]
    return values.cast(pl.Float64).to_numpy()


def stage_monitor(console: Console, title: str) -> Monitor:
    """A progress bar on a terminal; elsewhere one line per trial is enough."""
    return ConsoleMonitor(console, title=title) if console.is_terminal else Monitor()


def uninterrupted(result: TrainResult) -> TrainResult:
    """The result of a complete training.

    Raises:
        KeyboardInterrupt: Ctrl-C stopped the training; an incomplete training is not a trial.
    """
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    return result


def finished_curves(trials: Sequence[Trial]) -> list[Curve]:
    """The curves of the trials that have a value."""
    return [trial.curve for trial in trials if trial.value is not None and trial.curve]


def curves_of_json(documents: Sequence[Mapping[str, float]]) -> list[Curve]:
    """Curves from JSON, where their steps are texts."""
    return [{int(step): metric for step, metric in curve.items()} for curve in documents]
