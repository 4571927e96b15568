"""`twotower init`: look at the files and write a twotower.toml with its guesses commented."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from twotower.config import (
    CategoriesConfig,
    CategoryConfig,
    ColumnFeatureConfig,
    NumberConfig,
    TimestampConfig,
)
from twotower.data.cells import categorical, check_column, split_values
from twotower.data.columns import EVENT_TYPE, ITEM_ID, TIMESTAMP, USER_ID, WEIGHT
from twotower.data.readers import SEPARATORS, csv_rows, kind_of, list_files, read_table
from twotower.data.times import to_seconds
from twotower.errors import ConfigError, DataError, explain

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
EARLIEST: Final = 315_532_800
"""1980-01-01: smaller integers in a column of dates are more likely 20240501 than unix times."""

HINTS: Final = {
    "rating": "rating overall stars star score",
    "date": "date time timestamp datetime created updated added since joined registered released "
    "signup published birthday",
    "number": "age year price cost amount count num number quantity size length duration minutes "
    "pages weight height width rating score stars",
    "text": "title name description plot summary text review comment",
    "code": "id code zip zipcode postcode postal",
}
"""What a word in a column's name hints at."""
FEW: Final = 50
"""Integers with at most so many different values are codes, unless their name says otherwise."""


@dataclass(frozen=True)
class Guess:
    """A column as a feature: its declaration, why, and whether it is not commented out."""

    feature: ColumnFeatureConfig
    reason: str
    active: bool = True


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
        name: read_table(source, separator=separator)
        for name, source in given.items()
        if name != "interactions"
    }
    there: list[str] = []

    def pick(names: list[str]) -> list[str]:
        there[:] = names
        return [name for name in names if any(rank(name, ours) is not None for ours in NAMES)]

    rows = read_table(interactions, separator=separator, columns=lambda n: pick(n) or n[:1])
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
            names.sort(key=lambda name: name != TIMESTAMP and rows[name].dtype == pl.String)
        if names:
            columns[ours] = names[0]
    return columns


def is_time(column: pl.Series) -> bool:
    """Whether every value is a time, and none before 1980."""
    try:
        first = to_seconds(column).min() if not column.has_nulls() else None
    except DataError:
        return False
    return isinstance(first, int) and first >= EARLIEST


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


# --- features -----------------------------------------------------------------------------------


def guess_feature(column: pl.Series) -> Guess:
    """What a column of a users or items file may be as a feature."""
    guess = guess_type(column)
    try:
        check_column(guess.feature, column)
    except DataError as error:
        return Guess(guess.feature, str(error).partition(": ")[2].rstrip("."), active=False)
    return guess


def guess_type(column: pl.Series) -> Guess:
    """The same, before its values are held against the type."""
    if isinstance(column.dtype, pl.List | pl.Array):
        return guess_list(column)
    if column.dtype.is_nested() or column.dtype in (pl.Object, pl.Binary, pl.Duration, pl.Time):
        return left_out(f"holds values of type {column.dtype}, which no feature reads")
    if isinstance(column.dtype, pl.Date | pl.Datetime):
        return Guess(TimestampConfig(type="timestamp"), "dates")
    values = column if column.dtype.is_numeric() else categorical(column)
    values = values.drop_nulls()
    if values.n_unique() < 2:
        return left_out("has the same value in every row" if len(values) else "has no values")
    return guess_values(values)


def guess_values(values: pl.Series) -> Guess:
    """Numbers and text, without gaps."""
    if values.dtype.is_integer():
        return guess_integers(values)
    if values.dtype.is_numeric():
        return guess_number(values, f"numbers with a fraction, {span(values)}")
    return guess_text(values)


def left_out(reason: str) -> Guess:
    """A column that is better no feature, with what it could be declared as."""
    return Guess(CategoryConfig(type="category", min_count=2), reason, active=False)


