"""What a column of a users or items file may be as a feature: guesses from its name and values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import polars as pl

from twotower.config import (
    CategoriesConfig,
    CategoryConfig,
    ColumnFeatureConfig,
    ImageConfig,
    NumberConfig,
    TextConfig,
    TimestampConfig,
    VectorConfig,
)
from twotower.data.cells import categorical, check_column, split_values
from twotower.data.times import to_seconds
from twotower.errors import DataError

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


IMAGE_NAME: Final = r"(?i)\.(jpe?g|png|gif|webp|bmp|tiff?|avif)(\?\S*)?$"
"""How the path or address of an image ends."""
IMAGE_STARTS: Final = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*")
"""How image files begin."""
MOST: Final = 0.9
"""A column of which more than this share looks like images is one."""


DECIMAL_COMMA: Final = r"^-?\d+,\d+$"


@dataclass(frozen=True)
class Guess:
    """A column as a feature: its declaration, why, and whether it is not commented out."""

    feature: ColumnFeatureConfig
    reason: str
    active: bool = True


def guess_feature(column: pl.Series) -> Guess:
    """What a column of a users or items file may be as a feature."""
    guess = guess_type(column)
    if not guess.active:
        return guess
    try:
        check_column(guess.feature, column)
    except DataError as error:
        return Guess(guess.feature, str(error).partition(": ")[2].rstrip("."), active=False)
    return guess


def guess_type(column: pl.Series) -> Guess:
    """The same, before its values are held against the type."""
    if isinstance(column.dtype, pl.List | pl.Array):
        return guess_list(column)
    if column.dtype == pl.Binary and is_images(column):
        return Guess(ImageConfig(type="image"), "the bytes of images")
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
    if values.str.contains(IMAGE_NAME).sum() > MOST * len(values):
        return Guess(ImageConfig(type="image"), "names of images")
    digits = not values.cast(pl.Float64, strict=False).has_nulls()
    if (hints(name, "date") or not digits) and is_time(values):
        return Guess(TimestampConfig(type="timestamp"), "times")
    if digits and values.str.contains(".", literal=True).any():
        return guess_number(values, "numbers, written as text")
    other = guess_separated(values) or guess_spoilt(values)
    if other is not None:
        return other
    long = (values.str.len_chars().mean() or 0) > 40  # type: ignore[operator]
    if distinct > len(values) / 2 and (long or hints(name, "text")):
        return Guess(TextConfig(type="text"), "free text")
    return guess_category(values)


def guess_spoilt(values: pl.Series) -> Guess | None:
    """A column that is nearly all numbers, and what keeps it from being one; None for others."""
    commas = values.str.contains(DECIMAL_COMMA)
    if commas.any() and (commas | values.str.contains(r"^-?\d+$")).all():
        example = values.filter(commas)[0]
        told = f"numbers with decimal commas, as {example!r}: write them with points"
        return Guess(NumberConfig(type="number"), told, active=False)
    others = values.filter(values.cast(pl.Float64, strict=False).is_null())
    if len(others) >= (1 - MOST) * len(values):
        return None
    told = (
        f"{len(values) - len(others):,} of {len(values):,} values are numbers, and {others[0]!r} "
        "is none: correct it, or leave it empty"
    )
    return Guess(NumberConfig(type="number"), told, active=False)


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
    if inner is not None and inner.is_float():
        return guess_vector(column)
    if inner is None or inner.is_nested():
        return left_out(f"holds values of type {column.dtype}, which no feature reads")
    return of_parts(split_values(column, None)[1], column, None) or left_out(
        "lists whose values hardly repeat"
    )


def guess_vector(column: pl.Series) -> Guess:
    """A column of lists of numbers with a fraction: a vector, where all have one length."""
    values = column.cast(pl.List(pl.Float64))
    lengths = values.list.len().drop_nulls()
    lengths = lengths.filter(lengths > 0).unique()
    if len(lengths) == 1 and lengths[0] > 1:
        return Guess(VectorConfig(type="vector"), f"vectors of {lengths[0]:,} numbers")
    if len(lengths) > 1:
        return left_out(f"lists of numbers, of {len(lengths):,} different lengths")
    return left_out("lists of one number or none")


def is_images(column: pl.Series) -> bool:
    """Whether nearly all of a column's bytes begin as image files do; the first hundred tell."""
    cells = column.drop_nulls().head(100).to_list()
    starts = sum(cell.startswith(IMAGE_STARTS) or cell[8:12] == b"WEBP" for cell in cells)
    return bool(starts > MOST * len(cells))


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


def is_time(column: pl.Series) -> bool:
    """Whether every value is a time, and none before 1980."""
    try:
        first = to_seconds(column).min() if not column.has_nulls() else None
    except DataError:
        return False
    return isinstance(first, int) and first >= EARLIEST
