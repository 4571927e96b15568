"""`twotower train`: read, fit, measure, refit, bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError
from rich.console import Console

from twotower.atomic import WRITER, check_replaceable, only_writer, write_text
from twotower.config import Config
from twotower.data.arrays.distinct import distinct_values
from twotower.data.columns import USER_ID
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.interactions import Interactions
from twotower.data.dataset.joined_histories import joined_histories
from twotower.data.features.histories import Histories
from twotower.errors import ConfigError, explain
from twotower.index import check_database
from twotower.models.ranker.ncf import NeuralCF
from twotower.models.retriever.two_tower import TwoTower
from twotower.parallel.processes import ONE, ProcessGroup
from twotower.serving.answer.recommender import Recommender
from twotower.serving.bundle.candidate_blend import CandidateBlend
from twotower.serving.bundle.ncf_stage import NeuralRanker
from twotower.training.monitor import ConsoleMonitor
from twotower.training.trainer import TrainResult
from twotower.workflow.evaluate import Evaluation, evaluate
from twotower.workflow.training.fit_blend import choose_blend, refitted_blend
from twotower.workflow.training.fit_ranker import fit_ranker
from twotower.workflow.training.fit_retriever import Batching, fit_retriever
from twotower.workflow.training.recipe import recipe_sentence, settled_loss
from twotower.workflow.training.reference_models import (
    References,
    choose_references,
    fit_references,
    with_baselines,
)
from twotower.workflow.training.training_record import curves, stages_of
from twotower.workflow.training.validation import TEST_USERS, sample_users, with_exact_search

CONFIG = "config.json"
STALE_SHARE: Final = 0.125
"""Validation rows relative to training rows, from which on a model without them is stale."""
MAX_REFIT_ROWS: Final = 1_000_000
"""Of training, up to which a second training is done unasked."""
KEPT = "data"
"""Folder of what is kept of logs that are larger than memory: the next run takes it."""


@dataclass(frozen=True)
class Outcome:
    """What `train_bundle` did.

    Attributes:
        evaluation: of the bundled model on the test part; with `refit = "all"`, which trains on
            the test part, too, of the model before the refit.
        result: how training of the retriever ended.
        interrupted: whether Ctrl-C ended it; `resume` continues.
        replaced: whether there was a bundle before.
        example_user: a user id to try.
        notes: `data`, `training` -> sentences for the user. Notes on the metrics are in the
            evaluation.
    """

    evaluation: Evaluation | None
    result: TrainResult
    interrupted: bool
    replaced: bool
    example_user: str
    notes: Mapping[str, tuple[str, ...]]


def train_bundle(
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    console: Console,
    processes: ProcessGroup = ONE,
) -> Outcome:
    """Train by a config and write a bundle.

    While it runs, `OUT.run/` holds the checkpoint and `training.jsonl`; the log is kept. With
    several processes the first one calls it; the others `join_training`.

    Raises:
        TwoTowerError: config, data or training failed, or another run writes this bundle; no
            incomplete bundle is left.
    """
    check_replaceable(out)
    check_database(config.index)
    run = run_folder(out)
    dataset = Dataset.read(config, work=run / KEPT)
    with only_writer(run) as name:
        begin_run(run, dataset.config, resume=resume, console=console)
        processes.told((dataset.config, name))
        return _fit_and_save(dataset, out, resume=resume, console=console, processes=processes)


def _fit_and_save(
    dataset: Dataset, out: Path, *, resume: bool, console: Console, processes: ProcessGroup
) -> Outcome:
    """The part of `train_bundle` after reading."""
    config = with_refit_chosen(dataset.config, dataset)
    dataset = replace(dataset, config=config)
    run, replaced = run_folder(out), out.exists()
    describe(dataset, console)
    how: dict[str, Any] = {
        "resume": resume,
        "log": run / "training.jsonl",
        "console": console,
        "processes": processes,
    }
    trained = fit_stages(dataset, run / "fit", **how)
    last, result = trained, trained.result
    refit, held_out = config.training.refit, dataset.parts.test
    interrupted = trained.is_interrupted
    measured: Measured | None = None
    if refit != "train" or interrupted:
        measured = Measured.of(last.recommender, dataset, last.references)
    if refit in ("train", "all") and not interrupted:
        config = as_chosen(config, trained)
        processes.told(config)
        dataset = replace(dataset, config=config).refit(refit)
        last = fit_stages(dataset, run / "refit", title="refit", fitted=trained, **how)
        if refit == "all":
            held_out = held_out.clear()
    processes.told(None)
    if measured is None:
        measured = Measured.of(last.recommender, dataset, last.references)
    last.recommender.save(
        out,
        metrics=measured.evaluation.to_json() if measured.evaluation else {},
        heldout=held_out,
        training=curves(result, trained.ranker_result),
        stages=measured.stages,
    )
    end_run(run, result, interrupted=interrupted)
    return Outcome(
        measured.evaluation,
        result,
        interrupted,
        replaced,
        str(dataset.parts.train[USER_ID][0]),
        {
            "data": dataset.notes,
            "training": (
                *batch_warnings(config, dataset),
                *result.warnings,
                *trained.notes,
                *(() if trained.ranker_result is None else trained.ranker_result.warnings),
            ),
        },
    )


def run_folder(out: Path) -> Path:
    """Where the run that writes a bundle keeps what it needs."""
    return out.with_name(out.name + ".run")


def with_refit_chosen(config: Config, dataset: Dataset) -> Config:
    """The config with what `training.refit = "auto"` means for a dataset."""
    if config.training.refit != "auto":
        return config
    rows, more = len(dataset.train), len(dataset.validation)
    is_stale = more >= STALE_SHARE * rows and rows <= MAX_REFIT_ROWS
    chosen = {"refit": "train" if is_stale else "none"}
    return config.model_copy(update={"training": config.training.model_copy(update=chosen)})


def begin_run(run: Path, config: Config, *, resume: bool, console: Console) -> None:
    """Create the folder of a run, or check that the run to resume has this config.

    Raises:
        ConfigError: names the first key that differs.
    """
    kept, own = run / CONFIG, config.model_dump(mode="json", exclude={"compare", "tune"})
    if not resume:
        for entry in run.iterdir() if run.is_dir() else ():
            if entry.name in (KEPT, WRITER):
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
    elif not (run / "fit").exists():
        console.print(f"There is no interrupted run in {run}: training from the beginning.")
    run.mkdir(parents=True, exist_ok=True)
    if not kept.exists():
        write_text(kept, json.dumps(own))
    document = json.loads(kept.read_text(encoding="utf-8"))
    if not is_of_this_version(document):
        raise ConfigError(
            explain(
                "the interrupted run is of another version of twotower, whose config has other "
                "keys",
                file=run,
                fix="resume with that version, or leave out --resume",
            )
        )
    then, now = dict(keys_of(document)), dict(keys_of(own))
    for key in [*then, *now]:
        if then.get(key) != now.get(key):
            raise ConfigError(
                explain(
                    f"the interrupted run had {key} = {json.dumps(then.get(key))}",
                    file=run,
                    value=now.get(key),
                    fix="resume with the original config and --set overrides, "
                    "or leave out --resume",
                )
            )


def is_of_this_version(document: dict[str, Any]) -> bool:
    """Whether a config in JSON has exactly the keys that this version writes."""
    try:
        config = Config.model_validate(document)
    except ValidationError:
        return False
    written: dict[str, Any] = config.model_dump(mode="json", exclude={"compare", "tune"})
    return written == document


def keys_of(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of a config with their values."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from keys_of(part, f"{name}.{key}" if name else key)
    else:
        yield name, value


def end_run(run: Path, result: TrainResult, *, interrupted: bool) -> None:
    """Write how the run ended, and remove what is not needed any more. Checkpoints are kept only
    after an interruption."""
    if not interrupted:
        (run / CONFIG).unlink()
        for stage in ("fit", "refit"):
            for folder in (run / stage, ranker_folder(run / stage)):
                shutil.rmtree(folder, ignore_errors=True)
    ended = {
        "best_epoch": result.best_epoch,
        "best_metric": result.best_metric,
        "stopped": result.stopped,
        "seconds": result.seconds,
    }
    write_text(run / "result.json", json.dumps(ended))


@dataclass(frozen=True)
class Measured:
    """The evaluation of a recommender on the test part.

    Attributes:
        evaluation: None if the part is empty.
        stages: the report on the stages; None without a ranker.
    """

    evaluation: Evaluation | None
    stages: dict[str, Any] | None

    @staticmethod
    def of(recommender: Recommender, dataset: Dataset, references: References) -> Measured:
        """Evaluate it and the baselines, which were fitted on the dataset's training part, by a
        sample of the test users if there are very many."""
        seed = dataset.config.training.seed
        test = sample_users(dataset.test, TEST_USERS, seed)
        evaluation = measure(recommender, dataset, test)
        references = references.knowing(dataset.train, recommender.served.seen)
        if evaluation is not None:
            settings = dataset.config.evaluation
            evaluation = with_baselines(
                evaluation,
                references,
                test,
                mask_seen=settings.mask_seen,
                candidates=settings.candidates,
                split=dataset.parts.method,
            )
        return Measured(evaluation, stages_of(recommender, test))


def references_of(dataset: Dataset, fitted: References | None) -> References:
    """The baselines, fitted on the training part with the choices of validation, or with those of
    `fitted`."""
    queries = min(len(distinct_values(dataset.test.user_num)), TEST_USERS)
    if fitted is not None:
        return fit_references(dataset.train, fitted.settings, queries=queries)
    return choose_references(
        dataset.train,
        dataset.validation,
        queries=queries,
        k=dataset.config.evaluation.k,
        mask_seen=dataset.config.evaluation.mask_seen,
        seed=dataset.config.training.seed,
    )


@dataclass(frozen=True)
class Trained:
    """The stages of a config, trained on a part.

    Attributes:
        recommender: with these stages.
        result: how training of the retriever ended.
        references: the baselines of the same part.
        notes: on the blend, sentences for the user.
        ranker_result: how training of the ranker ended; None without one.
    """

    recommender: Recommender
    result: TrainResult
    references: References
    notes: tuple[str, ...] = ()
    ranker_result: TrainResult | None = None

    @property
    def is_interrupted(self) -> bool:
        """Whether Ctrl-C stopped it; an interrupted retriever gets no ranker."""
        results = (self.result, self.ranker_result)
        return any(run is not None and run.stopped == "interrupted" for run in results)


def fit_part(
    dataset: Dataset,
    checkpoint: Path | None,
    *,
    resume: bool = False,
    log: Path | None = None,
    console: Console,
    title: str = "training",
) -> tuple[Recommender, TrainResult]:
    """As `fit_stages`; returns the recommender, and how training of the retriever ended."""
    trained = fit_stages(dataset, checkpoint, resume=resume, log=log, console=console, title=title)
    return trained.recommender, trained.result


def fit_stages(
    dataset: Dataset,
    checkpoint: Path | None,
    *,
    resume: bool = False,
    log: Path | None = None,
    console: Console,
    title: str = "training",
    fitted: Trained | None = None,
    processes: ProcessGroup = ONE,
) -> Trained:
    """Train on a dataset's training part and build its recommender: the retriever, its blend with
    the baselines, then the ranker if the config has one. Where there is no validation part, the
    weights of both blends and the calibration are those of `fitted`."""
    config = dataset.config
    served, result = fit_retriever(
        TwoTower(config.retriever, dataset.schema, seed=config.training.seed),
        dataset.train,
        dataset.validation,
        config=config,
        checkpoint=checkpoint,
        resume=resume,
        monitor=ConsoleMonitor(console, log=log, title=title),
        processes=processes,
    )
    references = references_of(dataset, None if fitted is None else fitted.references)
    blend: CandidateBlend | None = None
    notes: tuple[str, ...] = ()
    if config.retriever.blend and len(dataset.validation):
        blend, notes = choose_blend(
            served, dataset.train, dataset.validation, references, config=config
        )
    elif fitted is not None and (chosen := fitted.recommender.served.blend) is not None:
        blend = refitted_blend(chosen, dataset.train, references)
    ranker, ranker_result = None, None
    interrupted = result.stopped == "interrupted"
    # What is refitted is not served: HNSW, which takes long to build, is left to the refit.
    refits = config.training.refit in ("train", "all")
    is_final = fitted is not None or not refits or interrupted
    has_ranker = config.ranker is not None and not interrupted
    recommender = Recommender.build(
        served,
        dataset.train,
        config if is_final or has_ranker else with_exact_search(config),
        blend=blend,
    )
    if config.ranker is not None and has_ranker:
        known = None if fitted is None else fitted.recommender.served.ranker
        ranker, ranker_result = fit_ranker(
            NeuralCF(config.ranker, dataset.schema, seed=config.training.seed),
            dataset.train,
            dataset.validation,
            config=config,
            retriever=recommender,
            dislikes=dataset.dislikes,
            fitted=known if isinstance(known, NeuralRanker) else None,
            checkpoint=None if checkpoint is None else ranker_folder(checkpoint),
            resume=resume,
            monitor=ConsoleMonitor(console, log=log, title=f"{title}, ranker"),
        )
    told = replace(recommender.served, histories=known_events(dataset), ranker=ranker)
    return Trained(Recommender(told), result, references, notes, ranker_result)


def ranker_folder(checkpoint: Path) -> Path:
    """The folder of the ranker's checkpoint, next to that of the retriever."""
    return checkpoint.with_name(f"{checkpoint.name}-ranker")


