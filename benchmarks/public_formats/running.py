"""`init`, `check`, `train`, `evaluate` on a format, and what was understood held against what is
right."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Literal

import polars as pl
from rich.console import Console

from benchmarks.public_formats.expectation import Column, Format, Refused, Understood
from twotower.config import Config, load_config
from twotower.data.columns import ITEM_ID, TIMESTAMP, USER_ID
from twotower.data.dataset.dataset import Dataset
from twotower.errors import TwoTowerError
from twotower.workflow.evaluate_bundle import evaluate_bundle
from twotower.workflow.setup.check import check
from twotower.workflow.setup.init import write_config
from twotower.workflow.training.train import train_bundle

SMALL = ("retriever.embedding_dim=8", "training.epochs=1", "training.device=cpu")
"""Training is to run, not to be good."""
LONGEST_MESSAGE = 400
SHAPE = r"(?i)\b(one|a|each) (row|line|object)\b"
"""A refusal says what a row must be."""

Outcome = Literal["as_it_is", "one_edit", "refused", "wrong"]


@dataclass(frozen=True)
class Result:
    """How a format went.

    Attributes:
        name: of the format.
        outcome: read as it is, read with the one edit that a message asks for, rightly refused with
            the cause, or wrong.
        faults: what was wrong, one sentence each.
        message: what asked for the edit, or the refusal.
    """

    name: str
    outcome: Outcome
    faults: tuple[str, ...] = ()
    message: str = ""


def run_format(make: Format, folder: Path) -> Result:
    """Write a format's files into an empty folder and take them through all verbs."""
    expected = make(folder)
    try:
        if isinstance(expected, Refused):
            return refuse(make.__name__, expected, folder)
        return understand(make.__name__, expected, folder)
    except TwoTowerError as error:
        return Result(make.__name__, "wrong", (str(error),))
    except Exception:  # a crash is a result, too: the other formats are to be tried
        return Result(make.__name__, "wrong", (traceback.format_exc(limit=-6),))


def refuse(name: str, expected: Refused, folder: Path) -> Result:
    """`init`, or else `check`, must name what the files are and what a row must be."""
    try:
        path, _ = init(expected, folder)
    except TwoTowerError as error:
        message = str(error).replace(f"{folder}/", "")
    else:
        message = "\n".join(check(path).problems).replace(f"{folder}/", "")
    faults = []
    if not message:
        faults.append("it was accepted")
    elif not re.search(expected.cause, message):
        faults.append(f"the message does not name the cause: {message}")
    elif not re.search(SHAPE, message):
        faults.append(f"the message does not say what a row must be: {message}")
    if max(map(len, message.split("\n"))) > LONGEST_MESSAGE:
        faults.append(f"a message of {len(message)} characters: {message}")
    return Result(name, "wrong" if faults else "refused", tuple(faults), message)


def understand(name: str, expected: Understood, folder: Path) -> Result:
    """Read right as it is, or with the edit that a message asks for."""
    path, notes = init(expected, folder)
    faults = tuple(find_faults(path, (), expected))
    if not faults:
        faults = tuple(train_and_evaluate(path, (), folder))
        return Result(name, "wrong" if faults else "as_it_is", faults)
    if not expected.edit:
        return Result(name, "wrong", faults)
    names = load_config(path).data.format.interactions.column_names or ()
    pattern = expected.asks.format(*names)
    asked = next((line for line in [*notes, *messages(path)] if re.search(pattern, line)), None)
    if asked is None:
        return Result(name, "wrong", (*faults, f"no message asks for the edit: {pattern}"))
    edit = tuple(override.format(*names) for override in expected.edit)
    faults = tuple(find_faults(path, edit, expected))
    faults = faults or tuple(train_and_evaluate(path, edit, folder))
    outcome: Outcome = "wrong" if faults else "one_edit"
    return Result(name, outcome, faults, f"{' '.join(edit)}  # {asked}")


def init(expected: Understood | Refused, folder: Path) -> tuple[Path, tuple[str, ...]]:
    """The config that `init` writes, and what it says."""
    sources = (expected.interactions, expected.users, expected.items)
    given = [None if source is None else str(folder / source) for source in sources]
    assert given[0] is not None
    written = write_config(folder / "project", given[0], given[1], given[2])
    return written.path, written.notes


def messages(path: Path) -> list[str]:
    """The config's comments, and the notes and problems of `check`."""
    report = check(path)
    comments = re.findall(r"(?m)#(.*)$", path.read_text(encoding="utf-8"))
    return [*comments, *report.notes, *report.problems]


def find_faults(path: Path, edit: tuple[str, ...], expected: Understood) -> Iterator[str]:
    """What differs from what is right, one sentence each."""
    config = load_config(path, edit)
    yield from compare_columns(config, expected)
    yield from compare_features(config, path.read_text(encoding="utf-8"), expected)
    report = check(path, edit)
    yield from (f"check: {problem}" for problem in report.problems)
    if not report.problems:
        yield from compare_rows(Dataset.read(config), expected)


# --- columns ------------------------------------------------------------------------------------


def spelled(column: Column, names: Sequence[str] | None) -> str | None:
    """The name of a column that an expectation may give by its place."""
    if not isinstance(column, int):
        return column
    return names[column] if names is not None and column < len(names) else f"<column {column}>"