def guess_number(values: pl.Series, reason: str) -> Guess:
    """A number, its logarithm where a few values are far larger than most."""
    numbers = values.cast(pl.Float64).drop_nans()
    low, middle, high = (numbers.quantile(share) or 0.0 for share in (0.0, 0.5, 1.0))
    skewed = low >= 0 and middle > 0 and high > 10 * middle
    told = f"{reason}; a few are far larger than most" if skewed else reason
    return Guess(NumberConfig(type="number", log=skewed), told)


def guess_integers(values: pl.Series) -> Guess:
    """Codes, numbers, or unix times."""
    name, distinct = values.name, values.n_unique()
    if hints(name, "date") and is_time(values):
        return Guess(TimestampConfig(type="timestamp"), "unix times, by its name and values")
    if hints(name, "code"):
        return guess_category(values)
    few = distinct <= (10 if hints(name, "number") else FEW) and distinct <= len(values) / 5
    if few:
        return guess_category(values, "integers that look like codes: ")
    return guess_number(values, f"integers with {distinct:,} different values, {span(values)}")


def guess_text(values: pl.Series) -> Guess:
    """Dates, numbers, several values in a cell, categories, or free text."""
    name, distinct = values.name, values.n_unique()
    digits = not values.cast(pl.Float64, strict=False).has_nulls()
    if (hints(name, "date") or not digits) and is_time(values):
        return Guess(TimestampConfig(type="timestamp"), "times")
    if digits and values.str.contains(".", literal=True).any():
        return guess_number(values, "numbers, written as text")
    several = guess_separated(values)
    if several is not None:
        return several
    long = (values.str.len_chars().mean() or 0) > 40  # type: ignore[operator]
    if distinct > len(values) / 2 and (long or hints(name, "text")):
        return left_out("free text, which no feature reads yet")
    return guess_category(values)


def guess_category(values: pl.Series, about: str = "") -> Guess:
    """A category where values repeat."""
    rows, distinct = len(values), values.n_unique()
    told = f"{distinct:,} different values in {rows:,} rows"
    if distinct > rows / 2:
        return left_out(f"{told}: most say little more than the id")
    return Guess(CategoryConfig(type="category"), about + told)


def guess_list(column: pl.Series) -> Guess:
    """A column of lists."""
    inner = getattr(column.dtype, "inner", None)
    if inner is None or inner.is_nested() or inner.is_float():
        return left_out(f"holds values of type {column.dtype}, which no feature reads")
    return of_parts(split_values(column, None)[1], column, None) or left_out(
        "lists whose values hardly repeat"
    )


def guess_separated(values: pl.Series) -> Guess | None:
    """Text cells that hold several values, or None."""
    prose = hints(values.name, "text") or values.n_unique() <= FEW
    for separator, share in (("|", 0.02), (";", 0.02), (", ", 1.1 if prose else 0.1)):
        if values.str.contains(separator, literal=True).cast(pl.Float64).sum() < share * len(
            values
        ):
            continue
        guess = of_parts(split_values(values, separator)[1], values, separator)
        if guess is not None:
            return guess
    return None


def of_parts(parts: pl.Series, column: pl.Series, separator: str | None) -> Guess | None:
    """Categories, or None where the parts of the cells hardly repeat."""
    counts = parts.value_counts()["count"]
    repeated = counts.filter(counts > 1)
    if not len(parts) or repeated.sum() < 0.6 * len(parts):
        return None
    told = f"{len(counts):,} different values in {len(column):,} rows, several in a cell"
    min_count = 2 if len(repeated) < len(counts) / 2 else 1
    return Guess(
        CategoriesConfig(type="categories", separator=separator, min_count=min_count), told
    )


def hints(name: str, kind: str) -> bool:
    """Whether a word of a name hints at a kind; releaseYear and release_year have two words."""
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
    return not set(words).isdisjoint(HINTS[kind].split())


def span(values: pl.Series) -> str:
    """From the smallest to the largest."""
    low, high = values.min(), values.max()
    return f"from {low:g} to {high:g}"  # type: ignore[str-bytes-safe]


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
