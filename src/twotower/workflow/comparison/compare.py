"""`twotower compare`: models of one config on one leak-free split, tuned alike, measured alike."""

from __future__ import annotations

import json
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
from twotower.config import Config, load_config
from twotower.data.dataset.dataset import Dataset
from twotower.data.dataset.fingerprint import digest
from twotower.errors import ConfigError, DataError, explain
from twotower.workflow.comparison.contenders import Contender, choose
from twotower.workflow.comparison.report import write_report
from twotower.workflow.comparison.results import Finished, curves_of, frame_of, standings
from twotower.workflow.comparison.run_contender import (
    ANSWERS,
    CONFIG,
    FAILURE,
    INTERRUPTED,
    RESULT,
    KeptAnswers,
    enter,
    fail,
)
from twotower.workflow.evaluate import evaluate
from twotower.workflow.training.train import describe, known_events

DOCUMENT = "comparison.json"
REPORT = "report.html"
FINGERPRINT = "fingerprint.txt"

ENTER = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
from twotower.workflow.comparison.run_contender import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(*sys.argv[1:]))
"""
"""Until a model's process can be interrupted, it is just ended: a traceback of imports is of no use
to who pressed Ctrl-C."""

ONLY_SHOWN = {
    "models",
    "isolate",
    "resamples",
    "level",
    "significance",
    "popularity_buckets",
    "timed_queries",
}
"""Keys of `[compare]` that may change from one run of a comparison to the next."""


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        document: everything, as `--json` prints it.
        frame: a row a model, the best first: the same numbers.
        curves: a row a model and epoch: what validation said while it trained.
        folder: holds `comparison.json`, `report.html` and a folder a model.
    """

    document: dict[str, Any]
    frame: pl.DataFrame
    curves: pl.DataFrame
    folder: Path

    @property
    def verdict(self) -> str:
        """Who won, by how much, whether that is significant, and what it costs."""
        return str(self.document["verdict"])

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it before all models were done."""
        return bool(self.document["interrupted"])

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / REPORT


def compare(
    config: Config | str | Path,
    out: str | Path,
    *,
    models: Sequence[str] = (),
    console: Console | None = None,
) -> Comparison:
    """Search, train and measure each model, then write `comparison.json` and `report.html`.

    What is finished in `out` is not done again, and Ctrl-C keeps it: the comparison of what there
    is is written, and the same call goes on.

    >>> config = tt.load_config("twotower.toml", ["compare.isolate=false", "compare.trials=1"])
    >>> found = tt.compare(config, "comparison", models=["popularity"])
    >>> found.frame["name"].to_list()
    ['popularity']

    Args:
        config: a config or the file of one; `[compare]` says what is compared and how long.
        out: the folder; of this comparison, or new.
        models: names; left out: `compare.models`, or, if that is empty,
            too, all that fit the data and do not wait to be named.
        console: gets progress.

    Raises:
        ConfigError: a name is unknown, or the folder holds another comparison.
        DataError: the data are not right, or cannot be compared on.
    """
    config = config if isinstance(config, Config) else load_config(config)
    console = console or Console(quiet=True)
    dataset = Dataset.read(config)
    chosen = choose(dataset, tuple(models) or config.compare.models)
    check(dataset)
    folder = Path(out)
    prepare(folder, dataset)
    describe(dataset, console)
    interrupted = False
    for contender in chosen:
        if (folder / contender.name / RESULT).exists():
            console.print(f"{contender.title}: done before", highlight=False)
            continue
        try:
            run(contender, dataset, folder, console)
        except KeyboardInterrupt:
            interrupted = True
            break
    document = summarise(dataset, chosen, folder, interrupted=interrupted)
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1)
    (folder / DOCUMENT).write_text(text + "\n", encoding="utf-8")
    write_report(document, folder / REPORT)
    return Comparison(document, frame_of(document), curves_of(document), folder)


def check(dataset: Dataset) -> None:
    """Refuse data that nothing can be compared on.

    Raises:
        DataError: says what is missing, and what to do.
    """
    k, catalogue = dataset.config.evaluation.k, len(dataset.items) - dataset.items.first_known
    if k > catalogue:
        raise DataError(
            explain(
                f"evaluation.k is larger than the catalogue, which has {catalogue:,} items: every "
                "model would recommend all of it",
                value=k,
                fix=f"set [evaluation] k to less than {catalogue:,}",
            )
        )
    if not len(dataset.validation):
        raise DataError(
            explain(
                "a comparison searches settings on the validation part, and there is none",
                fix="set [data.split] validation_fraction above 0",
            )
        )


def prepare(folder: Path, dataset: Dataset) -> None:
    """Make the folder of a comparison, or make sure that it is this comparison's.

    Raises:
        ConfigError: it is another one's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own, mark = fingerprint(dataset), folder / FINGERPRINT
    if mark.exists():
        if mark.read_text(encoding="utf-8").strip() != own:
            raise ConfigError(
                explain(
                    "holds a comparison of other data, of another config or by another version",
                    file=folder,
                    fix="name another folder by --out, or remove this one",
                )
            )
    elif any(folder.iterdir()):
        raise ConfigError(
            explain(
                "is not empty, and holds no comparison",
                file=folder,
                fix="name a new folder by --out",
            )
        )
    (folder / CONFIG).write_text(dataset.config.model_dump_json(), encoding="utf-8")
    mark.write_text(own + "\n", encoding="utf-8")


