"""`twotower init`: look at the files and write a twotower.toml with its guesses commented."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from twotower.config import FormatConfig
from twotower.data.columns import EVENT_TYPE, ITEM_ID, TIMESTAMP, USER_ID, WEIGHT
from twotower.data.readers import (
    SEPARATORS,
    Pick,
    csv_rows,
    is_text,
    kind_of,
    list_files,
    read_table,
    typed,
)
from twotower.data.times import SECONDS_PER_DAY, to_seconds
from twotower.errors import ConfigError, explain
from twotower.workflow.guesses import FEW, Guess, guess_feature, hints, is_time

CONFIG_NAME: Final = "twotower.toml"
NAMES: Final[dict[str, str]] = {
    USER_ID: "user uid reviewer customer visitor member account client buyer shopper person "
    "profile subscriber reader listener viewer session",
    ITEM_ID: "item iid movie asin parentasin product sku article isbn book track song artist video "
    "game news recipe business venue poi location listing offer goods content",
    TIMESTAMP: "timestamp unixreviewtime unixtime unixtimestamp unix eventtime eventtimestamp time "
    "datetime ts createdat created orderedat purchasedat viewedat clickedat occurredat orderdate "
    "purchasedate reviewdate reviewtime eventdate date day when",
    WEIGHT: "weight rating overall stars star score count quantity qty playcount plays",
    EVENT_TYPE: "eventtype event action actiontype behavior behaviour behaviortype interactiontype",
}
"""Ours -> what others call it, likeliest first, without capitals, blanks and underscores."""
_KEY_ENDS: Final = re.compile(r"^(.{3,}?)(id|number|num|no|nr|code|key|hash)$")


def write_config(folder: Path, interactions: str, users: str | None, items: str | None) -> Path:
    """Write `folder/twotower.toml`: columns and features as they look, each guess commented.

    Args:
        folder: made if it is not there; the config names files relative to it.
        interactions: file, folder or URI, relative to the working directory.
        users: the same of the users table, or None.
        items: the same of the items table, or None.

    Returns:
        The file that was written.

    Raises:
        ConfigError: the file is there already or cannot be written, no column looks like users or
            items, or the files have different separators.
        DataError: a table cannot be read.
    """
    path = folder / CONFIG_NAME
    if path.exists():
        fix = "name another folder, or move the file away"
        raise ConfigError(explain("is there already, and is not overwritten", file=path, fix=fix))
    text = describe(folder, interactions, users, items)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{CONFIG_NAME}.aside"
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise ConfigError(explain(f"cannot be written: {error}", file=path)) from None
    return path


def describe(folder: Path, interactions: str, users: str | None, items: str | None) -> str:
    """The text of the config."""
    sources = {"interactions": interactions, "users": users, "items": items}
    given = {name: source for name, source in sources.items() if source is not None}
    separator = find_separator(given.values())
    tables = {
        name: read_typed(source, separator)
        for name, source in given.items()
        if name != "interactions"
    }
    there: list[str] = []

    def pick(names: list[str]) -> list[str]:
        there[:] = names
        return [name for name in names if any(rank(name, ours) is not None for ours in NAMES)]

    rows = read_typed(interactions, separator, lambda names: pick(names) or names[:1])
    columns = guess_columns(interactions, there, rows, tables)
    lines = ["# Written by `twotower init`: guesses, to be read and corrected.", "", "[data]"]
    lines += [f"{name} = {quoted(relative(source, folder))}" for name, source in given.items()]
    if separator is not None:
        lines.append(f"separator = {quoted(separator)}")
    lines += column_lines(columns) + positive_lines(columns, rows)
    for name, side, key in (("users", "user", USER_ID), ("items", "item", ITEM_ID)):
        if name in tables:
            hidden = {key, entity_key(given[name], tables[name], key, columns[key])}
            for column in tables[name]:
                if column.name not in hidden:
                    lines += feature_lines(
                        side, column, guess_feature(column), tables[name].columns
                    )
    lines += history_lines(columns)
    return "\n".join(lines + context_lines(there, columns)) + "\n"


# --- sources ------------------------------------------------------------------------------------


def find_separator(sources: Iterable[str]) -> str | None:
    """What `data.separator` has to be; None where the readers' own choice is right.

    Raises:
        ConfigError: the files need different ones.
    """
    files = {source: list_files(Path(source))[0] for source in sources if "://" not in source}
    found = {source: separator_of(file) for source, file in files.items()}
    told = {source: separator for source, separator in found.items() if separator is not None}
    if all(separator == usual_separator(files[source]) for source, separator in told.items()):
        return None
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    listed = ", ".join(f"{source} has {SEPARATORS[s][0]}" for source, s in told.items())
    problem = f"the files have different separators, and a config names one: {listed}"
    raise ConfigError(explain(problem, fix="write the files with the same separator"))


def usual_separator(file: Path) -> str:
    """What the reader takes where the config names none."""
    return "\t" if kind_of(file) == "TSV" else ","


def separator_of(file: Path) -> str | None:
    """The separator of a CSV file by its header; None for other files, or where it is not told."""
    if kind_of(file) not in ("CSV", "TSV"):
        return None
    usual = usual_separator(file)
    try:
        header = next(csv_rows(file, usual), [])
    except (UnicodeDecodeError, csv.Error):
        return None  # the reader says what is wrong
    there = [separator for separator in SEPARATORS if separator in "".join(header)]
    return usual if len(header) != 1 else max(there, key=header[0].count, default=None)


def read_typed(source: str, separator: str | None, columns: Pick | None = None) -> pl.DataFrame:
    """A table whose text columns of CSV files are numbers where all cells are."""
    frame = read_table(source, format=FormatConfig(separator=separator), columns=columns)
    return frame.select(map(typed, frame)) if is_text(source) else frame


def relative(source: str, folder: Path) -> str:
    """A source as a config in `folder` has to name it."""
    prefix, is_sqlite, rest = source.partition("sqlite:///")
    if is_sqlite and not prefix:
        file, mark, table = rest.partition("#")
        return f"sqlite:///{relative(file, folder)}{mark}{table}"
    if "://" in source:
        return source
    path = Path(source).resolve()
    try:
        return Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path.as_posix()


# --- columns ------------------------------------------------------------------------------------


def rank(name: str, ours: str) -> int | None:
    """How likely a name stands for one of our columns: 0 is the likeliest, None is not at all."""
    if name == ours:
        return 0
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    known = [ours.replace("_", ""), *NAMES[ours].split()]
    if plain not in known and ours in (USER_ID, ITEM_ID):
        plain = _KEY_ENDS.sub(r"\1", plain)
    return known.index(plain) + 1 if plain in known else None


def candidates(names: Iterable[str], ours: str) -> list[str]:
    """The names that may stand for one of our columns, likeliest first."""
    ranks = {name: rank(name, ours) for name in names}
    likely = [(place, name) for name, place in ranks.items() if place is not None]
    return [name for _, name in sorted(likely, key=lambda entry: entry[0])]


def guess_columns(
    source: str, there: Sequence[str], rows: pl.DataFrame, tables: Mapping[str, pl.DataFrame]
) -> dict[str, str]:
    """Ours -> theirs for the columns of the interactions that are recognised.

    Raises:
        ConfigError: none looks like users, or none like items.
    """
    columns: dict[str, str] = {}
    for ours, table in ((USER_ID, "users"), (ITEM_ID, "items")):
        names = [name for name in candidates(there, ours) if name not in columns.values()]
        if not names:
            problem = f"no column looks like {ours}; it has {', '.join(there)}"
            fix = f"write {CONFIG_NAME} by hand, with {ours} = 'THE COLUMN' under [data.columns]"
            raise ConfigError(explain(problem, file=source, fix=fix))
        shared = [n for n in names if table in tables and n in tables[table].columns]
        columns[ours] = names[0] if names[0] == ours else (shared or names)[0]
    for ours, usable in ((TIMESTAMP, is_time), (WEIGHT, is_weight), (EVENT_TYPE, is_event)):
        names = [name for name in candidates(there, ours) if name not in columns.values()]
        if ours not in names:  # a column of our own name is used in any case
            names = [name for name in names if usable(rows[name])]
        if ours == TIMESTAMP:
            names.sort(key=lambda name: () if name == TIMESTAMP else days_only(rows[name]))
        if names:
            columns[ours] = names[0]
    return columns


def days_only(column: pl.Series) -> tuple[bool, bool]:
    """Whether a column of times has none within a day, and whether it is text."""
    clocks = to_seconds(column) % SECONDS_PER_DAY != 0
    return not clocks.any(), column.dtype == pl.String


def is_weight(column: pl.Series) -> bool:
    """Whether every value is a finite number."""
    if column.dtype.is_nested() or column.dtype.is_temporal():
        return False
    numbers = column.cast(pl.Float64, strict=False)
    return not numbers.has_nulls() and bool(numbers.is_finite().all())


def is_event(column: pl.Series) -> bool:
    """Whether the column holds few different values and no gaps."""
    flat = not column.dtype.is_nested() and not column.has_nulls()
    return flat and column.n_unique() <= FEW


def entity_key(source: str, table: pl.DataFrame, key: str, theirs: str) -> str:
    """The id column of a users or items file."""
    for name in (theirs, key):
        if name in table.columns:
            return name
    problem = (
        f"has neither a column {theirs!r}, as the interactions have, nor {key!r}; it has "
        f"{', '.join(table.columns)}"
    )
    fix = f"rename the column of ids to {theirs!r}"
    raise ConfigError(explain(problem, file=source, fix=fix))


# --- text ---------------------------------------------------------------------------------------


def quoted(text: str) -> str:
    """A TOML basic string: JSON's, but for DEL, which only TOML refuses."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def key_of(name: str) -> str:
    """A TOML key, quoted where it has to be."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted(name)


def column_lines(columns: Mapping[str, str]) -> list[str]:
    """`[data.columns]`, where a name differs from ours."""
    lines = [f"{ours} = {quoted(theirs)}" for ours, theirs in columns.items() if ours != theirs]
    lines = ["", "[data.columns]  # ours = theirs", *lines] if lines else []
    if TIMESTAMP not in columns:
        lines += ["", "# No column of times was found: held-out rows are drawn by chance."]
    return lines


def positive_lines(columns: Mapping[str, str], rows: pl.DataFrame) -> list[str]:
    """`[data.positive]`, commented out, where there are ratings or event types."""
    lines = []
    weight, event = columns.get(WEIGHT), columns.get(EVENT_TYPE)
    if weight is not None and hints(weight, "rating"):
        values = rows[weight].cast(pl.Float64, strict=False).drop_nulls().unique().sort()
        low, high = values[0], values[-1]
        least = values.filter(values >= low + 0.75 * (high - low))[0]
        told = f"ratings go from {low:g} to {high:g}; rows below are not learned from"
        lines.append(f"# min_weight = {least}  # {told}")
    if event is not None:
        types = rows[event].cast(pl.String).drop_nulls().unique().sort().to_list()
        listed = ", ".join(quoted(name) for name in types[:10])
        lines.append(f"# event_types = [{listed}]  # keep those that say that a user likes it")
    return ["", "# [data.positive]", *lines] if lines else []


def feature_lines(side: str, column: pl.Series, guess: Guess, taken: Sequence[str]) -> list[str]:
    """The section of a feature, commented out where it is left out; `taken`: the table's names."""
    name = column.name
    while name == "id" or (name != column.name and name in taken):
        name += "_column"  # the feature named `id` is the id itself
    settings = {"type": "", **guess.feature.model_dump(exclude_defaults=True)}
    if name != column.name:
        settings["column"] = column.name
    section = f"[features.{side}.{key_of(name)}]"
    body = [f"{key} = {toml_value(value)}" for key, value in settings.items()]
    if guess.active:
        return ["", f"{section}  # {guess.reason}", *body]
    return ["", f"# Left out: {one_line(guess.reason)}.", *(f"# {b}" for b in [section, *body])]


def toml_value(value: object) -> str:
    """Text, a truth value or a number as TOML."""
    return quoted(value) if isinstance(value, str) else json.dumps(value)


def one_line(text: str) -> str:
    """Text that can stand in a comment."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text)


def history_lines(columns: Mapping[str, str]) -> list[str]:
    """`[features.user.history]`: with it, what a user does now changes the next answer."""
    order = "in their order" if TIMESTAMP in columns else "as a set, for there are no times"
    return [
        "",
        f"[features.user.history]  # the user's last interactions, {order}",
        'type = "history"',
        'encoder = "attention"  # or mean, transformer',
    ]


def context_lines(there: Sequence[str], columns: Mapping[str, str]) -> list[str]:
    """The interactions' other columns, which may be context features, as a comment."""
    others = [name for name in there if name not in columns.values()]
    if not others:
        return []
    return [
        "",
        f"# Other columns of the interactions: {one_line(', '.join(map(key_of, others)))}.",
        "# One that is known when a request comes in, such as a device, is a context feature:",
        "# [features.context.NAME]",
        '# type = "category"',
    ]