def as_chosen(config: Config, trained: Trained) -> Config:
    """The config with the choices of validation: numbers of epochs, and the offset of new items."""
    epochs = config.training.model_copy(update={"epochs": trained.result.best_epoch})
    update: dict[str, Any] = {"training": epochs}
    if config.ranker is not None and trained.ranker_result is not None:
        best = trained.ranker_result.best_epoch
        update["ranker"] = config.ranker.model_copy(update={"epochs": best})
    model = trained.recommender.served.towers
    if model.cold_tower is not None:
        offset = {"cold_offset": float(model.cold_offset)}
        update["retriever"] = config.retriever.model_copy(update=offset)
    return config.model_copy(update=update)


def known_events(dataset: Dataset) -> Histories:
    """Each user's events of training and validation: the histories of test queries."""
    if not len(dataset.validation):
        return dataset.train.histories()
    validation = dataset.validation
    in_catalogue = validation.take(np.flatnonzero(validation.item_num >= 0))
    return joined_histories(dataset.train, in_catalogue, dataset.work)


def measure(
    recommender: Recommender, dataset: Dataset, test: Interactions | None = None
) -> Evaluation | None:
    """The evaluation on the dataset's test part, or on some of its users; None if it is empty."""
    settings = dataset.config.evaluation
    part = dataset.test if test is None else test
    if not len(part):
        return None
    notes = []
    if part is not dataset.test:
        asked, everyone = (len(distinct_values(rows.user_num)) for rows in (part, dataset.test))
        notes.append(
            f"Measured on {asked:,} of {everyone:,} test users, drawn at random; "
            "`twotower evaluate` asks all of them."
        )
    return evaluate(
        recommender,
        part,
        k=settings.k,
        mask_seen=settings.mask_seen,
        candidates=settings.candidates,
        notes=tuple(notes),
    )


def describe(dataset: Dataset, console: Console) -> None:
    """Print one line on the dataset."""
    rows = [
        f"{len(part):,} {name}"
        for name, part in (
            ("training", dataset.train),
            ("validation", dataset.validation),
            ("test", dataset.test),
        )
        if len(part)
    ]
    console.print(
        f"{dataset.users.num_warm:,} users, {dataset.items.num_warm:,} items learned from "
        f"({len(dataset.items) - dataset.items.end_warm:,} more in the catalogue); "
        f"rows: {', '.join(rows)}; split {dataset.parts.method}",
        highlight=False,
    )
    console.print(f"Recipe: {recipe_sentence(dataset.train, dataset.config)}.", highlight=False)


def batch_warnings(config: Config, dataset: Dataset) -> tuple[str, ...]:
    """What the loss says about the size of the batches."""
    size = Batching.of(dataset.train, config).size
    return settled_loss(dataset.train, config).warnings(size, dataset.items.num_warm)
