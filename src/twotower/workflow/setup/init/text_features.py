"""Guesses of features for text columns."""

from __future__ import annotations

from typing import Final, Literal

import polars as pl

from twotower.data.features.cells import split_values
from twotower.data.values.numbers import parse_numbers
from twotower.data.values.time_format import TimeFormat
from twotower.features.categories import CategoriesConfig
from twotower.features.image import ImageConfig
from twotower.features.number import NumberConfig
from twotower.features.text import TextConfig
from twotower.features.timestamp import TimestampConfig
from twotower.workflow.setup.init.cell_types import mean_words
from twotower.workflow.setup.init.guess import (
    MOST,
    Guess,
    guess_category,
    guess_number,
    left_out,
    of_parts,
    span,
)
from twotower.workflow.setup.init.names import hints
from twotower.workflow.setup.init.times import has_dates, is_time, problem_of, readings_of

FEW: Final = 50
"""Text with at most so many different values is not prose."""
IMAGE_NAME: Final = r"(?i)\.(jpe?g|png|gif|webp|bmp|tiff?|avif)(\?\S*)?$"
"""How the path or address of an image ends."""
ADDRESS: Final = r"(?i)^(https?|ftp)://|^www\."
WRITTEN_LIST: Final = r"^(\[.*\]|\{.*\})$"
"""A list or a dictionary of JSON or Python as a cell."""
LISTED: Final = r"^\W*$|['\",:;|]|[^\s\[{]\s+[^\s\]}]"
"""What some cell of such a column has: none, strings, or several values. [10-20] is an interval."""
COMMA_FRACTION: Final = r"\d,\d{1,2}(\D*)$|\.\d{3},"
"""Numbers whose decimal sign is a comma."""


def guess_text(values: pl.Series) -> Guess:
    """Text without gaps that is not all numbers."""
    for guess in (guess_form, guess_price, guess_path, guess_separated, guess_spoilt):
        found = guess(values)
        if found is not None:
            return found
    if values.n_unique() > len(values) / 2:
        long = (values.str.len_chars().mean() or 0) > 40  # type: ignore[operator]
        if long or hints(values.name, "text") or mean_words(values) >= 2:
            return Guess(TextConfig(type="text"), "free text")
    return guess_category(values)


def guess_form(values: pl.Series) -> Guess | None:
    """Addresses, images, lists written as text, and dates, by the form of the cells."""
    images, addresses, lists = (
        int(values.str.contains(form).sum()) > MOST * len(values)
        for form in (IMAGE_NAME, ADDRESS, WRITTEN_LIST)
    )
    if addresses and images:
        reason = "URLs of images, which are not downloaded: save the files and use their paths"
        return Guess(ImageConfig(type="image"), reason, active=False)
    if addresses:
        return left_out("URLs")
    if images:
        return Guess(ImageConfig(type="image"), "image file names")
    if lists and values.str.contains(LISTED).any():
        return left_out(
            f"lists stored as text, such as {short(values[0])}: store the values with a separator, "
            "such as a|b, and declare them as categories"
        )
    return guess_date(values)


def guess_date(values: pl.Series) -> Guess | None:
    """Times, or dates that cannot be read."""
    if is_time(values):
        return Guess(TimestampConfig(type="timestamp"), "times")
    if not has_dates(values):
        return None
    problem = problem_of(values)
    if problem is None:  # years before those of a log
        return Guess(TimestampConfig(type="timestamp"), "dates")
    reading = next(iter(readings_of(values)), TimeFormat("date"))
    feature = TimestampConfig(type="timestamp", format=reading.format, unit=reading.unit)
    return Guess(feature, f"dates that cannot be read: {problem}", active=False)


def guess_price(values: pl.Series) -> Guess | None:
    """Numbers with a currency, or with a comma: 16.02 EUR, 1.234,50."""
    commas = int(values.str.contains(COMMA_FRACTION).sum())
    decimals: list[Literal[".", ","]] = [",", "."] if commas > len(values) / 2 else [".", ","]
    for decimal in decimals:
        numbers = parse_numbers(values, decimal)
        if not numbers.has_nulls() and numbers.is_finite().all():
            reason = f"numbers such as {short(values[0])}, {span(numbers)}"
            return guess_number(numbers, reason, decimal)
    return None


def guess_path(values: pl.Series) -> Guess | None:
    """Paths of a tree, such as Home > Kitchen > Pans."""
    for separator in (">", "|", "/", "::"):
        if is_tree(values, separator):
            reason = f"paths such as {short(values[0])}"
            feature = CategoriesConfig(type="categories", separator=separator, hierarchical=True)
            return Guess(feature, reason)
    return None


def is_tree(values: pl.Series, separator: str) -> bool:
    """Whether cells are paths: most have two parts or more, a second part has one first part,
    first parts repeat, and none of them is a second one."""
    parts = values.str.split(separator)
    deep = parts.filter(parts.list.len() > 1)
    if len(deep) < (0.5 if separator == ">" else 0.8) * len(values):
        return False
    first, second = (deep.list.get(n).str.strip_chars() for n in (0, 1))
    pairs = pl.DataFrame({"first": first, "second": second}).unique()
    parents = pairs.group_by("second").len()["len"]
    one_parent = int((parents == 1).sum()) >= 0.95 * len(parents)
    repeats = first.n_unique() <= len(deep) / 2 and second.n_unique() > first.n_unique()
    apart = not first.is_in(second.unique().implode()).any()
    return separator == ">" or (one_parent and repeats and apart)


def guess_separated(values: pl.Series) -> Guess | None:
    """Text cells that hold several values, or None."""
    prose = hints(values.name, "text") or values.n_unique() <= FEW
    comma = 0.02 if hints(values.name, "several") else 1.1 if prose else 0.1
    often, semicolon = (0.5, 1.1) if hints(values.name, "text") else (0.02, 0.02)
    blank = 0.1 if hints(values.name, "several") and is_set(values) else 1.1
    for separator, share in (("|", often), (";", semicolon), (", ", comma), (" ", blank)):
        cells = int(values.str.contains(separator, literal=True).sum())
        if cells < share * len(values):
            continue
        guess = of_parts(split_values(values, separator)[1], values, separator)
        if guess is not None:
            return guess
    return None


def is_set(values: pl.Series) -> bool:
    """Whether cells are words in any order, such as `Action Drama` and `Drama War`, not phrases: a
    word that ends one cell begins another."""
    parts = values.unique().str.split(" ")
    several = parts.filter(parts.list.len() > 1)
    first, last = several.list.first(), several.list.last()
    return bool(last.is_in(first.unique().implode()).any())


def guess_spoilt(values: pl.Series) -> Guess | None:
    """A column that is nearly all numbers, and what keeps it from being one; None for others."""
    others = values.filter(values.cast(pl.Float64, strict=False).is_null())
    if not len(others) or len(others) >= (1 - MOST) * len(values):
        return None
    reason = (
        f"{len(values) - len(others):,} of {len(values):,} values are numbers, and "
        f"{short(others[0])} is not: correct it or leave it empty"
    )
    return Guess(NumberConfig(type="number"), reason, active=False)


def short(value: object) -> str:
    """A value for a comment."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}...{text[0]}"
