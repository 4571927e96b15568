"""`twotower compare`: models on one leak-free split, with one tuning budget and one protocol."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from twotower._version import __version__
from twotower.atomic import DISK_ERRORS, write_text
from twotower.config import Config, load_config
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.fingerprint import digest
from twotower.errors import ConfigError, DataError, explain
from twotower.training.interrupt import INTERRUPTED
from twotower.workflow.cluster.connection import check_address
from twotower.workflow.comparison.cluster_models import run_models
from twotower.workflow.comparison.contenders import Contender, select_contenders
from twotower.workflow.comparison.report import summary_html, write_report
from twotower.workflow.comparison.results import (
    FinishedModel,
    comparison_document,
    curves_of,
    frame_of,
)
from twotower.workflow.comparison.run_contender import (
    ANSWERS,
    CONFIG,
    FAILURE,
    KEPT,
    RESULT,
    StoredAnswers,
    record_failure,
    run_contender,
)
from twotower.workflow.evaluate import evaluate
from twotower.workflow.training.train import describe, known_events
from twotower.workflow.tuning.processes import describe_exit

DOCUMENT = "comparison.json"
REPORT = "report.html"
FINGERPRINT = "fingerprint.txt"

CHILD_PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
from twotower.training.interrupt import interrupt_at_end_of_input
from twotower.workflow.comparison.run_contender import main
signal.signal(signal.SIGINT, signal.default_int_handler)
interrupt_at_end_of_input()
sys.exit(main(*sys.argv[1:]))
"""
"""Program of a model's process. Ctrl-C during the imports ends it silently, without a traceback."""

PRESENTATION_KEYS = {
    "models",
    "isolate",
    "resamples",
    "level",
    "significance",
    "popularity_buckets",
    "timed_queries",
}
"""Keys of `[compare]` that do not affect the models, so that they may change between runs."""


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        document: the complete result, as printed by `--json`.
        frame: one row per model, best first, with the same figures.
        curves: one row per model and epoch: the validation metric during training.
        folder: contains `comparison.json`, `report.html` and one folder per model.
    """

    document: dict[str, Any]
    frame: pl.DataFrame
    curves: pl.DataFrame
    folder: Path

    @property
    def verdict(self) -> str:
        """The winner, its margin, whether that is significant, and the costs."""
        return str(self.document["verdict"])

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C stopped it before all models were finished."""
        return bool(self.document["interrupted"])

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / REPORT

    def __repr__(self) -> str:
        return (
            f"Comparison({len(self.document['models'])} models by {self.document['metric']}, "
            f"best: {self.document['models'][0]['title']}, folder={str(self.folder)!r})"
        )

    def _repr_html_(self) -> str:
        """The verdict and a table of the models, for notebooks."""
        return summary_html(self.document)


def compare(
    config: Config | str | Path,
    out: str | Path,
    *,
    models: Sequence[str] = (),
    console: Console | None = None,
    ray: str | None = None,
) -> Comparison:
    """Tune, train and evaluate each model, then write `comparison.json` and `report.html`.

    Models that are finished in `out` are not run again. Ctrl-C compares the models finished so
    far; call again with the same arguments to continue.

    >>> config = tt.load_config("twotower.toml", ["compare.isolate=false", "compare.trials=1"])
    >>> comparison = tt.compare(config, "comparison", models=["popularity"])
    >>> comparison.frame["name"].to_list()
    ['popularity']

    Args:
        config: a config or its file; `[compare]` sets the models and the tuning budget.
        out: output folder, new or of the same comparison.
        models: names of models. Default: `compare.models`, or, if that is empty, all default
            models that apply to the data.
        console: for progress messages.
        ray: the address of a Ray cluster, whose nodes run the models: `auto`, `HOST:PORT`,
            `ray://HOST:PORT`, or `local` for a new one on this machine.

    Raises:
        ClusterError: the cluster cannot be reached, or its processes cannot do the work.
        ConfigError: a name is unknown, or the folder contains another comparison.
        DataError: the data are invalid or not sufficient for a comparison.
    """
    config = config if isinstance(config, Config) else load_config(config)
    console = console or Console(quiet=True)
    if ray is not None:
        check_address(ray)  # before tables are read, which may take minutes
    dataset = Dataset.read(config, work=Path(out) / KEPT)
    chosen = select_contenders(dataset, tuple(models) or config.compare.models)
    check_comparable(dataset)
    folder = Path(out)
    prepare_folder(folder, dataset)
    describe(dataset, console)
    interrupted = False
    try:
        run_unfinished(chosen, dataset, folder, console, ray)
    except KeyboardInterrupt:
        interrupted = True
    document = summarise(dataset, chosen, folder, interrupted=interrupted)
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1)
    write_text(folder / DOCUMENT, text + "\n")
    write_report(document, folder / REPORT)
    return Comparison(document, frame_of(document), curves_of(document), folder)


