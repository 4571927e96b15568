"""A search as one document, as a frame, and as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import polars as pl
from rich.console import Group
from rich.table import Table
from rich.text import Text

from twotower.config.baselines import SearchChoice
from twotower.training.monitor import duration
from twotower.workflow.tuning.choice import Choice
from twotower.workflow.tuning.search import Budget, Search
from twotower.workflow.tuning.space import SearchedKey, describe, short
from twotower.workflow.tuning.study import Trial

Document = Mapping[str, Any]

SHOWN_TRIALS: Final = 12
"""Rows of the table for the terminal: the best trials, and that of the config as it is."""
SHOWN_KEYS: Final = 5
"""Keys that mattered most to name."""


def tuning_document(
    found: Search,
    choice: Choice,
    space: Mapping[str, SearchedKey],
    shares: Mapping[str, float],
    *,
    metric: str,
    budget: Budget,
    jobs: int,
    interrupted: bool,
) -> dict[str, Any]:
    """The result of a search, as JSON.

    Args:
        found: the trials.
        choice: the recommended one.
        space: what was searched.
        shares: the importance of each key; empty with too few trials.
        metric: name of the validation metric.
        budget: of the search.
        jobs: trials in progress at the same time.
        interrupted: whether Ctrl-C ended it.
    """
    chosen = choice.chosen
    changed = {
        key: {"from": searched.own, "to": chosen.settings[key]}
        for key, searched in space.items()
        if chosen.settings[key] != searched.own
    }
    test = None if choice.test is None else {**asdict(choice.test), "p_corrected": choice.p_value}
    return {
        "verdict": choice.verdict(metric),
        "metric": metric,
        "interrupted": interrupted,
        "is_better": choice.is_better,
        "own": choice.own.value,
        "best": choice.best.value,
        "chosen": chosen.number,
        "changed": changed,
        "test": test,
        "importances": dict(shares),
        "budget": {
            "trials": budget.trials,
            "minutes": None if budget.seconds is None else budget.seconds / 60,
            "jobs": jobs,
            "seed": budget.seed,
        },
        "seconds": found.seconds,
        "space": space_document(space),
        "trials": [{**asdict(trial), "epochs": trial.epochs} for trial in found.trials],
    }


def space_document(space: Mapping[str, SearchedKey]) -> dict[str, Any]:
    """A search space as JSON."""
    return {
        key: {
            "own": searched.own,
            **(
                {"values": list(searched.place.values)}
                if isinstance(searched.place, SearchChoice)
                else asdict(searched.place)
            ),
        }
        for key, searched in space.items()
    }


def comments_of(document: Document, version: str) -> list[str]:
    """Paragraphs for the top of the config file that a search writes."""
    trials = document["trials"]
    pruned = sum(trial["pruned"] for trial in trials)
    failed = sum(trial["failure"] is not None for trial in trials)
    stopped = ", stopped by Ctrl-C" if document["interrupted"] else ""
    comments = [
        f"twotower {version}: {len(trials)} trials ({pruned} pruned, {failed} failed{stopped}), "
        f"{duration(document['seconds'])} of training. No row of the test part was used.",
        document["verdict"],
    ]
    for key, change in document["changed"].items():
        comments.append(f"{key}: {short(change['to'])} (was {short(change['from'])})")
    if document["importances"]:
        comments.append(f"{importance_sentence(document)}")
    if document["changed"]:
        comments.append(
            "The best of many trials looks a little better on validation than it is: `twotower "
            "train` measures it on the test part."
        )
    return comments


def importance_sentence(document: Document) -> str:
    """The keys that mattered most."""
    shares = list(document["importances"].items())[:SHOWN_KEYS]
    return "Keys that mattered most: " + ", ".join(f"{key} {share:.0%}" for key, share in shares)


# --- frame ------------------------------------------------------------------------------------


def frame_of(document: Document) -> pl.DataFrame:
    """One row per trial, in their order: number, value, epochs, seconds, pruned, failure, and a
    column for each key that was searched."""
    rows = document["trials"]
    columns: dict[str, tuple[Any, str]] = {
        "number": (pl.Int64, "number"),
        document["metric"]: (pl.Float64, "value"),
        "epochs": (pl.Int64, "epochs"),
        "seconds": (pl.Float64, "seconds"),
        "pruned": (pl.Boolean, "pruned"),
        "failure": (pl.String, "failure"),
    }
    series = [
        pl.Series(name, [row[key] for row in rows], dtype=dtype)
        for name, (dtype, key) in columns.items()
    ]
    settings = [
        pl.Series(key, [row["settings"][key] for row in rows], strict=False)
        for key in document["space"]
    ]
    return pl.DataFrame([*series, *settings])


# --- terminal ---------------------------------------------------------------------------------


def render_space(space: Mapping[str, SearchedKey], trials: str) -> Group:
    """What would be searched, and for how long."""
    table = Table(title="Keys to search", title_justify="left")
    for head in ("key", "now", "searched"):
        table.add_column(head, no_wrap=head == "key")
    for key, searched in space.items():
        origin = " (tune.space)" if searched.is_yours else ""
        table.add_row(Text(key), Text(short(searched.own)), Text(describe(searched.place) + origin))
    return Group(Text(f"Budget: {trials}"), Text(), table)


def render_tuning(document: Document) -> Group:
    """The verdict, the changed keys and a table of the best trials."""
    parts: list[Any] = [Text(document["verdict"], style="bold")]
    for key, change in document["changed"].items():
        parts.append(Text(f"  {key} = {short(change['to'])}   (was {short(change['from'])})"))
    if document["importances"]:
        parts.append(Text(importance_sentence(document)))
    ordered = sorted(document["trials"], key=order)
    shown = ordered[:SHOWN_TRIALS]
    shown += [trial for trial in ordered[SHOWN_TRIALS:] if trial["number"] == 0]
    title = f"{len(ordered)} trials, best first"
    if len(shown) < len(ordered):
        title += f"; {len(ordered) - len(shown)} more are in the report"
    table = Table(title=title, title_justify="left")
    for head in ("trial", document["metric"], "epochs", "seconds"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("")
    for trial in shown:
        table.add_row(*row_of(trial))
    return Group(*parts, Text(), table)


def order(trial: Mapping[str, Any]) -> tuple[bool, float, int]:
    """The best first; those without a value last."""
    value = trial["value"]
    return value is None, 0.0 if value is None else -value, trial["number"]


def row_of(trial: Mapping[str, Any]) -> list[Text]:
    """The cells of a trial."""
    remark = "the config as it is" if trial["number"] == 0 else ""
    if trial["pruned"]:
        remark = "pruned"
    if trial["failure"] is not None:
        remark = f"failed: {trial['failure']}"
    cells = [
        str(trial["number"] + 1),
        "" if trial["value"] is None else f"{trial['value']:.4f}",
        str(trial["epochs"]),
        f"{trial['seconds']:,.1f}",
        remark,
    ]
    return [Text(cell) for cell in cells]


def progress_line(trial: Trial, best: Sequence[Trial], limit: int | None, metric: str) -> str:
    """One line on a trial that has ended.

    Args:
        trial: the trial.
        best: all trials so far.
        limit: number of trials; None for no limit.
        metric: name of the validation metric.
    """
    number = f"trial {trial.number + 1}" + ("" if limit is None else f" of {limit}")
    seconds = f"{trial.epochs} epochs, {trial.seconds:,.1f} s"
    if trial.pruned:
        return f"{number}: pruned after {seconds}"
    if trial.value is None:
        return f"{number}: failed: {trial.failure}"
    highest = max(best, key=lambda other: (other.value or -1.0, -other.number))
    mark = " (best so far)" if highest.number == trial.number else ""
    return f"{number}: validation {metric} {trial.value:.4f}{mark}, {seconds}"
