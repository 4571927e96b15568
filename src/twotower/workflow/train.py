"""`twotower train`: read, fit, measure, refit, bundle."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from twotower.config import Config
from twotower.data.columns import USER_ID
from twotower.data.dataset import Dataset
from twotower.data.history import Histories
from twotower.models.two_tower import TwoTower
from twotower.serving.recommender import Recommender
from twotower.training.monitor import ConsoleMonitor
from twotower.training.trainer import TrainResult
from twotower.workflow.evaluate import Evaluation, evaluate
from twotower.workflow.fit import fit_retriever, make_batches

SMALL_BATCH_SHARE = 0.02
"""In-batch negatives that are fewer than this share of the catalogue are worth a word."""


@dataclass(frozen=True)
class Outcome:
    """What `train_bundle` did.

    Attributes:
        evaluation: of the bundled model on the test part; where rows of the test part were learned
            from (`refit = "all"`), of the model before the refit.
        result: how training went.
        example_user: a user id to try.
        notes: what a person should know.
    """

    evaluation: Evaluation | None
    result: TrainResult
    example_user: str
    notes: tuple[str, ...]


def train_bundle(config: Config, out: Path, *, resume: bool = False, console: Console) -> Outcome:
    """Train as a config says and write a bundle.

    While it runs, `OUT.run/` holds the checkpoint and `training.jsonl`; the log stays.

    Raises:
        TwoTowerError: config, data or training went wrong; nothing is half-written.
    """
    dataset = Dataset.read(config)
    run = out.with_name(out.name + ".run")
    if run.exists() and not resume:
        shutil.rmtree(run)
    run.mkdir(parents=True, exist_ok=True)
    log = run / "training.jsonl"
    describe(dataset, console)
    recommender, result = fit_part(dataset, run / "fit", resume=resume, log=log, console=console)
    evaluation = measure(recommender, dataset)
    held_out = dataset.parts.test
    refit = config.training.refit
    interrupted = result.stopped == "interrupted"
    if refit != "none" and not interrupted:
        epochs = config.training.model_copy(update={"epochs": result.best_epoch})
        offset = config.retriever.model_copy(
            update={"cold_offset": float(recommender.model.cold_offset)}
        )
        config = config.model_copy(update={"training": epochs, "retriever": offset})
        dataset = replace(dataset, config=config).refit(refit)
        recommender, _ = fit_part(
            dataset, run / "refit", resume=resume, log=log, console=console, title="refit"
        )
        if refit == "train":
            evaluation = measure(recommender, dataset)
        else:
            held_out = held_out.clear()
    recommender.save(out, metrics=evaluation.to_json() if evaluation else {}, heldout=held_out)
    if not interrupted:
        for stage in ("fit", "refit"):
            shutil.rmtree(run / stage, ignore_errors=True)
    (run / "result.json").write_text(
        json.dumps(
            {
                "best_epoch": result.best_epoch,
                "best_metric": result.best_metric,
                "stopped": result.stopped,
                "seconds": result.seconds,
            }
        ),
        encoding="utf-8",
    )
    return Outcome(
        evaluation,
        result,
        str(dataset.parts.train[USER_ID][0]),
        (
            *dataset.tables.notes,
            dataset.parts.leak,
            *batch_words(config, dataset),
            *result.warnings,
        ),
    )


def fit_part(
    dataset: Dataset,
    checkpoint: Path | None,
    *,
    resume: bool = False,
    log: Path | None = None,
    console: Console,
    title: str = "training",
) -> tuple[Recommender, TrainResult]:
    """Train on a dataset's training part and build its recommender."""
    config = dataset.config
    model = TwoTower(config.retriever, dataset.schema, seed=config.training.seed)
    served, result = fit_retriever(
        model,
        dataset.train,
        dataset.validation,
        config=config,
        checkpoint=checkpoint,
        resume=resume,
        monitor=ConsoleMonitor(console, log=log, title=title),
    )
    return Recommender.build(served, dataset.train, config, histories=known_events(dataset)), result


def known_events(dataset: Dataset) -> Histories:
    """Each user's events of training and validation: what a test query's history holds."""
    if not len(dataset.validation):
        return dataset.train.histories()
    validation = dataset.validation
    in_catalogue = validation.take(np.flatnonzero(validation.item_num >= 0))
    return dataset.train.append(in_catalogue).histories()


def measure(recommender: Recommender, dataset: Dataset) -> Evaluation | None:
    """The evaluation on the dataset's test part, None where it is empty."""
    settings = dataset.config.evaluation
    if not len(dataset.test):
        return None
    return evaluate(
        recommender,
        dataset.test,
        k=settings.k,
        mask_seen=settings.mask_seen,
        candidates=settings.candidates,
    )


def describe(dataset: Dataset, console: Console) -> None:
    """One line on what was read."""
    rows = [
        f"{len(part):,} {name}"
        for name, part in (
            ("training", dataset.train),
            ("validation", dataset.validation),
            ("test", dataset.test),
        )
    ]
    console.print(
        f"{dataset.users.num_warm:,} users, {dataset.items.num_warm:,} items learned from "
        f"({len(dataset.items) - dataset.items.end_warm:,} more in the catalogue); "
        f"rows: {', '.join(rows)}; split {dataset.parts.method}",
        highlight=False,
    )


def batch_words(config: Config, dataset: Dataset) -> tuple[str, ...]:
    """A word on a batch that is too small for its in-batch negatives."""
    retriever, size = config.retriever, make_batches(dataset.train, config).batch_size
    if retriever.loss != "in_batch_softmax" or retriever.mixed_negatives:
        return ()
    if size >= SMALL_BATCH_SHARE * dataset.items.num_warm:
        return ()
    return (
        f"The batch is small for its negatives: {size:,} in-batch negatives stand for "
        f"{dataset.items.num_warm:,} items. Raise training.batch_size, set "
        'retriever.mixed_negatives = true, or use retriever.loss = "softmax".',
    )