def run_unfinished(
    chosen: Sequence[Contender], dataset: Dataset, folder: Path, console: Console, ray: str | None
) -> None:
    """Run the models that have no result yet: one after the other, or on a cluster.

    Raises:
        ClusterError: the cluster cannot be reached.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    unfinished = []
    for contender in chosen:
        if (folder / contender.name / RESULT).exists():
            console.print(f"{contender.title}: already finished", highlight=False)
        else:
            unfinished.append(contender)
    if ray is not None:
        run_models(unfinished, dataset, folder, ray, console)
        for contender in unfinished:
            report_failure(contender, folder, console)
        return
    for contender in unfinished:
        run_model(contender, dataset, folder, console)


def check_comparable(dataset: Dataset) -> None:
    """Check that models can be compared on the data.

    Raises:
        DataError: k covers the whole catalogue, or there is no validation part.
    """
    k, catalogue = dataset.config.evaluation.k, len(dataset.items) - dataset.items.first_known
    if k > catalogue:
        raise DataError(
            explain(
                f"evaluation.k exceeds the catalogue size of {catalogue:,} items: every model "
                "would recommend the whole catalogue",
                value=k,
                fix=f"set [evaluation] k to less than {catalogue:,}",
            )
        )
    if not len(dataset.validation):
        raise DataError(
            explain(
                "a comparison tunes hyperparameters on a validation part, but there is none",
                fix="set [data.split] validation_fraction above 0",
            )
        )


def prepare_folder(folder: Path, dataset: Dataset) -> None:
    """Create the folder of a comparison, or check that it belongs to the same comparison.

    Raises:
        ConfigError: it contains something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    expected, file = fingerprint(dataset), folder / FINGERPRINT
    if file.exists():
        if file.read_text(encoding="utf-8").strip() != expected:
            raise ConfigError(
                explain(
                    "contains a comparison with different data, config or version",
                    file=folder,
                    fix="choose another folder with --out, or delete this one",
                )
            )
    elif any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise ConfigError(
            explain(
                "is not empty and does not contain a comparison",
                file=folder,
                fix="choose a new folder with --out",
            )
        )
    # First, as the folder is known by it when the next file cannot be written.
    write_text(file, expected + "\n")
    write_text(folder / CONFIG, dataset.config.model_dump_json())


def fingerprint(dataset: Dataset) -> str:
    """Hash of everything that the models of a comparison depend on."""
    config = dataset.config.model_dump_json(exclude={"compare": PRESENTATION_KEYS, "tune": True})
    return digest(f"{__version__} {config}", *dataset.split())


# --- one model --------------------------------------------------------------------------------


def run_model(contender: Contender, dataset: Dataset, folder: Path, console: Console) -> None:
    """Run one model, in a process of its own if `compare.isolate` is set.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    console.print(f"{contender.title}: {contender.about}", highlight=False, markup=False)
    if dataset.config.compare.isolate:
        run_isolated(contender.name, folder)
    else:
        run_contender(contender, dataset, folder / contender.name, console)
    report_failure(contender, folder, console)


def report_failure(contender: Contender, folder: Path, console: Console) -> None:
    """Print why a model failed, if it did."""
    failure = folder / contender.name / FAILURE
    if failure.exists():
        reason = json.loads(failure.read_text(encoding="utf-8"))["reason"]
        console.print(f"{contender.title}: failed: {reason}", highlight=False, markup=False)


def run_isolated(name: str, folder: Path) -> None:
    """Run a model in a process of its own; see `run_process`."""
    command = [sys.executable, "-c", CHILD_PROGRAM, str(folder), name]
    run_process(command, folder / name)


def run_process(command: Sequence[str], own: Path) -> None:
    """Run a model's process; a crash is recorded as a failure of that model only.

    Args:
        command: the program and its arguments.
        own: the model's folder.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
        OSError: the disk is full.
    """
    # Nothing is sent: the input of the model's process ends when this one does.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sys.stderr) as process:
        try:
            code = wait_for(process)
        except KeyboardInterrupt:
            stop(process)
            raise
    if code in (INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    if code in DISK_ERRORS:
        raise OSError(code, os.strerror(code), str(own))
    if code and not (own / FAILURE).exists():
        own.mkdir(exist_ok=True)
        record_failure(own, describe_exit(code))


def wait_for(process: subprocess.Popen[bytes]) -> int:
    """Wait for the exit code, in a loop: another thread may receive the signal of Ctrl-C, which the
    main thread would not notice while it is blocked in a single wait."""
    while True:
        try:
            return process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            continue


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, which Ctrl-C in a terminal reaches, but not a signal to this process."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# --- all models -------------------------------------------------------------------------------


def summarise(
    dataset: Dataset, chosen: Sequence[Contender], folder: Path, *, interrupted: bool
) -> dict[str, Any]:
    """The comparison of all finished models, as one document.

    Raises:
        DataError: no model is finished.
    """
    settings = dataset.config.evaluation
    seen = known_events(dataset).items
    finished, failed, missing = [], [], []
    for contender in chosen:
        own = folder / contender.name
        identity = {"name": contender.name, "title": contender.title, "family": contender.family}
        if (own / RESULT).exists():
            evaluation = evaluate(
                StoredAnswers(own / ANSWERS, dataset, seen),
                dataset.test,
                k=settings.k,
                mask_seen=settings.mask_seen,
                candidates=settings.candidates,
            )
            result = json.loads((own / RESULT).read_text(encoding="utf-8"))
            finished.append(
                FinishedModel({**identity, "about": contender.about, **result}, evaluation)
            )
        elif (own / FAILURE).exists():
            failed.append({**identity, **json.loads((own / FAILURE).read_text(encoding="utf-8"))})
        else:
            missing.append(identity)
    if not finished:
        raise DataError("\n".join(nothing_finished(failed, missing, interrupted)))
    return comparison_document(dataset, finished, failed, missing, interrupted=interrupted)


def nothing_finished(
    failed: Sequence[Mapping[str, Any]], missing: Sequence[Mapping[str, Any]], interrupted: bool
) -> list[str]:
    """Why there is nothing to compare, one line per model."""
    resume = (
        "; finished trials are kept, run the same command again to continue" if interrupted else ""
    )
    return [
        f"no model of the comparison was finished{resume}:",
        *(f"  {entry['title']} failed: {entry['reason']}" for entry in failed),
        *(f"  {entry['title']} did not finish" for entry in missing),
    ]