def fingerprint(dataset: Dataset) -> str:
    """Of everything that the models of a comparison depend on."""
    config = dataset.config.model_dump_json(exclude={"compare": ONLY_SHOWN})
    return digest(f"{__version__} {config}", *dataset.split())


# --- one model --------------------------------------------------------------------------------


def run(contender: Contender, dataset: Dataset, folder: Path, console: Console) -> None:
    """Enter one model, in a process of its own if the config says so.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    console.print(f"{contender.title}: {contender.about}", highlight=False, markup=False)
    if dataset.config.compare.isolate:
        run_isolated(contender.name, folder)
    else:
        enter(contender, dataset, folder / contender.name, console)
    failure = folder / contender.name / FAILURE
    if failure.exists():
        reason = json.loads(failure.read_text(encoding="utf-8"))["reason"]
        console.print(f"{contender.title}: failed: {reason}", highlight=False, markup=False)


def run_isolated(name: str, folder: Path) -> None:
    """Enter a model in a process of its own; see `run_process`."""
    command = [sys.executable, "-c", ENTER, str(folder), name]
    run_process(command, folder / name)


def run_process(command: Sequence[str], own: Path) -> None:
    """Run a model's process; its death is a failure of that model alone, written into its folder.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr) as process:
        try:
            code = waited(process)
        except KeyboardInterrupt:
            stop(process)
            raise
    if code in (INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    if code and not (own / FAILURE).exists():
        own.mkdir(exist_ok=True)
        fail(own, words_of_exit(code))


def waited(process: subprocess.Popen[bytes]) -> int:
    """The exit code. The wait is a loop: of many threads another one may get the signal of Ctrl-C,
    and a main thread that sleeps until the process ends would not hear of it."""
    while True:
        try:
            return process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            continue


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process: a terminal's Ctrl-C has told it already, another one has not."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def words_of_exit(code: int) -> str:
    """Why a process ended that wrote no reason."""
    if code == -signal.SIGKILL:
        return (
            "its process was killed (SIGKILL), which is what the system does when memory runs out"
        )
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with exit code {code}"


# --- all models -------------------------------------------------------------------------------


def summarise(
    dataset: Dataset, chosen: Sequence[Contender], folder: Path, *, interrupted: bool
) -> dict[str, Any]:
    """The comparison of what is finished."""
    settings = dataset.config.evaluation
    seen = known_events(dataset).items
    finished, failed, missing = [], [], []
    for contender in chosen:
        own = folder / contender.name
        face = {"name": contender.name, "title": contender.title, "family": contender.family}
        if (own / RESULT).exists():
            evaluation = evaluate(
                KeptAnswers(own / ANSWERS, dataset, seen),
                dataset.test,
                k=settings.k,
                mask_seen=settings.mask_seen,
                candidates=settings.candidates,
            )
            result = json.loads((own / RESULT).read_text(encoding="utf-8"))
            finished.append(Finished({**face, "about": contender.about, **result}, evaluation))
        elif (own / FAILURE).exists():
            failed.append({**face, **json.loads((own / FAILURE).read_text(encoding="utf-8"))})
        else:
            missing.append(face)
    if not finished:
        raise DataError("\n".join(nothing_finished(failed, missing, interrupted)))
    return standings(dataset, finished, failed, missing, interrupted=interrupted)


def nothing_finished(
    failed: Sequence[Mapping[str, Any]], missing: Sequence[Mapping[str, Any]], interrupted: bool
) -> list[str]:
    """Why there is nothing to compare, a line a model."""
    goes_on = "; finished trials are kept, and the same command goes on" if interrupted else ""
    return [
        f"no model of the comparison was finished{goes_on}:",
        *(f"  {entry['title']} failed: {entry['reason']}" for entry in failed),
        *(f"  {entry['title']} was not run to its end" for entry in missing),
    ]