def compare_columns(config: Config, expected: Understood) -> Iterator[str]:
    """Which column is which, and the threshold."""
    names = config.data.format.interactions.column_names
    for ours in ("user_id", "item_id", "timestamp", "weight", "event_type"):
        right = [spelled(column, names) for column in getattr(expected, ours)]
        found = getattr(config.data.columns, ours)
        if found is None and (ours in right or ours in (names or ())):
            found = ours
        if found not in right:
            yield f"{ours} is {found!r}, not {' or '.join(map(repr, right))}"
    threshold, right_one = config.data.positive.min_weight, expected.min_weight
    if right_one is None and threshold is not None:
        yield f"min_weight is {threshold}, where there is no scale"
    if right_one is not None and (
        threshold is None or not right_one[0] <= threshold <= right_one[1]
    ):
        yield f"min_weight is {threshold}, not from {right_one[0]} to {right_one[1]}"


# --- features -----------------------------------------------------------------------------------


def compare_features(config: Config, text: str, expected: Understood) -> Iterator[str]:
    """What became of the columns that are neither ids nor times nor weights."""
    for key, allowed in expected.features.items():
        side, _, column = key.partition(".")
        place = int(column) if column.isdigit() else column
        if side == "log":
            yield from compare_log_column(config, text, place, allowed)
            continue
        table = "users" if side == "user" else "items"
        derived = getattr(config.data, table) is None
        form = getattr(config.data.format, "interactions" if derived else table)
        name = spelled(place, form.column_names)
        types = {
            feature.column or own: feature.type
            for own, feature in config.features.columns(side).items()  # type: ignore[arg-type]
        }
        found = types.get(name or "", "out")
        if found not in allowed.split():
            yield f"{side}.{name} is {found}, not {allowed.replace(' ', ' or ')}"


def compare_log_column(config: Config, text: str, place: Column, allowed: str) -> Iterator[str]:
    """A column of the log: an attribute of users or of items, a context feature, or neither."""
    data = config.data
    name = spelled(place, data.format.interactions.column_names)
    context = {f.column or own for own, f in config.features.columns("context").items()}
    if name in data.users_from_interactions:
        found = "user"
    elif name in data.items_from_interactions:
        found = "item"
    else:
        found = "context" if name in context or name in offered(text) else "out"
    if found not in allowed.split():
        yield f"{name} of the log is {found}, not {allowed.replace(' ', ' or ')}"


def offered(text: str) -> list[str]:
    """The columns that the config's comments offer as context features."""
    found = re.search(r"(?m)^# Other columns of the interactions: (.*)\.$", text)
    return [name.strip('"') for name in found[1].split(", ")] if found else []


# --- rows ---------------------------------------------------------------------------------------


def compare_rows(dataset: Dataset, expected: Understood) -> Iterator[str]:
    """The positive rows: how many, whose, of what, when; no row of the other files is lost."""
    threshold = expected.min_weight and dataset.config.data.positive.min_weight
    liked = expected.rows.filter((pl.col("weight") > 0) & (pl.col("weight") >= (threshold or 0)))
    right = liked.unique(["user", "item", "time"])
    rows = dataset.tables.interactions
    if len(rows) != len(right):
        yield f"{len(rows):,} positive rows, not {len(right):,}"
    for ours, theirs in ((USER_ID, "user"), (ITEM_ID, "item")):
        found, wanted = set(rows[ours].cast(pl.String)), set(right[theirs])
        if found != wanted:
            some = sorted(found ^ wanted)[:3]
            yield f"{len(found):,} ids of {ours}, not {len(wanted):,}; {some} differ"
    yield from compare_times(rows, right)
    for table, number in (("users", expected.num_users), ("items", expected.num_items)):
        frame: pl.DataFrame | None = getattr(dataset.tables, table)
        if number is not None and (frame is None or len(frame) != number):
            yield f"{0 if frame is None else len(frame):,} rows of {table}, not {number:,}"
    yield from bracketed_values(dataset)


def compare_times(rows: pl.DataFrame, right: pl.DataFrame) -> Iterator[str]:
    """The whole seconds of each pair's times."""
    if right["time"].null_count():
        if TIMESTAMP in rows.columns:
            yield "there are times, where the file has none"
        return
    if TIMESTAMP not in rows.columns:
        yield "no times were read: the split is a random one"
        return
    found, wanted = rows[TIMESTAMP].sort(), (right["time"] // 10**9).sort()
    if len(found) == len(wanted) and not (found == wanted).all():
        yield f"times from {found[0]} to {found[-1]}, not from {wanted[0]} to {wanted[-1]}"


def bracketed_values(dataset: Dataset) -> Iterator[str]:
    """Categories that still have the brackets of the list that stood in the cell."""
    for side, features in dataset.schema.features.items():
        for name, feature in features.items():
            vocabulary = getattr(feature, "vocabulary", None)
            values = None if vocabulary is None else vocabulary.values.cast(pl.String)
            if values is not None and values.str.contains(r"^\[|\]$").any():
                yield f"{side}.{name} has values with brackets: {values[0]!r}"


# --- training -----------------------------------------------------------------------------------


def train_and_evaluate(path: Path, edit: tuple[str, ...], folder: Path) -> Iterator[str]:
    """A small training, and the bundle measured again: the same figures."""
    bundle = folder / "bundle"
    console = Console(file=StringIO())
    outcome = train_bundle(load_config(path, (*edit, *SMALL)), bundle, console=console)
    if outcome.evaluation is None:
        yield "training measured nothing"
        return
    again = evaluate_bundle(bundle)
    if again.metrics != outcome.evaluation.metrics:
        yield f"the bundle measures {again.metrics}, training {outcome.evaluation.metrics}"
    if not all(0 <= value <= 1 for value in again.metrics.values()):
        yield f"metrics out of range: {again.metrics}"
